"""Files of battles to the battles table: formats, roles, bad rows, ids, real files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble import errors
from ensemble.battles.loading import combine, load_battles
from ensemble.battles.schema import BATTLE_SCHEMA
from tests.ensemble.battles.written_files import (
    HEADER,
    NATIVE,
    conversation,
    load,
    make_row,
    write_csv,
    write_jsonl,
)

REAL_DATA = Path(__file__).resolve().parents[4] / "shared/data"


# Competition CSV


def test_a_competition_row_becomes_a_battle(tmp_path: Path) -> None:
    battles = load(write_csv(tmp_path / "train.csv", [make_row("007")]))
    assert battles.schema == BATTLE_SCHEMA
    assert battles.row(0, named=True) == {
        "id": "007",
        "source": "s",
        "role": "target",
        "prompt": ["p"],
        "response_a": ["a"],
        "response_b": ["b"],
        "label_a": 1.0,
        "label_b": 0.0,
        "label_tie": 0.0,
        "is_test": False,
        "model_a": "m1",
        "model_b": "m2",
    }


@pytest.mark.parametrize(
    ("cell", "turns"),
    [
        ("[null]", [None]),
        ('["cut \\ud83d here"]', ["cut \ufffd here"]),
        ('["\\ud83d\\ude00"]', ["😀"]),
        ('["😀"]', ["😀"]),
        ('["say \\"hi\\""]', ['say "hi"']),
        ('["raw\nnewline, escaped\\nnewline"]', ["raw\nnewline, escaped\nnewline"]),
        ('["nul \x00 byte"]', ["nul \x00 byte"]),
        ('["' + "x" * 200_000 + '"]', ["x" * 200_000]),
        ('[""]', [""]),
    ],
)
def test_odd_text_cells_are_read(tmp_path: Path, cell: str, turns: list[str | None]) -> None:
    battles = load(write_csv(tmp_path / "train.csv", [make_row(prompt=cell)]))
    assert battles["prompt"].to_list() == [turns]


def test_a_conversation_of_no_turns_is_allowed(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [make_row(prompt="[]", response_a="[]", response_b="[]")])
    assert load(path)["response_b"].to_list() == [[]]


TURN = st.none() | st.text(st.characters() | st.characters(categories=["Cs"]), max_size=8)
CONVERSATIONS = st.lists(st.lists(st.tuples(TURN, TURN, TURN), max_size=3), min_size=1, max_size=4)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations=CONVERSATIONS, ascii_only=st.booleans())
def test_any_turns_survive_the_csv(
    tmp_path: Path, conversations: list[list[tuple[str | None, ...]]], ascii_only: bool
) -> None:
    columns = ("prompt", "response_a", "response_b")
    rows, expected = [], []
    for number, turns in enumerate(conversations):
        sides = [[turn[side] for turn in turns] for side in range(3)]
        cells = [json.dumps(side, ensure_ascii=ascii_only) for side in sides]
        # UTF-8 holds no lone surrogate: a raw one can only reach a file as an escape.
        cells = [re.sub("[\ud800-\udfff]", lambda m: f"\\u{ord(m[0]):x}", cell) for cell in cells]
        rows.append(make_row(str(number), **dict(zip(columns, cells, strict=True))))
        expected.append(tuple([_readable(turn) for turn in side] for side in sides))
    battles = load(write_csv(tmp_path / "train.csv", rows))
    assert battles.select(columns).rows() == expected


def _readable(turn: str | None) -> str | None:
    """Join surrogate pairs and replace surrogates that are alone, as UTF-16 decoders do."""
    if turn is None:
        return None
    return turn.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@pytest.mark.parametrize("unit", ['a line, with "quotes"\n', "é中🙂"])
def test_a_long_good_cell_survives_the_csv(tmp_path: Path, unit: str) -> None:
    turns = [unit * (200_000 // len(unit))]
    cell = json.dumps(turns, ensure_ascii=False)
    path = write_csv(
        tmp_path / "t.csv", [make_row("1"), make_row("2", response_a=cell), make_row("3")]
    )
    assert path.stat().st_size > 200_000
    battles = load(path)
    assert battles["response_a"].to_list() == [["a"], turns, ["a"]]
    assert battles["response_b"].to_list() == [["b"]] * 3


def test_soft_labels_are_kept(tmp_path: Path) -> None:
    shares = {"winner_model_a": "0.25", "winner_model_b": "0.5", "winner_tie": "0.2500001"}
    battles = load(write_csv(tmp_path / "t.csv", [make_row(**shares)]))
    assert battles.select("label_a", "label_b", "label_tie").row(0) == (0.25, 0.5, 0.2500001)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [make_row("1"), make_row("2")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert load(path)["id"].to_list() == ["1", "2"]


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json-lines", ".parquet"])
def test_native_lists_are_read_from_json_lines_and_parquet(tmp_path: Path, suffix: str) -> None:
    records = [{"id": 7, "winner": "tie (bothbad)", **NATIVE}]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        pl.DataFrame(records).write_parquet(path)
    else:
        write_jsonl(path, records)
    battle = load(path).row(0, named=True)
    assert battle["id"] == "7"
    assert {name: battle[name] for name in NATIVE} == NATIVE
    assert (battle["label_a"], battle["label_b"], battle["label_tie"]) == (0.0, 0.0, 1.0)


def test_plain_text_cells_are_one_turn(tmp_path: Path) -> None:
    texts = {"prompt": '["not parsed"]', "response_a": "two\nlines", "response_b": ""}
    path = tmp_path / "t.parquet"
    pl.DataFrame([{"id": "x", "winner": "model_a", **texts}]).write_parquet(path)
    battle = load(path, text_format="plain").row(0, named=True)
    assert {name: battle[name] for name in texts} == {k: [v] for k, v in texts.items()}


def test_json_text_in_json_lines_is_parsed_and_lone_surrogates_replaced(tmp_path: Path) -> None:
    record = {"id": "x", "winner": "a", "prompt": '["p"]', "response_a": ["\ud83d"]}
    path = write_jsonl(tmp_path / "t.jsonl", [record | {"response_b": ["b"]}])
    battle = load(path).row(0, named=True)
    assert (battle["prompt"], battle["response_a"]) == (["p"], ["\ufffd"])


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_hub_style_conversations_are_parted(tmp_path: Path, suffix: str) -> None:
    record = {
        "question_id": "q1",
        "winner": "tie",
        "conversation_a": conversation("p1", "a1", "p2", "a2"),
        "conversation_b": conversation("p1", "b1", "p2", "b2"),
    }
    path = tmp_path / f"t{suffix}"
    if suffix == ".jsonl":
        write_jsonl(path, [record])
    else:
        pl.DataFrame([record]).write_parquet(path)
    battle = load(path).row(0, named=True)
    assert battle["id"] == "q1"
    assert battle["prompt"] == ["p1", "p2"]
    assert battle["response_a"] == ["a1", "a2"]
    assert battle["response_b"] == ["b1", "b2"]


def test_many_chunks_keep_order_and_line_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.battles.files.raw.CHUNK_ROWS", 2)
    rows = [make_row(str(i)) for i in range(7)]
    rows[4] |= {"prompt": '["two\nlines"]'}
    rows[5] |= {"winner_tie": "1"}
    loaded = load_battles(
        write_csv(tmp_path / "t.csv", rows), source="s", role="train", on_bad_rows="drop"
    )
    assert loaded.battles["id"].to_list() == ["0", "1", "2", "3", "4", "6"]
    assert [bad.line for bad in loaded.bad_rows] == [8]


def test_parquet_rows_are_counted_across_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.battles.files.columnar.CHUNK_ROWS", 2)
    winners = ["a", "b", "tie", "who", "a"]
    path = tmp_path / "t.parquet"
    pl.DataFrame([{"id": i, "winner": w, **NATIVE} for i, w in enumerate(winners)]).write_parquet(
        path
    )
    loaded = load_battles(path, source="s", role="train", on_bad_rows="drop")
    assert loaded.battles["id"].to_list() == ["0", "1", "2", "4"]
    assert [bad.line for bad in loaded.bad_rows] == [4]


# Roles and test files


def test_a_test_file_keeps_no_answer(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "test.csv", [make_row(winner_model_a="nonsense")])
    battle = load(path, is_test=True, source="x", role="target").row(0, named=True)
    assert (battle["is_test"], battle["role"], battle["source"]) == (True, "test", "test")
    hidden = ("label_a", "label_b", "label_tie", "model_a", "model_b")
    assert [battle[name] for name in hidden] == [None] * 5


def test_a_test_file_needs_no_label_columns(tmp_path: Path) -> None:
    bare = {name: make_row()[name] for name in ("id", "prompt", "response_a", "response_b")}
    assert load(write_csv(tmp_path / "test.csv", [bare]), is_test=True).height == 1


@pytest.mark.parametrize(("role", "kept"), [("pseudo", None), ("ignore", 1.0)])
def test_unlabeled_rows_are_allowed_where_the_role_needs_no_label(
    tmp_path: Path, role: str, kept: float | None
) -> None:
    empty = dict.fromkeys(HEADER[-3:], "")
    battles = load(write_csv(tmp_path / "t.csv", [make_row(**empty), make_row("2")]), role=role)
    assert battles["label_a"].to_list() == [None, kept]


def test_labels_of_a_pseudo_source_are_not_even_read(tmp_path: Path) -> None:
    odd = make_row(winner_model_a="nonsense")
    battles = load(write_csv(tmp_path / "t.csv", [odd]), role="pseudo")
    assert battles.select("label_a", "label_b", "label_tie").row(0) == (None, None, None)
    assert battles["role"].to_list() == ["pseudo"]


# Ids


def test_an_id_prefix_is_put_before_every_id(tmp_path: Path) -> None:
    assert load(write_csv(tmp_path / "t.csv", [make_row("1")]), id_prefix="x-")["id"][0] == "x-1"


@pytest.mark.parametrize("on_bad_rows", ["error", "drop"])
def test_duplicate_ids_in_a_file_are_an_error(tmp_path: Path, on_bad_rows: str) -> None:
    path = write_csv(tmp_path / "t.csv", [make_row("7"), make_row("8"), make_row("7")])
    with pytest.raises(errors.DataError, match=r'repeated ids \(1\): "7" \(lines 2, 4\)'):
        load(path, on_bad_rows=on_bad_rows)


def test_combine_keeps_all_rows_in_order(tmp_path: Path) -> None:
    train = load_battles(write_csv(tmp_path / "a.csv", [make_row("1")]), source="a", role="target")
    other = load_battles(
        write_csv(tmp_path / "b.csv", [make_row("1")]), source="b", role="train", id_prefix="b-"
    )
    test = load_battles(
        write_csv(tmp_path / "t.csv", [make_row("2")]), source="", role="", is_test=True
    )
    battles = combine([train, other, test])
    assert battles.schema == BATTLE_SCHEMA
    assert battles["id"].to_list() == ["1", "b-1", "2"]
    assert combine([]).schema == BATTLE_SCHEMA


def test_combine_refuses_ids_of_two_sources(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [make_row("1")])
    loaded = [load_battles(path, source=name, role="train") for name in ("a", "b")]
    with pytest.raises(errors.DataError, match=r'ids .* source \(1\): "1" \(a, b\)\n.*id_prefix'):
        combine(loaded)


def test_combine_refuses_a_test_id_that_is_a_training_id(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [make_row("1")])
    train = load_battles(path, source="a", role="train")
    test = load_battles(path, source="", role="", is_test=True)
    with pytest.raises(errors.DataError, match=r'also training ids \(1\): "1" \(a, test\)'):
        combine([train, test])


# Loaders


def test_a_loader_gets_its_options_and_its_rows_are_normalized(tmp_path: Path) -> None:
    def loader(path: Path, **options: Any) -> pl.DataFrame:
        return pl.DataFrame([{"id": options["first"], "winner": "B", **NATIVE}])

    battles = load(tmp_path / "no-file", loader=loader, loader_options={"first": 3})
    assert battles.schema == BATTLE_SCHEMA
    assert (battles["id"][0], battles["label_b"][0]) == ("3", 1.0)


def test_duplicate_ids_of_a_loader_are_named_by_row(tmp_path: Path) -> None:
    def loader(path: Path, **options: Any) -> pl.DataFrame:
        return pl.DataFrame([{"id": "x", "winner": "B", **NATIVE}] * 2)

    with pytest.raises(errors.DataError, match=r'"x" \(rows 1, 2\)'):
        load(tmp_path / "no-file.csv", loader=loader)


def test_a_loader_that_fails_is_named(tmp_path: Path) -> None:
    def broken(path: Path, **options: Any) -> pl.DataFrame:
        raise KeyError("url")

    def wrong(path: Path, **options: Any) -> Any:
        return []

    def refusing(path: Path, **options: Any) -> pl.DataFrame:
        raise errors.DataError("not here")

    with pytest.raises(errors.PluginError, match="the loader raised KeyError: 'url'"):
        load(tmp_path, loader=broken)
    with pytest.raises(errors.PluginError, match="returned list, not a polars DataFrame"):
        load(tmp_path, loader=wrong)
    with pytest.raises(errors.DataError, match="not here"):
        load(tmp_path, loader=refusing)


# Real files


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA.exists(), reason="no ../shared/data")
def test_the_real_files_load_whole() -> None:
    train = load_battles(REAL_DATA / "arena/train.csv", source="arena", role="target")
    test = load_battles(REAL_DATA / "arena/test.csv", source="", role="", is_test=True)
    others = [
        load_battles(path, source=path.stem, role="train")
        for path in sorted((REAL_DATA / "sources").glob("*.parquet"))
    ]
    assert train.battles.height == 3_317
    assert test.battles.height == 583
    assert {one.battles["source"][0]: one.battles.height for one in others} == {
        "arena_bench_scores": 8_000,
        "hh_rlhf_test": 8_487,
        "mtbench_gpt4": 1_240,
        "oasst1_en_valid": 1_022,
        "qlora_vicuna_gpt4": 4_467,
    }
    battles = combine([train, *others, test])
    labels = battles.filter(~pl.col("is_test")).select("label_a", "label_b", "label_tie")
    assert labels.sum_horizontal().to_list() == [1.0] * labels.height
    raw = pl.read_csv(REAL_DATA / "arena/train.csv", infer_schema=False)
    expected = [json.loads(cell) for cell in raw["response_b"]]
    assert train.battles["response_b"].to_list() == expected


@pytest.mark.parametrize("error", [SystemExit(0), KeyError("url"), PermissionError(13, "closed")])
def test_a_loader_that_fails_is_named_with_its_line(tmp_path: Path, error: BaseException) -> None:
    def loader(path: Path, **_: object) -> pl.DataFrame:
        raise error

    with pytest.raises(
        errors.PluginError, match=f"the loader raised {type(error).__name__}"
    ) as caught:
        load_battles(tmp_path / "x", source="s", role="target", loader=loader, loader_name="mine")
    line = loader.__code__.co_firstlineno + 1
    assert caught.value.where == f'loader "mine", {tmp_path / "x"}, {__file__}:{line}'
