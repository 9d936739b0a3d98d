"""Every format on invented rows: turns, sides, labels, counts; and what is refused instead."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from ensemble.battles.formats.layout import FormatOptions
from ensemble.battles.formats.registry import FORMATS
from ensemble.battles.loading import load_battles
from ensemble.errors import DataError
from tests.ensemble.battles.formats.golden_rows import GOLDEN
from tests.ensemble.battles.formats.readings import (
    TIE,
    A,
    B,
    Row,
    check,
    load,
    told,
    write,
)


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_format_becomes_battles(kind: str, tmp_path: Path) -> None:
    rows, options, due, read_as = GOLDEN[kind]
    loaded = load(write(tmp_path / "t.jsonl", rows), **options)
    check(loaded, due)
    assert pl.Series([loaded.read_as]).str.contains(read_as).item(), loaded.read_as
    assert loaded.battles["id"].is_unique().all() and not loaded.bad_rows


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_format_is_the_same_in_parquet_and_as_an_array(kind: str, tmp_path: Path) -> None:
    rows, options, due, _ = GOLDEN[kind]
    (tmp_path / "t.json").write_text(json.dumps(rows, indent=1))
    check(load(tmp_path / "t.json", **options), due)
    pl.DataFrame(rows, strict=False).write_parquet(tmp_path / "t.parquet")
    pl.DataFrame(rows, strict=False).write_ipc(tmp_path / "t.arrow")
    frames = [load(tmp_path / name, **options).battles for name in ("t.parquet", "t.arrow")]
    assert frames[0].equals(frames[1])
    check(load(tmp_path / "t.parquet", **options), due)


@pytest.mark.parametrize("kind", GOLDEN)
def test_extra_columns_and_their_order_fool_nobody(kind: str, tmp_path: Path) -> None:
    rows, options, due, _ = GOLDEN[kind]
    extra = {"tstamp": 1.5, "full_conversation": [{"x": 1}], "messages": [], "judge": "u1"}
    mixed = [dict(reversed((extra | row).items())) for row in rows]
    loaded = load(write(tmp_path / "t.jsonl", mixed), **options)
    check(loaded, due)
    assert {"judge", "tstamp"} <= set(loaded.metadata.columns)
    assert loaded.metadata["id"].equals(loaded.battles["id"])
    assert loaded.metadata["judge"].to_list() == ["u1"] * len(due)


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_order_of_rows_changes_no_battle(kind: str, tmp_path: Path) -> None:
    rows, options, _, _ = GOLDEN[kind]
    if kind in ("messages of trees", "one answer a row"):
        pytest.skip("which of two rows is named first is their order")
    forth = load(write(tmp_path / "a.jsonl", rows), **options).battles
    back = load(write(tmp_path / "b.jsonl", rows[::-1]), **options).battles
    assert forth.sort("id").equals(back.sort("id"))


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_labeled_file_is_a_test_file_too(kind: str, tmp_path: Path) -> None:
    rows, options, due, _ = GOLDEN[kind]
    path = write(tmp_path / "t.jsonl", rows)
    found = load_battles(path, source="", role="", is_test=True, options=FormatOptions(**options))
    labels = ("label_a", "label_b", "label_tie", "model_a", "model_b")
    assert all(found.battles[name].is_null().all() for name in labels)
    if options.get("pairs") != "best_worst":  # who is the best is not looked at
        texts = [({str(a), str(b)}, p) for p, a, b, _ in told(found.battles)]
        wanted = [({str(a), str(b)}, p) for p, a, b, _ in due]
        assert [one for one in texts if one in wanted] == wanted


def test_every_format_has_a_golden_case(tmp_path: Path) -> None:
    names = set()
    for rows, options, _, _ in GOLDEN.values():
        path = write(tmp_path / "t.jsonl", rows)
        for one in FORMATS:
            try:
                load(path, format=one.name, **options)
            except DataError:
                continue
            names.add(one.name)
    assert names == {one.name for one in FORMATS}


def test_sides_are_drawn_so_that_a_does_not_always_win(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "chosen": "a", "rejected": "b"} for i in range(400)]
    loaded = load(write(tmp_path / "t.jsonl", rows))
    assert 150 < loaded.battles["label_a"].sum() < 250
    check(loaded, [([f"q{i}"], ["a"], ["b"], A) for i in range(400)])
    as_they_are = load(tmp_path / "t.jsonl", sides="file").battles
    assert as_they_are["label_a"].to_list() == [1.0] * 400


def test_temperature_makes_shares_and_both_sides_of_them(tmp_path: Path) -> None:
    answers = [{"text": "a", "score": 1.0}, {"text": "b", "score": 3.0}]
    path = write(tmp_path / "t.jsonl", [{"prompt": "q", "answers": answers}])
    label = load(path, temperature=2.0, sides="file").battles.row(0)[6:9]
    assert label == pytest.approx((0.26894142, 0.73105858, 0.0))
    tie = load(path, temperature=2.0, tie_below=2.5).battles.row(0)[6:9]
    assert tie == TIE
    assert load(path, temperature=1e-6, sides="file").battles.row(0)[6:9] == B


def test_k_pairs_are_drawn_by_what_they_say(tmp_path: Path) -> None:
    answers = [{"answer": f"a{i}", "rank": i} for i in range(7)]
    rows = [{"prompt": f"q{j}", "answers": answers} for j in range(5)]
    all_pairs = load(write(tmp_path / "t.jsonl", rows)).battles
    some = load(tmp_path / "t.jsonl", pairs=3).battles
    assert (len(all_pairs), len(some)) == (5 * 21, 15)
    assert set(some["id"]) < set(all_pairs["id"])
    mirrored = [{"prompt": r["prompt"], "answers": r["answers"][::-1]} for r in rows]
    again = load(write(tmp_path / "u.jsonl", mirrored), pairs=3).battles

    def pairs(battles: pl.DataFrame) -> set[tuple[str, ...]]:
        return {(p[0], *sorted((a[0], b[0]))) for _, _, _, p, a, b, *_ in battles.rows()}

    assert pairs(again) == pairs(some)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (
            {"chosen": "a", "rejected": "b", "response_1": "a", "response_2": "b", "label": "A"},
            r"several formats: chosen-rejected, two-answers(.|\n)*format = ",
        ),
        ({"answers": [], "completions": []}, "the list of answers may be any of"),
        (
            {"response_1": "a", "response_2": "b", "label": "A", "preference": "B"},
            r"the label may be any of label, preference(.|\n)*winner = ",
        ),
        (
            {"response_1": "a", "response_2": "b", "response_3": "c", "label": "A"},
            "more than two answers",
        ),
        (
            {"response_0": "a", "response_1": "b", "response_2": "c", "label": "A"},
            "may be any of response_0, response_1, response_1, response_2",
        ),
        ({"response": "a", "score": 1, "rating": 2}, "the score may be any of score, rating"),
        ({"response": "a", "text": "b", "score": 1}, "the answer may be any of response, text"),
        ({"foo": 1}, "columns are missing: response_a, response_b"),
        (
            {"response_a": "a", "response_b": "b", "response_c": "c", "winner": "a"},
            "more than two answers: response_c",
        ),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(row: Row, match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match):
        load(write(tmp_path / "t.jsonl", [{"prompt": "q"} | row]))


def test_a_format_by_name_reads_what_is_ambiguous(tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "response_1": "x", "response_2": "y"}
    path = write(tmp_path / "t.jsonl", [row | {"label": "tie"}])
    check(load(path, format="chosen-rejected"), [(["q"], ["a"], ["b"], A)])
    check(load(path, format="two-answers"), [(["q"], ["x"], ["y"], TIE)])
    with pytest.raises(DataError, match='no format "two-answer"(.|\n)*two-answers'):
        load(path, format="two-answer")
    with pytest.raises(DataError, match='lacks columns of format "trees": message_id'):
        load(path, format="trees")


@pytest.mark.parametrize(
    "options", [{"pairs": 2}, {"tie_below": 1.0}, {"winner": {"1": "a"}}, {"score": "rank"}]
)
def test_options_with_nothing_to_do_are_refused(options: Row, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError, match="nothing in this file|are for scores"):
        load(path, **options)
