"""How programs write tables otherwise: spaces, separators, columns in JSON, streams cut short."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ensemble.battles.loading import load_battles
from ensemble.errors import DataError

HEAD = "id,prompt,response_a,response_b,winner\n"
ROWS = [
    {"id": str(i), "prompt": f"p{i}", "response_a": "a", "response_b": "b", "winner": "tie"}
    for i in range(3)
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
ENDS = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def read(path: Path, **more: Any) -> list[tuple[Any, ...]]:
    battles = load_battles(path, source="s", role="train", **more).battles
    columns = [pl.col("prompt", "response_a", "response_b").list.join("|")]
    return battles.select("id", *columns, "label_tie").rows()


def refusal(path: Path, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_battles(path, source="s", role="train", **more)
    return f"{caught.value.message} | {caught.value.hint}"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_space_after_every_comma_is_part_of_no_cell(tmp_path: Path) -> None:
    text = 'id, prompt, response_a, response_b, winner\n1, "p, q", a, "say ""x""", tie\n'
    assert read(written(tmp_path / "t.csv", text)) == [("1", "p, q", "a", 'say "x"', 1.0)]


def test_a_space_within_one_name_of_the_header_changes_nothing(tmp_path: Path) -> None:
    text = "id,prompt,response_a,response_b, winner\n1, p,a,b,tie\n"
    assert read(written(tmp_path / "t.csv", text)) == [("1", " p", "a", "b", 1.0)]


def test_the_ending_of_the_name_tells_tabs_from_commas(tmp_path: Path) -> None:
    text = HEAD.replace(",", "\t").strip() + "\tnote, x\n1\tp, q\ta\tb\ttie\tn\n"
    assert read(written(tmp_path / "t.tsv", text)) == [("1", "p, q", "a", "b", 1.0)]


@pytest.mark.parametrize("mark", [";", "|"])
def test_other_separators_are_named_in_quotes_too(tmp_path: Path, mark: str) -> None:
    text = mark.join(f'"{name}"' for name in ROWS[0]) + "\n"
    assert f'separated by "{mark}"' in refusal(written(tmp_path / "t.csv", text))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_put_behind_each_other_have_a_header_in_the_middle(tmp_path: Path, mark: str) -> None:
    head = HEAD.replace(",winner", "")
    path = written(tmp_path / "t.csv", f"{mark}{head}1,p,a,b\n{mark}{head}2,q,a,b\n")
    assert "t.csv:3: the header once more" in refusal(path, is_test=True)


@pytest.mark.parametrize("mark", ["\ufeff\ufeff", "\u200b", "\u00a0", " \ufeff"])
def test_what_nobody_sees_around_a_name_of_a_header_is_no_part_of_it(
    tmp_path: Path, mark: str
) -> None:
    path = written(tmp_path / "t.csv", f"{mark}{HEAD}007,p,a,b,tie\n")
    assert read(path) == [("007", "p", "a", "b", 1.0)]


@pytest.mark.parametrize("name", ["ID", "\ufeffid", "i\u200bd", "#id", "Question ID", "questionId"])
def test_a_column_that_is_nearly_called_id_is_not_passed_over(tmp_path: Path, name: str) -> None:
    rows = [{name if key == "id" else key: cell for key, cell in row.items()} for row in ROWS]
    (tmp_path / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    assert "a column is missing: id" in refusal(tmp_path / "t.json")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16", "utf-32-le"])
def test_other_encodings_are_refused(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes((HEAD + "1,p,a,b,tie\n").encode(encoding))
    assert "save the file as UTF-8" in refusal(tmp_path / "t.csv")
    (tmp_path / "t.jsonl").write_bytes(json.dumps(ROWS[0]).encode(encoding))
    assert "save the file as UTF-8" in refusal(tmp_path / "t.jsonl")


@pytest.mark.parametrize("name", ["t.tar.gz", "t.tgz", "t.tar", "t.csv.gz", "t.csv"])
def test_archives_of_tar_are_called_so(tmp_path: Path, name: str) -> None:
    written(tmp_path / "train.csv", HEAD + "1,p,a,b,tie\n")
    with tarfile.open(tmp_path / name, "w:gz" if "gz" in name else "w") as archive:
        archive.add(tmp_path / "train.csv", "train.csv")
    assert "a tar archive" in refusal(tmp_path / name)


def test_what_is_packed_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("train.csv.gz", b"\x1f\x8b")
    assert "train.csv.gz, which is packed again" in refusal(tmp_path / "t.zip")


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_of_rows_is_read_under_any_name(tmp_path: Path, indent: int | None) -> None:
    text = json.dumps(ROWS, indent=indent)
    assert len(read(written(tmp_path / "t.jsonl", f"\ufeff \n{text}\n"))) == len(ROWS)


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (COLUMNS, "one object of columns"),
        ({name: dict(enumerate(cells)) for name, cells in COLUMNS.items()}, "object of columns"),
        ({"prompt": ["p", "q"], "response_a": ["a", "a"], "response_b": ["b", "b"]}, "of columns"),
        ({"train": ROWS, "test": ROWS}, "lists of rows within one object: train, test"),
        ({"version": 1, "data": ROWS}, "lists of rows within one object: data"),
        ({row["id"]: row for row in ROWS}, "one object of rows"),
        ({"columns": list(COLUMNS), "index": [0], "data": [[1]]}, "one object of columns"),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_one_object_that_holds_a_whole_table_is_refused(
    tmp_path: Path, content: Any, reason: str, ending: str, indent: int | None
) -> None:
    if indent and ending == "jsonl":
        pytest.skip("such a line is no JSON")
    path = written(tmp_path / f"t.{ending}", json.dumps(content, indent=indent))
    said = refusal(path, is_test=True)
    assert reason in said and "write it as" in said


def test_one_row_of_several_turns_is_a_row(tmp_path: Path) -> None:
    row = {"id": "1", "prompt": ["p", "q"], "response_a": ["a", "a"], "response_b": ["b", "b"]}
    path = written(tmp_path / "t.jsonl", json.dumps(row | {"winner": "tie"}))
    assert read(path) == [("1", "p|q", "a|a", "b|b", 1.0)]


def test_a_stream_without_its_end_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pl.DataFrame(ROWS).write_ipc_stream(buffer)
    whole = buffer.getvalue()
    assert whole.endswith(ENDS)
    path = tmp_path / "t.arrow"
    path.write_bytes(whole)
    assert len(read(path)) == len(ROWS)
    for cut in (len(ENDS), len(ENDS) + 16, len(whole) // 2):
        path.write_bytes(whole[:-cut])
        assert "fetch the file again" in refusal(path)
