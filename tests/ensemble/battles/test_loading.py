"""Files of battles to the battles table: formats, roles, bad rows, ids, real files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble.battles.loading import BadRow, combine, load_battles
from ensemble.battles.schema import BATTLE_SCHEMA
from ensemble.errors import DataError, PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REAL_DATA = Path(__file__).resolve().parents[4] / "shared/data"
HEADER = [
    "id",
    "model_a",
    "model_b",
    "prompt",
    "response_a",
    "response_b",
    "winner_model_a",
    "winner_model_b",
    "winner_tie",
]


def row(identifier: str = "1", **cells: str) -> dict[str, str]:
    """Make one row of the competition's CSV."""
    default = dict(
        zip(HEADER, [identifier, "m1", "m2", '["p"]', '["a"]', '["b"]', "1", "0", "0"], strict=True)
    )
    return default | cells


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


def load(path: Path, **options: Any) -> pl.DataFrame:
    return load_battles(path, **({"source": "s", "role": "target"} | options)).battles


# Competition CSV


def test_a_competition_row_becomes_a_battle(tmp_path: Path) -> None:
    battles = load(write_csv(tmp_path / "train.csv", [row("007")]))
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
    battles = load(write_csv(tmp_path / "train.csv", [row(prompt=cell)]))
    assert battles["prompt"].to_list() == [turns]


def test_a_conversation_of_no_turns_is_allowed(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [row(prompt="[]", response_a="[]", response_b="[]")])
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
        rows.append(row(str(number), **dict(zip(columns, cells, strict=True))))
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
    path = write_csv(tmp_path / "t.csv", [row("1"), row("2", response_a=cell), row("3")])
    assert path.stat().st_size > 200_000
    battles = load(path)
    assert battles["response_a"].to_list() == [["a"], turns, ["a"]]
    assert battles["response_b"].to_list() == [["b"]] * 3


