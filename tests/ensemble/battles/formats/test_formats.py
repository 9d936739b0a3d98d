"""Every format on invented rows: turns, sides, labels, counts; and what is refused instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble.battles.formats.layout import FormatOptions
from ensemble.battles.formats.registry import FORMATS
from ensemble.battles.loading import Loaded, load_battles
from ensemble.battles.swap import swap_battles
from ensemble.errors import DataError

Row = dict[str, Any]
Told = tuple[list[str | None], list[str | None], list[str | None], tuple[float, ...]]
A, B, TIE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
HUMAN, BOT = "\n\nHuman: ", "\n\nAssistant: "


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(path: Path, role: str = "train", drop: bool = False, **options: Any) -> Loaded:
    return load_battles(
        path,
        source="s",
        role=role,
        on_bad_rows="drop" if drop else "error",
        options=FormatOptions(**options),
    )


def told(battles: pl.DataFrame) -> list[Told]:
    """Give the battles with the answer that is named first in their ids' order as A."""
    columns = ("prompt", "response_a", "response_b", "label_a", "label_b", "label_tie")
    return [(p, a, b, tuple(label)) for p, a, b, *label in battles.select(columns).rows()]


def agrees(found: Told, due: Told) -> bool:
    prompt, a, b, label = found
    swapped = (prompt, b, a, (label[1], label[0], label[2]))
    return due in (found, swapped)


def check(loaded: Loaded, due: list[Any]) -> None:
    found = told(loaded.battles)
    assert len(found) == len(due)
    assert all(map(agrees, found, due)), found


def chat(*contents: Any) -> list[Row]:
    return [{"role": ("user", "assistant")[i % 2], "content": c} for i, c in enumerate(contents)]


def parts(*texts: str) -> list[Row]:
    return [{"type": "text", "text": text, "image": None, "mimeType": None} for text in texts]


# One golden case a format: rows, options, what it must become, what is printed

