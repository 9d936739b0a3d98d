"""Files of battles with damage of any kind: battles, or an error of ours."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import zstandard

from tests.ensemble.battles.formats.golden_rows import GOLDEN
from tests.ensemble.battles.formats.readings import load, write
from tests.fuzz.harmless import bounded_memory, harmless, nothing_else_written
from tests.fuzz.mutations import mutants

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ensemble.battles.formats.readings import Row

ROWS = [
    {
        "id": f"r{i}",
        "prompt": json.dumps([f"question {i}", "and é?"]),
        "response_a": json.dumps(["yes", f"no {i}"]),
        "response_b": json.dumps(["no", None]),
        "model_a": "m1",
        "model_b": "m2",
        "winner": ("model_a", "model_b", "tie")[i % 3],
        "tstamp": 1.5 + i,
        "language": "English",
    }
    for i in range(9)
]


def _csv(separator: str) -> bytes:
    return pl.DataFrame(ROWS).write_csv(separator=separator).encode()


def _written(method: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    getattr(pl.DataFrame(ROWS), method)(buffer, **options)
    return buffer.getvalue()


def _zipped(content: bytes, kind: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr("data/t.csv", content)
        archive.writestr("README.md", b"text")
    return buffer.getvalue()


LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
FILES = {
    "t.csv": _csv(","),
    "t.tsv": _csv("\t"),
    "t.jsonl": LINES,
    "t.json": json.dumps(ROWS, indent=1).encode(),
    "t.parquet": _written("write_parquet"),
    "plain.parquet": _written("write_parquet", compression="uncompressed", statistics=False),
    "t.arrow": _written("write_ipc"),
    "packed.arrow": _written("write_ipc", compression="zstd"),
    "stream.arrow": _written("write_ipc_stream"),
    "t.csv.gz": gzip.compress(_csv(","), mtime=0),
    "t.jsonl.zst": zstandard.ZstdCompressor().compress(LINES),
    "t.parquet.gz": gzip.compress(_written("write_parquet"), mtime=0),
    "stored.csv.zip": _zipped(_csv(","), zipfile.ZIP_STORED),
    "deflated.csv.zip": _zipped(_csv(","), zipfile.ZIP_DEFLATED),
    "bzip2.csv.zip": _zipped(_csv(","), zipfile.ZIP_BZIP2),
    "lzma.csv.zip": _zipped(_csv(","), zipfile.ZIP_LZMA),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    assert harmless(name, lambda: load(path)) is None
    with nothing_else_written(tmp_path, path), bounded_memory():
        for told, content in mutants(name, FILES[name], 60):
            path.write_bytes(content)
            harmless(told, lambda: load(path))
            harmless(f"{told}, drop", lambda: load(path, drop=True))


@pytest.mark.parametrize("name", GOLDEN)
def test_damaged_rows_of_every_format_are_read_or_refused(name: str, tmp_path: Path) -> None:
    rows, options, _, _ = GOLDEN[name]
    path = write(tmp_path / "t.jsonl", list(rows))
    for told, content in mutants(name, path.read_bytes(), 25):
        path.write_bytes(content)
        harmless(told, lambda: load(path, **options))
        harmless(f"{told}, drop", lambda: load(path, drop=True, **options))


VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, float("nan"), float("inf"), -float("inf"), 10**30, -(10**400)),
    *("", " ", "\0", "\ud800", "\ufeff", "a" * 70_000, "[" * 3000, "[1, 2", "['a' 'b']", "\x1b[2J"),
    *([], [None], [[]], [{}], {}, {"": None}, {"role": "user"}, {"role": None, "content": []}),
    *([{"role": "user", "content": 1}], ["a", 1, None], [["a"], ["b"]], {"a": {"b": {"c": []}}}),
    *("2020-01-01", "1e999", "-0", "NaN", "true", "model_a", "tie", [float("nan")], [10**30]),
]


def _paths(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [place] if place else []
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        found += [way for key, item in items for way in _paths(item, (*place, key))]
    return found


def _put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    head, *rest = place
    if isinstance(value, dict):
        return value | {head: _put(value[head], tuple(rest), new)}
    return [_put(one, tuple(rest), new) if at == head else one for at, one in enumerate(value)]


@pytest.mark.parametrize("name", GOLDEN)
def test_any_value_in_any_place_is_read_or_refused(name: str, tmp_path: Path) -> None:
    """Structure mutations: valid JSON, with one value of another type somewhere within it."""
    import random

    from tests.fuzz.mutations import scale

    rows, options, _, _ = GOLDEN[name]
    path, chance = tmp_path / "t.jsonl", random.Random(name)
    for number in range(30 * scale()):
        at = chance.randrange(len(rows))
        place = chance.choice(_paths(rows[at]))
        new = chance.choice(VALUES)
        changed: list[Row] = list(rows)
        changed[at] = _put(rows[at], place, new)
        if chance.random() < 0.2:
            changed = [_put(row, place[:1], new) if place[0] in row else row for row in rows]
        write(path, changed)
        told = f"{name} {number}: {place} = {new!r:.60}"
        harmless(told, lambda: load(path, **options))
        harmless(f"{told}, drop", lambda: load(path, drop=True, **options))