def test_soft_labels_are_kept(tmp_path: Path) -> None:
    shares = {"winner_model_a": "0.25", "winner_model_b": "0.5", "winner_tie": "0.2500001"}
    battles = load(write_csv(tmp_path / "t.csv", [row(**shares)]))
    assert battles.select("label_a", "label_b", "label_tie").row(0) == (0.25, 0.5, 0.2500001)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [row("1"), row("2")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert load(path)["id"].to_list() == ["1", "2"]


# Other formats


NATIVE = {"prompt": ["p", None], "response_a": ["a", "a2"], "response_b": ["b", ""]}


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


def _conversation(*contents: str) -> list[dict[str, str]]:
    return [
        {"role": ("user", "assistant")[place % 2], "content": content}
        for place, content in enumerate(contents)
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_hub_style_conversations_are_parted(tmp_path: Path, suffix: str) -> None:
    record = {
        "question_id": "q1",
        "winner": "tie",
        "conversation_a": _conversation("p1", "a1", "p2", "a2"),
        "conversation_b": _conversation("p1", "b1", "p2", "b2"),
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
    rows = [row(str(i)) for i in range(7)]
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
    path = write_csv(tmp_path / "test.csv", [row(winner_model_a="nonsense")])
    battle = load(path, is_test=True, source="x", role="target").row(0, named=True)
    assert (battle["is_test"], battle["role"], battle["source"]) == (True, "test", "test")
    hidden = ("label_a", "label_b", "label_tie", "model_a", "model_b")
    assert [battle[name] for name in hidden] == [None] * 5


def test_a_test_file_needs_no_label_columns(tmp_path: Path) -> None:
    bare = {name: row()[name] for name in ("id", "prompt", "response_a", "response_b")}
    assert load(write_csv(tmp_path / "test.csv", [bare]), is_test=True).height == 1


@pytest.mark.parametrize(("role", "kept"), [("pseudo", None), ("ignore", 1.0)])
def test_unlabeled_rows_are_allowed_where_the_role_needs_no_label(
    tmp_path: Path, role: str, kept: float | None
) -> None:
    empty = dict.fromkeys(HEADER[-3:], "")
    battles = load(write_csv(tmp_path / "t.csv", [row(**empty), row("2")]), role=role)
    assert battles["label_a"].to_list() == [None, kept]


def test_labels_of_a_pseudo_source_are_not_even_read(tmp_path: Path) -> None:
    odd = row(winner_model_a="nonsense")
    battles = load(write_csv(tmp_path / "t.csv", [odd]), role="pseudo")
    assert battles.select("label_a", "label_b", "label_tie").row(0) == (None, None, None)
    assert battles["role"].to_list() == ["pseudo"]


@pytest.mark.parametrize("role", ["target", "train", "pretrain"])
def test_unlabeled_rows_are_bad_rows_elsewhere(tmp_path: Path, role: str) -> None:
    empty = dict.fromkeys(HEADER[-3:], "")
    path = write_csv(tmp_path / "t.csv", [row(**empty), row("2")])
    with pytest.raises(DataError, match=r"t\.csv:2: no label"):
        load(path, role=role)


# Bad rows


BAD_CELLS = [
    ({"prompt": "plain text"}, "prompt is 'plain text', not a JSON list"),
    ({"prompt": '"text"'}, "not a JSON list"),
    ({"prompt": ""}, "not a JSON list"),
    ({"prompt": "[" * 100_000}, "not a JSON list"),
    ({"response_a": "[1]"}, "response_a: turn 1 is 1, neither a string nor null"),
    ({"response_a": '["a", "a"]'}, "prompt 1, response_a 2, response_b 1"),
    ({"id": " "}, "the id is empty"),
    ({"winner_model_b": "1"}, "do not sum to 1"),
    ({"winner_model_a": "2", "winner_model_b": "-1"}, "winner_model_a is 2"),
    ({"winner_model_a": "nan"}, "winner_model_a is nan"),
    ({"winner_tie": ""}, "winner_tie is empty"),
    ({"winner_tie": "yes"}, "winner_tie is 'yes'"),
]


@pytest.mark.parametrize(("cells", "reason"), BAD_CELLS)
def test_a_bad_cell_is_reported_with_file_line_and_reason(
    tmp_path: Path, cells: dict[str, str], reason: str
) -> None:
    path = write_csv(tmp_path / "train.csv", [row("ok"), row() | cells])
    with pytest.raises(DataError, match=rf"train\.csv:3: .*{re.escape(reason)}") as caught:
        load(path)
    assert "1 of 2 rows" in caught.value.message
    assert 'on_bad_rows = "drop"' in (caught.value.hint or "")
    loaded = load_battles(path, source="s", role="target", on_bad_rows="drop")
    assert loaded.battles["id"].to_list() == ["ok"]
    assert [(bad.file, bad.line) for bad in loaded.bad_rows] == [(str(path), 3)]


@pytest.mark.parametrize("cell", ["plain text", "[1]"])
def test_text_that_is_no_json_list_points_at_the_text_format(tmp_path: Path, cell: str) -> None:
    path = write_csv(tmp_path / "t.csv", [row("ok"), row(prompt=cell)])
    with pytest.raises(DataError, match="1 of 2 rows") as caught:
        load(path)
    assert 'text_format = "plain"' in (caught.value.hint or "")


def test_lines_are_physical_and_only_the_first_bad_rows_are_shown(tmp_path: Path) -> None:
    rows = [row("a", prompt='["two\nlines"]')] + [row(str(i), winner_tie="1") for i in range(8)]
    path = write_csv(tmp_path / "t.csv", rows)
    with pytest.raises(DataError, match="8 of 9 rows") as caught:
        load(path)
    lines = caught.value.message.splitlines()
    assert [line.split(": ")[0].rpartition(":")[2] for line in lines[1:6]] == list("45678")
    assert lines[6:] == ["  … and 3 more"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2,too,few\n", "3 fields where the header has 9"),
        ('2,"stray" quote,m,[],[],[],1,0,0\n', "expected after"),
        ("2,car\rriage,m,[],[],[],1,0,0\n", "a carriage return outside quotes"),
    ],
)
def test_a_broken_record_costs_one_row(tmp_path: Path, text: str, reason: str) -> None:
    path = write_csv(tmp_path / "t.csv", [row("1")])
    good = path.read_text().splitlines(keepends=True)[1]
    path.write_text(path.read_text() + text + good.replace("1,", "3,", 1), newline="")
    with pytest.raises(DataError, match=rf"t\.csv:3: .*{reason}"):
        load(path)
    loaded = load_battles(path, source="s", role="target", on_bad_rows="drop")
    assert loaded.battles["id"].to_list() == ["1", "3"]
    assert [bad.line for bad in loaded.bad_rows] == [3]


def test_a_quote_that_is_never_closed_names_the_lines_it_swallowed(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [row("1")])
    path.write_text(path.read_text() + '2,"m\n3,m\n4,m\n')
    with pytest.raises(DataError, match=r"t\.csv:3: .*never closed \(lines 3 to 5"):
        load(path)


def test_bad_json_lines_are_bad_rows(tmp_path: Path) -> None:
    good = {"id": "x", "winner": "a", "prompt": ["p"], "response_a": ["a"], "response_b": ["b"]}
    path = write_jsonl(tmp_path / "t.jsonl", [good, [1], {"id": 1.5} | good | {"id": 1.5}])
    path.write_text(path.read_text() + '\n{"id": "cut\n' + json.dumps({"id": "no text"}) + "\n")
    loaded = load_battles(path, source="s", role="train", on_bad_rows="drop")
    assert loaded.battles["id"].to_list() == ["x"]
    assert [bad.line for bad in loaded.bad_rows] == [2, 3, 5, 6]
    reasons = [bad.reason for bad in loaded.bad_rows]
    assert reasons[0] == "not a JSON object"
    assert reasons[1] == "the id 1.5 is neither a string nor an integer"
    assert reasons[2].startswith("not JSON: ")
    assert reasons[3] == "prompt is missing"


def test_parquet_places_are_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    records = [{"id": i, "winner": w, **NATIVE} for i, w in enumerate(["a", "who", None])]
    pl.DataFrame(records).write_parquet(path)
    loaded = load_battles(path, source="s", role="train", on_bad_rows="drop")
    assert loaded.bad_rows == (
        BadRow(str(path), 2, "unknown winner 'who'; known are model_a, model_b, tie, both bad"),
        BadRow(str(path), 3, "no label"),
    )


@pytest.mark.parametrize(
    ("side_b", "reason"),
    [
        (_conversation("other", "b"), "the user's turns differ"),
        (_conversation("p"), "prompt 1, response_a 1, response_b 0"),
        ([{"role": "system", "content": "p"}], "message 1 is from 'system'"),
        ([{"role": "user"}], 'message 1 has no "role" and "content"'),
        ("{}", "not a JSON list of messages"),
    ],
)
def test_bad_conversations_are_bad_rows(tmp_path: Path, side_b: object, reason: str) -> None:
    good = _conversation("p", "a")
    rows = [
        {"id": i, "winner": "a", "conversation_a": good, "conversation_b": side}
        for i, side in enumerate([good, side_b])
    ]
    with pytest.raises(DataError, match=rf"t\.jsonl:2: .*{re.escape(reason)}"):
        load(write_jsonl(tmp_path / "t.jsonl", rows))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_file_of_bad_rows_alone_is_refused_even_when_dropping(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "t.csv":
        write_csv(path, [row(winner_tie="1")])
    else:
        path.write_text("[]\n{\n")
    with pytest.raises(DataError, match="no row can be read"):
        load(path, on_bad_rows="drop")


def test_no_test_row_is_ever_dropped(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [row(), row("2", prompt="x")])
    with pytest.raises(DataError, match="a submission needs every test row"):
        load(path, is_test=True, on_bad_rows="drop")


# Files and columns


def test_unreadable_files_say_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="the directory holds no table"):
        load(tmp_path / "folder.csv")
    with pytest.raises(DataError, match=r"\.csv, .*\.parquet, .*\.jsonl.*\n.*\n.*`loader =`"):
        load(tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "the file is empty"),
        ("t.parquet", b"", "the file is empty"),
        ("t.jsonl", b"\n\n", "the file has no rows"),
        ("t.csv", ",".join(HEADER).encode(), "the file has no rows"),
        ("t.csv", b"\xff\xfei\x00d\x00", "not UTF-8: byte 0xff\n.*:1"),
        ("t.jsonl", b'{"id": 1}\n{"id": "\xe4"}', "not UTF-8: byte 0xe4\n.*:2"),
        ("t.csv", b'"id', "the header cannot be read"),
        ("t.csv", b"id,id,prompt", "the header repeats id"),
        ("t.csv", b"id,prompt\r1,x\r", "carriage returns alone(.|\n)*hint: .*line feeds"),
        ("t.csv", b"id;prompt;x\n1;2;3\n", 'separated by ";"(.|\n)*hint: .*commas'),
        ("t.parquet", b"PAR1 no parquet at all PAR1", "not sound Parquet"),
    ],
)
def test_files_that_are_not_what_they_seem(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / name)


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame([{"id": 1, "winner": "a", **NATIVE}]).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="not sound Parquet"):
        load(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["Id", *HEADER[3:]], r'missing: id \(nearest present: "Id"\)'),
        (
            ["id", "promt", "response_a", "response_b", *HEADER[6:]],
            r'a column is missing: prompt \(nearest present: "promt"\)',
        ),
        (["id", "conversation_a", "winner"], "missing: conversation_b"),
        (HEADER[:-1], "missing: winner_tie"),
        (HEADER[:-3], "columns are missing: winner_model_a, winner_model_b, winner_tie"),
    ],
)
def test_missing_columns_are_named_with_the_nearest(
    tmp_path: Path, columns: list[str], message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(columns) + "\n" + ",".join("x" for _ in columns) + "\n")
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert ", ".join(columns) in (caught.value.hint or "")


