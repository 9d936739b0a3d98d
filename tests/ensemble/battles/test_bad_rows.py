"""Rows and files that cannot be read are named by file, line and reason."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from ensemble import errors
from ensemble.battles.loading import BadRow, load_battles
from tests.ensemble.battles.written_files import (
    HEADER,
    NATIVE,
    conversation,
    load,
    make_row,
    write_csv,
    write_jsonl,
)


@pytest.mark.parametrize("role", ["target", "train", "pretrain"])
def test_unlabeled_rows_are_bad_rows_elsewhere(tmp_path: Path, role: str) -> None:
    empty = dict.fromkeys(HEADER[-3:], "")
    path = write_csv(tmp_path / "t.csv", [make_row(**empty), make_row("2")])
    with pytest.raises(errors.DataError, match=r"t\.csv:2: no label"):
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
    path = write_csv(tmp_path / "train.csv", [make_row("ok"), make_row() | cells])
    with pytest.raises(errors.DataError, match=rf"train\.csv:3: .*{re.escape(reason)}") as caught:
        load(path)
    assert "1 of 2 rows" in caught.value.message
    assert 'on_bad_rows = "drop"' in (caught.value.hint or "")
    loaded = load_battles(path, source="s", role="target", on_bad_rows="drop")
    assert loaded.battles["id"].to_list() == ["ok"]
    assert [(bad.file, bad.line) for bad in loaded.bad_rows] == [(str(path), 3)]


@pytest.mark.parametrize("cell", ["plain text", "[1]"])
def test_text_that_is_no_json_list_points_at_the_text_format(tmp_path: Path, cell: str) -> None:
    path = write_csv(tmp_path / "t.csv", [make_row("ok"), make_row(prompt=cell)])
    with pytest.raises(errors.DataError, match="1 of 2 rows") as caught:
        load(path)
    assert 'text_format = "plain"' in (caught.value.hint or "")


def test_lines_are_physical_and_only_the_first_bad_rows_are_shown(tmp_path: Path) -> None:
    rows = [make_row("a", prompt='["two\nlines"]')] + [
        make_row(str(i), winner_tie="1") for i in range(8)
    ]
    path = write_csv(tmp_path / "t.csv", rows)
    with pytest.raises(errors.DataError, match="8 of 9 rows") as caught:
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
    path = write_csv(tmp_path / "t.csv", [make_row("1")])
    good = path.read_text().splitlines(keepends=True)[1]
    path.write_text(path.read_text() + text + good.replace("1,", "3,", 1), newline="")
    with pytest.raises(errors.DataError, match=rf"t\.csv:3: .*{reason}"):
        load(path)
    loaded = load_battles(path, source="s", role="target", on_bad_rows="drop")
    assert loaded.battles["id"].to_list() == ["1", "3"]
    assert [bad.line for bad in loaded.bad_rows] == [3]


def test_a_quote_that_is_never_closed_names_the_lines_it_swallowed(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [make_row("1")])
    path.write_text(path.read_text() + '2,"m\n3,m\n4,m\n')
    with pytest.raises(errors.DataError, match=r"t\.csv:3: .*never closed \(lines 3 to 5"):
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
        (conversation("other", "b"), "the user's turns differ"),
        (conversation("p"), "prompt 1, response_a 1, response_b 0"),
        ([{"role": "system", "content": "p"}], "message 1 is from 'system'"),
        ([{"role": "user"}], 'message 1 has no "role" and "content"'),
        ("{}", "not a JSON list of messages"),
    ],
)
def test_bad_conversations_are_bad_rows(tmp_path: Path, side_b: object, reason: str) -> None:
    good = conversation("p", "a")
    rows = [
        {"id": i, "winner": "a", "conversation_a": good, "conversation_b": side}
        for i, side in enumerate([good, side_b])
    ]
    with pytest.raises(errors.DataError, match=rf"t\.jsonl:2: .*{re.escape(reason)}"):
        load(write_jsonl(tmp_path / "t.jsonl", rows))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_file_of_bad_rows_alone_is_refused_even_when_dropping(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "t.csv":
        write_csv(path, [make_row(winner_tie="1")])
    else:
        path.write_text("7\n{\n")
    with pytest.raises(errors.DataError, match="no row can be read"):
        load(path, on_bad_rows="drop")


def test_no_test_row_is_ever_dropped(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [make_row(), make_row("2", prompt="x")])
    with pytest.raises(errors.DataError, match="a submission needs every test row"):
        load(path, is_test=True, on_bad_rows="drop")


# Files and columns


def test_unreadable_files_say_why(tmp_path: Path) -> None:
    with pytest.raises(errors.DataError, match="no such file"):
        load(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(errors.DataError, match="the directory holds no table"):
        load(tmp_path / "folder.csv")
    with pytest.raises(
        errors.DataError, match=r"\.csv, .*\.parquet, .*\.jsonl.*\n.*\n.*`loader =`"
    ):
        load(tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "the file is empty"),
        ("t.parquet", b"", "the file is empty"),
        ("t.jsonl", b"\n\n", "the file has no rows"),
        ("t.csv", ",".join(HEADER).encode(), "the file has no rows"),
        ("t.csv", b"\xff\xfei\x00d\x00", "not UTF-8: it has NUL bytes.*\n.*:1"),
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
    with pytest.raises(errors.DataError, match=message):
        load(tmp_path / name)


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame([{"id": 1, "winner": "a", **NATIVE}]).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(errors.DataError, match="not sound Parquet"):
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
        (HEADER[:-2], "missing: winner_model_b, winner_tie"),
        (HEADER[:-3], "columns are missing: winner_model_a, winner_model_b, winner_tie"),
    ],
)
def test_missing_columns_are_named_with_the_nearest(
    tmp_path: Path, columns: list[str], message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(columns) + "\n" + ",".join("x" for _ in columns) + "\n")
    with pytest.raises(errors.DataError, match=message) as caught:
        load(path)
    assert ", ".join(columns) in (caught.value.hint or "")
