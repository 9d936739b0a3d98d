"""Files in every kind of table, packed or not, alone or as shards; and what is refused of them."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble.battles.files.packed import opened
from ensemble.battles.files.paths import files_of
from ensemble.battles.files.read import read_chunks
from ensemble.battles.loading import Loaded, load_battles
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS = ['a "quoted" line,\nand another', "two\ttabs; é中🙂", "x" * 300_000]
ROWS = [
    {
        "id": f"{i:03}",
        "prompt": f'["{i}"]',
        "response_a": json.dumps([text]),
        "response_b": json.dumps(["b", None][i % 2 : i % 2 + 1]),
        "winner": ("model_a", "tie", "model_b")[i],
    }
    for i, text in enumerate(TEXTS)
]
FRAME = pl.DataFrame(ROWS)


def load(path: Path | Sequence[str], **options: Any) -> Loaded:
    return load_battles(path, source="s", role="train", **options)


def content(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind in ("csv", "txt.csv"):
        FRAME.write_csv(buffer)
    elif kind in ("tsv", "tab"):
        FRAME.write_csv(buffer, separator="\t")
    elif kind == "parquet":
        FRAME.write_parquet(buffer)
    elif kind in ("arrow", "feather"):
        FRAME.write_ipc(buffer, compression="zstd" if kind == "arrow" else "uncompressed")
    elif kind == "stream.arrow":
        FRAME.write_ipc_stream(buffer)
    elif kind == "json":
        return json.dumps(ROWS, indent=2, ensure_ascii=False).encode()
    else:
        return b"".join(json.dumps(row).encode() + b"\r\n" for row in ROWS)
    return buffer.getvalue()


KINDS = ["csv", "tsv", "tab", "parquet", "arrow", "feather", "stream.arrow", "json", "jsonl"]


def packed(data: bytes, how: str, name: str) -> tuple[bytes, str]:
    if how == "gzip":
        return gzip.compress(data, mtime=0), f"{name}.gz"
    if how == "zstd":
        zstandard = pytest.importorskip("zstandard")
        frames = [zstandard.ZstdCompressor().compress(part) for part in (data[:50], data[50:])]
        return b"".join(frames), f"{name}.zst"
    if how == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("__MACOSX/._" + name, b"junk")
            archive.writestr(f"folder/{name}", data)
            archive.writestr("README.md", b"no table")
        return buffer.getvalue(), f"{name}.zip"
    return data, name


@pytest.mark.parametrize("how", ["as it is", "gzip", "zstd", "zip"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_holds_the_same_battles(kind: str, how: str, tmp_path: Path) -> None:
    data, name = packed(content(kind), how, f"t.{kind}")
    (tmp_path / name).write_bytes(data)
    battles = load(tmp_path / name).battles
    assert battles["id"].to_list() == ["000", "001", "002"]
    assert battles["response_a"].to_list() == [[text] for text in TEXTS]
    assert battles["response_b"].to_list() == [["b"], [None], ["b"]]
    assert battles["label_tie"].to_list() == [0.0, 1.0, 0.0]


def test_a_table_of_tabs_under_the_name_of_a_csv(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content("tsv"))
    assert load(tmp_path / "t.csv").battles["response_a"].to_list()[1] == [TEXTS[1]]


def test_json_lines_under_the_name_of_json(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_bytes(b"\xef\xbb\xbf" + content("jsonl"))
    assert len(load(tmp_path / "t.json").battles) == 3


def test_an_array_is_read_whatever_its_blocks_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.json").write_bytes(content("json"))
    for size in (1, 7, 100):
        monkeypatch.setattr("ensemble.battles.files.json_reader._BLOCK", size)
        if size == 1:
            (tmp_path / "t.json").write_text(json.dumps([ROWS[0], ROWS[1]], indent=1))
        assert len(load(tmp_path / "t.json").battles) >= 2


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("t.csv.gz", gzip.compress(content("csv"), mtime=0)[:-20], "damaged, or was not copied"),
        ("t.json", b'[{"id": 1}, {"id": 2}', "row 2: the list has no end"),
        ("t.json", b'[{"id": 1} {"id": 2}]', "not sound JSON: row 1"),
        ("t.json", b'[{"id": 1}, {"id": ]', "not sound JSON: row 2"),
        ("t.json", b'[{"id": 1}] and more', "more follows after the list"),
        ("t.json", b'{\n"id": 1\n}', "no list of rows, nor one object a line"),
        ("t.json", b"", "the file has no rows"),
        ("t.json", b"[]", "the file has no rows"),
        ("t.json", b'[{"id": "\xe4"}]', "not UTF-8: byte 0xe4"),
        ("t.json", b"[1, 2]", "no row can be read"),
        ("t.jsonl", b'{"id": 1, "id": 2}', '"id" is there twice'),
        ("t.arrow", b"ARROW1\x00\x00 and no more", "not sound Arrow"),
        ("t.arrow", b"", "the file is empty"),
        ("t.tar.gz", gzip.compress(b"x", mtime=0), "a tar archive"),
        ("t.xlsx", b"PK\x03\x04", r'ending in "\.xlsx" have no reader'),
        ("t.csv.zip", b"PK\x03\x04 and no more", "damaged, or was not copied"),
    ],
)
def test_damaged_and_foreign_files_say_so(
    name: str, data: bytes, match: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=match):
        load(tmp_path / name)


def test_a_zstd_file_that_ends_too_early_is_damaged(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    data = zstandard.ZstdCompressor().compress(content("csv"))
    for name, part in (("cut", data[:-9]), ("junk", data[:20] + b"\xff" * 40 + data[60:])):
        path = tmp_path / f"{name}.csv.zst"
        path.write_bytes(part)
        with pytest.raises(DataError, match="damaged, or was not copied whole"):
            load(path)


def test_an_archive_of_several_tables_names_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("train.csv", content("csv"))
        archive.writestr("test.csv", content("csv"))
    with pytest.raises(DataError, match=r"2 tables, and should hold one: train.csv, test.csv"):
        load(tmp_path / "t.zip")


# Shards, patterns, directories, lists


def shards(directory: Path, count: int = 3, form: str = "train-{:05}-of-{:05}.parquet") -> Path:
    directory.mkdir()
    for i in range(count):
        FRAME[i : i + 1].write_parquet(directory / form.format(i, count))
    return directory


def test_a_directory_of_shards_is_one_table(tmp_path: Path) -> None:
    directory = shards(tmp_path / "data")
    (directory / "README.md").write_text("no table")
    (directory / "dataset_info.json").write_text("{}")
    loaded = load(directory)
    assert loaded.battles["id"].to_list() == ["000", "001", "002"]
    assert "from 3 files" in loaded.read_as
    again = load(tmp_path / "data/train-*.parquet").battles
    listed = load([str(path) for path in sorted(directory.glob("*.parquet"))]).battles
    assert again.equals(loaded.battles) and listed.equals(loaded.battles)


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize("how", ["directory", "pattern", "list"])
def test_a_missing_shard_is_named(missing: int, how: str, tmp_path: Path) -> None:
    directory = shards(tmp_path / "data")
    (directory / f"train-0000{missing}-of-00003.parquet").unlink()
    rest = [str(path) for path in sorted(directory.iterdir())]
    path: Any = {"directory": directory, "pattern": directory / "train*", "list": rest}[how]
    with pytest.raises(DataError, match=f"train-0000{missing}-of-00003.parquet is missing: 2 of 3"):
        load(path)


def test_one_shard_alone_can_be_named_and_says_so(tmp_path: Path) -> None:
    directory = shards(tmp_path / "data")
    loaded = load(directory / "train-00001-of-00003.parquet")
    assert len(loaded.battles) == 1
    assert any("one shard of 3" in note for note in loaded.notes)


def test_shards_of_two_tables_are_not_one(tmp_path: Path) -> None:
    directory = shards(tmp_path / "data")
    FRAME.write_parquet(directory / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match="several tables: (.*train.*|.*test.*)"):
        load(directory)


def test_parts_are_read_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    for i in (10, 2, 1):
        frame = FRAME[:1].with_columns(id=pl.lit(f"i{i}"))
        frame.write_ndjson(tmp_path / f"part-{i}.jsonl")
    assert load(tmp_path).battles["id"].to_list() == ["i1", "i2", "i10"]


def test_a_bad_row_of_a_shard_names_its_file(tmp_path: Path) -> None:
    for i, winner in enumerate(("model_a", "who")):
        FRAME[i : i + 1].with_columns(winner=pl.lit(winner)).write_csv(tmp_path / f"p{i}.csv")
    with pytest.raises(DataError, match=r"p1\.csv:2: unknown winner 'who'"):
        load(tmp_path)


def test_an_id_in_two_shards_names_both(tmp_path: Path) -> None:
    for i in range(2):
        FRAME.write_csv(tmp_path / f"p{i}.csv")
    with pytest.raises(DataError, match=r'"000" \(rows p0.csv:2, p1.csv:2\)'):
        load(tmp_path)


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("none-*.csv", "no file matches the pattern"),
        ("empty", "the directory holds no table"),
        (["a.csv", "a.csv"], "listed twice"),
        ([], "the list of paths is empty"),
    ],
)
def test_paths_that_name_no_table(
    path: Any, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    FRAME.write_csv(tmp_path / "a.csv")
    with pytest.raises(DataError, match=match):
        files_of(path)


def test_a_name_with_brackets_goes_before_a_pattern(tmp_path: Path) -> None:
    FRAME[:1].write_csv(tmp_path / "t[1].csv")
    FRAME[1:2].write_csv(tmp_path / "t1.csv")
    assert files_of(tmp_path / "t[1].csv") == (tmp_path / "t[1].csv",)


@pytest.mark.parametrize("tail", [b"", b"\0" * 700_000, b"\0" * 9])
def test_gzip_of_several_members_with_padding_is_read_whole(tmp_path: Path, tail: bytes) -> None:
    """As tapes and parallel packers write it."""
    rows = [f'{{"id": "{at}", "text": "{"x" * 3_000}{at}"}}\n'.encode() for at in range(900)]
    members = [gzip.compress(b"".join(rows[at : at + 300])) for at in (0, 300, 600)]
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(b"".join(members) + tail)
    chunks = list(read_chunks(path))
    assert [i for chunk in chunks for i in chunk.columns["id"]] == [str(at) for at in range(900)]


@pytest.mark.parametrize("tail", [b"more", b"\0\0more", b"\x1f\x8b\x08"])
def test_gzip_with_something_else_behind_it_is_refused(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": 1}\n') + tail)
    with pytest.raises(DataError, match="damaged, or was not copied whole"):
        list(read_chunks(path))


def test_a_packed_file_that_is_not_read_to_its_end_leaves_no_thread(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(os.urandom(8_000_000).hex().encode()))
    before = threading.active_count()
    with opened(path) as (file, _):
        assert len(file.read(10)) == 10
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