# Ids


def test_an_id_prefix_is_put_before_every_id(tmp_path: Path) -> None:
    assert load(write_csv(tmp_path / "t.csv", [row("1")]), id_prefix="x-")["id"][0] == "x-1"


@pytest.mark.parametrize("on_bad_rows", ["error", "drop"])
def test_duplicate_ids_in_a_file_are_an_error(tmp_path: Path, on_bad_rows: str) -> None:
    path = write_csv(tmp_path / "t.csv", [row("7"), row("8"), row("7")])
    with pytest.raises(DataError, match=r'repeated ids \(1\): "7" \(lines 2, 4\)'):
        load(path, on_bad_rows=on_bad_rows)


def test_combine_keeps_all_rows_in_order(tmp_path: Path) -> None:
    train = load_battles(write_csv(tmp_path / "a.csv", [row("1")]), source="a", role="target")
    other = load_battles(
        write_csv(tmp_path / "b.csv", [row("1")]), source="b", role="train", id_prefix="b-"
    )
    test = load_battles(write_csv(tmp_path / "t.csv", [row("2")]), source="", role="", is_test=True)
    battles = combine([train, other, test])
    assert battles.schema == BATTLE_SCHEMA
    assert battles["id"].to_list() == ["1", "b-1", "2"]
    assert combine([]).schema == BATTLE_SCHEMA