MESSAGES: list[Row] = [
    {"message_id": "r", "parent_id": None, "text": "q", "role": "prompter", "rank": None},
    {"message_id": "x", "parent_id": "r", "text": "a", "role": "assistant", "rank": 1},
    {"message_id": "y", "parent_id": "r", "text": "b", "role": "assistant", "rank": 0},
    {"message_id": "f", "parent_id": "y", "text": "q2", "role": "prompter", "rank": 0},
    {"message_id": "z", "parent_id": "f", "text": "c", "role": "assistant", "rank": 0},
    {"message_id": "w", "parent_id": "f", "text": "d", "role": "assistant", "rank": 1},
    {"message_id": "u", "parent_id": "f", "text": "?", "role": "assistant", "rank": None},
]
TREE = {
    "message_tree_id": "r",
    "tree_state": "ready_for_export",
    "prompt": {
        "message_id": "r",
        "text": "q",
        "role": "prompter",
        "replies": [
            {"message_id": "x", "text": "a", "role": "assistant", "rank": 1, "replies": []},
            {
                "message_id": "y",
                "text": "b",
                "role": "assistant",
                "rank": 0,
                "replies": [
                    {
                        "message_id": "f",
                        "text": "q2",
                        "role": "prompter",
                        "replies": [
                            {"message_id": "z", "text": "c", "role": "assistant", "rank": 0},
                            {"message_id": "w", "text": "d", "role": "assistant", "rank": 1},
                        ],
                    }
                ],
            },
        ],
    },
}
OF_TREE: list[Told] = [
    (["q"], ["a"], ["b"], B),
    (["q", "q2"], ["b", "c"], ["b", "d"], A),
]
THREE = [{"answer": "a", "rank": 2}, {"answer": "b", "rank": 1}, {"answer": "c", "rank": 2}]
GOLDEN: dict[str, tuple[list[Row], Row, list[Told], str]] = {
    "two classes": (
        [{"id": "1", "prompt": "q", "response_a": "a", "response_b": "b", "winner": "model_b"}],
        {},
        [(["q"], ["a"], ["b"], B)],
        "battles .*, plain text",
    ),
    "content in parts": (
        [
            {
                "id": "1",
                "winner": "both_bad",
                "conversation_a": chat(parts("q", "q'"), parts("a")),
                "conversation_b": chat(parts("q", "q'"), parts("b")),
            }
        ],
        {},
        [(["q\nq'"], ["a"], ["b"], TIE)],
        "conversations",
    ),
    "chosen messages": (
        [{"prompt": "q", "chosen": chat("q", "a"), "rejected": chat("q", "b")}],
        {},
        [(["q"], ["a"], ["b"], A)],
        "chosen and rejected",
    ),
    "chosen answers beside messages": (
        [
            {
                "prompt": chat("q", "x", "q2"),
                "chosen": [{"role": "assistant", "content": "a"}],
                "rejected": [{"role": "assistant", "content": "b"}],
            }
        ],
        {},
        [(["q", "q2"], ["x", "a"], ["x", "b"], A)],
        "chosen and rejected",
    ),
    "chosen texts": (
        [{"question": "q", "chosen": "a", "rejected": "b"}],
        {},
        [(["q"], ["a"], ["b"], A)],
        "chosen and rejected",
    ),
    "transcripts": (
        [
            {
                "chosen": f"{HUMAN}q{BOT}x{HUMAN}q2{BOT}a\n\nand more",
                "rejected": f"{HUMAN}q{BOT}x{HUMAN}q2{BOT}b",
            }
        ],
        {},
        [(["q", "q2"], ["x", "a\n\nand more"], ["x", "b"], A)],
        "chosen and rejected",
    ),
    "transcript as prompt": (
        [{"prompt": f"{HUMAN}q{BOT}", "chosen": "a", "rejected": "b"}],
        {},
        [(["q"], ["a"], ["b"], A)],
        "chosen and rejected",
    ),
    "near scores tie": (
        [
            {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 9, "score_rejected": r}
            for r in (8.6, 8.5, 2)
        ],
        {"tie_below": 0.5},
        [
            (["q"], ["a"], ["b"], TIE),
            (["q"], ["a"], ["b"], A),
            (["q"], ["a"], ["b"], A),
        ],
        "a tie below 0.5",
    ),
    "ranked": (
        [{"prompt": "q", "answers": THREE}],
        {},
        [
            (["q"], ["a"], ["b"], B),
            (["q"], ["a"], ["c"], TIE),
            (["q"], ["b"], ["c"], A),
        ],
        r"several answers \(answers, ranked or rated\): all pairs",
    ),
    "best and worst": (
        [
            {
                "instruction": "q",
                "completions": [
                    {"response": "a", "overall_score": 3.0, "fine-grained_score": 9},
                    {"response": "b", "overall_score": 8.5, "fine-grained_score": 1},
                    {"response": "c", "overall_score": 1.0, "fine-grained_score": 5},
                ],
            }
        ],
        {"pairs": "best_worst"},
        [(["q"], ["b"], ["c"], A)],
        "the best with the worst",
    ),
    "lists beside each other": (
        [{"prompt": "q", "responses": ["a", "b"], "scores": [0.1, 0.7]}],
        {},
        [(["q"], ["a"], ["b"], B)],
        "several answers",
    ),
    "chosen index": (
        [
            {"prompt": "q", "responses": ["a", "b", "c"], "chosen_index": 2},
            {"prompt": "r", "responses": ["a", "b"], "chosen_index": 0},
        ],
        {},
        [
            (["q"], ["a"], ["c"], B),
            (["q"], ["b"], ["c"], B),
            (["r"], ["a"], ["b"], A),
        ],
        "chosen_index",
    ),
    "one answer a row": (
        [
            {"prompt": "q", "response": "a", "helpfulness": 4},
            {"prompt": "r", "response": "x", "helpfulness": 1},
            {"prompt": "q", "response": "b", "helpfulness": 1},
            {"prompt": "r", "response": "y", "helpfulness": 1},
        ],
        {},
        [(["q"], ["a"], ["b"], A), (["r"], ["x"], ["y"], TIE)],
        "rated answers, one a row",
    ),
    "signed strength": (
        [
            {
                "context": chat("q", "x", "q2"),
                "response1": "a",
                "response2": "b",
                "overall_preference": s,
            }
            for s in (-2, 0, 3)
        ],
        {},
        [
            (["q", "q2"], ["x", "a"], ["x", "b"], A),
            (["q", "q2"], ["x", "a"], ["x", "b"], TIE),
            (["q", "q2"], ["x", "a"], ["x", "b"], B),
        ],
        "below 0 the first is better",
    ),
    "two scores": (
        [{"question": "q", "answer_0": "a", "answer_1": "b", "score_0": -0.5, "score_1": 0.5}],
        {},
        [(["q"], ["a"], ["b"], B)],
        "their scores",
    ),
    "better_response_id": (
        [
            {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": i}
            for i in (0, 1)
        ],
        {},
        [(["q"], ["a"], ["b"], A), (["q"], ["a"], ["b"], B)],
        "two answers",
    ),
    "messages of trees": (MESSAGES, {}, OF_TREE, "messages of trees"),
    "whole trees": ([TREE], {}, OF_TREE, "trees of replies"),
    "mapped": (
        [
            {"key": i, "question": "q", "answer_1": "a", "answer_2": "b", "label": w}
            for i, w in enumerate([0, 1, 2, 0.0])
        ],
        {
            "columns": {
                "id": "key",
                "prompt": "question",
                "response_a": "answer_1",
                "response_b": "answer_2",
                "winner": "label",
            },
            "winner": {"0": "a", "1": "b", "2": "tie"},
        },
        [(["q"], ["a"], ["b"], label) for label in (A, B, TIE, A)],
        "battles",
    ),
    "truth values": (
        [{"prompt": "q", "output_1": "a", "output_2": "b", "first_wins": w} for w in (True, False)],
        {"columns": {"winner": "first_wins"}, "winner": {"true": "a", "false": "b"}},
        [(["q"], ["a"], ["b"], A), (["q"], ["a"], ["b"], B)],
        "two answers",
    ),
}


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


# Rows that cannot be read: each by its reason, none wrongly

GOOD = {"prompt": "q", "chosen": chat("q", "a"), "rejected": chat("q", "b")}
HOSTILE: list[tuple[Row, Row, str]] = [
    (GOOD, {"chosen": None}, "chosen is missing"),
    (GOOD, {"chosen": []}, "chosen holds no message"),
    (GOOD, {"chosen": chat("q", "a", "more")}, "the user's turns differ"),
    (GOOD, {"chosen": chat("other", "a")}, "the user's turns differ"),
    (GOOD, {"chosen": [{"role": "system", "content": "s"}, *chat("q", "a")]}, "from 'system'"),
    (GOOD, {"chosen": [{"role": "user"}]}, 'no "role" and "content"'),
    (GOOD, {"chosen": 7}, "not text"),
    (GOOD, {"chosen": [{"role": "assistant", "content": 3}]}, "neither a string nor null"),
    (GOOD, {"prompt": "another text"}, "prompt differs from what the user says"),
    (GOOD, {"chosen": chat("q", [{"type": "image", "image": "x"}])}, "a turn is an image"),
    (
        {"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]},
        {"answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": float("nan")}]},
        "answers 2 has neither a rank nor a score",
    ),
    (
        {"prompt": "q", "answers": [{"answer": "a", "score": 1}, {"answer": "b", "score": 2}]},
        {"answers": [{"answer": "a", "score": 1}, {"answer": "b", "score": "high"}]},
        "score of answers 2 is 'high', not a number",
    ),
    (
        {"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]},
        {"answers": [{"answer": "a", "rank": 1}]},
        "1 answers are no pair",
    ),
    (
        {"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]},
        {"answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2, "score": 9}]},
        "several scores",
    ),
    (
        {"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]},
        {"answers": [{"answer": "a", "rank": 1}, {"answer": None, "rank": 2}]},
        "answers 2 is missing",
    ),
    (
        {"prompt": "q", "responses": ["a", "b"], "scores": [1, 2]},
        {"scores": [1, 2, 3]},
        "3 numbers for 2 answers",
    ),
    (
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0},
        {"better_response_id": 2},
        "unknown winner 2 in better_response_id; known are 0 to 1",
    ),
    (
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0},
        {"better_response_id": None},
        "no label",
    ),
    (
        {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 1},
        {"preference_strength": float("nan")},
        "no label",
    ),
    (
        {"prompt": "q", "response_1": "a", "response_2": "b", "label": "A"},
        {"label": 1},
        "unknown winner 1 in label",
    ),
    (
        {"id": 1, "prompt": "q", "chosen": "a", "rejected": "b"},
        {"id": None},
        "the id is missing",
    ),
    (
        {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 1},
        {"score_chosen": 0},
        "score_chosen is below score_rejected",
    ),
]


@pytest.mark.parametrize(("good", "bad", "reason"), HOSTILE)
def test_a_row_that_cannot_be_read_is_told_by_its_reason(
    good: Row, bad: Row, reason: str, tmp_path: Path
) -> None:
    options: Row = {"tie_below": 0.5} if "score_chosen" in good else {}
    path = write(tmp_path / "t.jsonl", [good, good | bad, good | {"prompt": "q"}])
    if "id" in good:
        write(path, [good, good | bad, good | {"id": 2}])
    with pytest.raises(DataError, match="1 of 3 rows") as caught:
        load(path, **options)
    assert reason in str(caught.value) and "t.jsonl:2: " in str(caught.value)
    kept = load(path, drop=True, **options)
    assert len(kept.bad_rows) == 1 and len(kept.battles) == 2


def test_an_index_of_ones_alone_is_not_guessed(tmp_path: Path) -> None:
    row = {"prompt": "q", "responses": ["a", "b"], "chosen_index": 1}
    with pytest.raises(DataError, match="counted from 0 or from 1"):
        load(write(tmp_path / "t.jsonl", [row, row]))
    two = load(write(tmp_path / "u.jsonl", [row, row | {"chosen_index": 2}]))
    check(two, [(["q"], ["a"], ["b"], A), (["q"], ["a"], ["b"], B)])


def test_unknown_values_of_a_label_are_counted(tmp_path: Path) -> None:
    base = {"prompt": "q", "response_a": "a", "response_b": "b"}
    rows = [base | {"id": i, "winner": w} for i, w in enumerate(["a", 3, 3, "x y", "TIE"])]
    with pytest.raises(DataError, match=r"3 \(2\), 'x y' \(1\)"):
        load(write(tmp_path / "t.jsonl", rows))


def test_a_mapped_name_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"question": "q", "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError, match=r"columns.prompt names \"qestion\"(.|\n)*question"):
        load(path, columns={"prompt": "qestion"})


def test_a_dot_leads_into_a_column_of_records(tmp_path: Path) -> None:
    row = {"question": {"full_text": "q"}, "answer_0": "a", "answer_1": "b"}
    path = write(tmp_path / "t.jsonl", [row | {"score_0": 1, "score_1": 0}])
    check(load(path, columns={"prompt": "question.full_text"}), [(["q"], ["a"], ["b"], A)])


def test_lists_in_text_are_lists_in_every_format(tmp_path: Path) -> None:
    row = {"prompt": '["q"]', "response_0": "['a']", "response_1": '["b"]'}
    path = write(tmp_path / "t.jsonl", [row | {"better_response_id": 0}] * 3)
    check(load(path), [(["q"], ["a"], ["b"], A)] * 3)
    rows = [{"prompt": '["q"]', "responses": ["a", "b"], "scores": [1, 2]}] * 3
    with pytest.raises(DataError, match="cells of prompt are lists of turns"):
        load(write(tmp_path / "u.jsonl", rows))


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=9)
SAFE = TEXT.filter(lambda text: not text.lstrip().startswith(("[", "Human:")) and text.strip())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(SAFE, TEXT, TEXT, SAFE, SAFE), min_size=1, max_size=5))
def test_any_conversation_survives_every_way_to_write_it(
    rows: list[tuple[str, ...]], tmp_path: Path
) -> None:
    due: list[Told] = [([q, q2], [x, a], [x, b], A) for q, x, q2, a, b in rows]
    ways: list[list[Row]] = [
        [{"chosen": chat(q, x, q2, a), "rejected": chat(q, x, q2, b)} for q, x, q2, a, b in rows],
        [
            {
                "prompt": chat(q, x, q2),
                "answers": [{"text": a, "score": 2}, {"text": b, "score": 1}],
            }
            for q, x, q2, a, b in rows
        ],
        [
            {
                "winner": "model_a",
                "conversation_a": chat(parts(q), x, q2, parts(a)),
                "conversation_b": chat(parts(q), x, q2, parts(b)),
            }
            for q, x, q2, a, b in rows
        ],
    ]
    for way in ways:
        loaded = load(write(tmp_path / "t.jsonl", way))
        check(loaded, due)
        assert loaded.battles["id"].is_unique().all()
    marks = ("Human:", "Assistant:")
    if not any(mark in text for row in rows for text in row for mark in marks):
        talks = [
            {
                side: HUMAN + q + BOT + x + HUMAN + q2 + BOT + said
                for side, said in (("chosen", a), ("rejected", b))
            }
            for q, x, q2, a, b in rows
        ]
        check(load(write(tmp_path / "t.jsonl", talks)), due)


def test_swapping_is_its_own_inverse_on_what_was_loaded(tmp_path: Path) -> None:
    rows, _, _, _ = GOLDEN["ranked"]
    battles = load(write(tmp_path / "t.jsonl", rows)).battles
    assert swap_battles(swap_battles(battles)).equals(battles)