def test_combine_refuses_ids_of_two_sources(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [row("1")])
    loaded = [load_battles(path, source=name, role="train") for name in ("a", "b")]
    with pytest.raises(DataError, match=r'ids .* source \(1\): "1" \(a, b\)\n.*id_prefix'):
        combine(loaded)


def test_combine_refuses_a_test_id_that_is_a_training_id(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [row("1")])
    train = load_battles(path, source="a", role="train")
    test = load_battles(path, source="", role="", is_test=True)
    with pytest.raises(DataError, match=r'also training ids \(1\): "1" \(a, test\)'):
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

    with pytest.raises(DataError, match=r'"x" \(rows 1, 2\)'):
        load(tmp_path / "no-file.csv", loader=loader)


def test_a_loader_that_fails_is_named(tmp_path: Path) -> None:
    def broken(path: Path, **options: Any) -> pl.DataFrame:
        raise KeyError("url")

    def wrong(path: Path, **options: Any) -> Any:
        return []

    def refusing(path: Path, **options: Any) -> pl.DataFrame:
        raise DataError("not here")

    with pytest.raises(PluginError, match="the loader raised KeyError: 'url'"):
        load(tmp_path, loader=broken)
    with pytest.raises(PluginError, match="returned list, not a polars DataFrame"):
        load(tmp_path, loader=wrong)
    with pytest.raises(DataError, match="not here"):
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
    def loader(path: Path, **_: Any) -> pl.DataFrame:
        raise error

    with pytest.raises(PluginError, match=f"the loader raised {type(error).__name__}") as caught:
        load_battles(tmp_path / "x", source="s", role="target", loader=loader, loader_name="mine")
    line = loader.__code__.co_firstlineno + 1
    assert caught.value.where == f'loader "mine", {tmp_path / "x"}, {__file__}:{line}'
