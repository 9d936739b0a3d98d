"""Small files that become large: refused before they fill the memory."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import zipfile
import zlib
from typing import TYPE_CHECKING

import polars as pl
import pytest
import zstandard

from tests.ensemble.battles.formats.readings import load
from tests.fuzz.harmless import harmless, no_hang

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MEMORY = 3 << 30
"""Bytes of address space beyond what the imports take."""


def _gzipped(blocks: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(block) for block in blocks), packer.flush()])


def _line(size: int, block: bytes = b"a" * (1 << 20)) -> Iterator[bytes]:
    yield b"id,prompt,response_a,response_b,winner\n1,"
    for _ in range(size >> 20):
        yield block


def _zstd(size: int) -> bytes:
    out = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as writer:
        for block in _line(size):
            writer.write(block)
    return out.getvalue()


def _zip(size: int) -> bytes:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("t.csv", "w", force_zip64=True) as member,
    ):
        for block in _line(size):
            member.write(block)
    return out.getvalue()


def _rows() -> bytes:
    out = io.BytesIO()
    pl.select(pl.repeat(1, 40_000_000, dtype=pl.Int8).alias("id")).write_parquet(out)
    return out.getvalue()


def _same_cell() -> bytes:
    out = io.BytesIO()
    cells = pl.repeat("a" * 100_000, 50_000)
    pl.select(prompt=cells, chosen=cells, rejected=cells).write_parquet(out)
    return out.getvalue()


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "t.csv.gz": (lambda: _gzipped(_line(1 << 30)), "no end within|times its own size"),
    "lines.csv.gz": (
        lambda: _gzipped(_line(1 << 30, (b"1,[" + b" " * 1018 + b"],[]\n") * 1024)),
        "times its own size",
    ),
    "t.csv.zst": (lambda: _zstd(1 << 30), "no end within|times its own size"),
    "t.csv.zip": (lambda: _zip(1 << 30), "times its own size"),
    "t.json.gz": (lambda: _gzipped(_line(1 << 30, b"[" * (1 << 20))), "times its own size"),
    "t.parquet": (_rows, "says that it has 40,000,000 rows"),
    "cells.parquet": (_same_cell, "times its own size"),
}
_READ = """
import resource, sys
import polars
from pathlib import Path
from ensemble.battles.loading import load_battles
from ensemble.errors import EnsembleError
import ensemble.battles.prepare
used = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
try:
    load_battles(Path(sys.argv[1]), source="s", role="train")
except EnsembleError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_bounded_memory(name: str, tmp_path: Path) -> None:
    import re

    make, reason = BOMBS[name]
    path = tmp_path / name
    path.write_bytes(make())
    assert path.stat().st_size < 20 << 20
    command = [sys.executable, "-c", _READ, str(path), str(_MEMORY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert re.search(reason, done.stdout), (done.stdout, done.stderr[-2000:])


def test_many_answers_to_one_prompt_make_no_millions_of_pairs(tmp_path: Path) -> None:
    answers = [{"text": f"answer {i}", "score": i} for i in range(20_000)]
    (tmp_path / "t.jsonl").write_text(json.dumps({"prompt": "q", "answers": answers}))
    error = harmless("answers", lambda: load(tmp_path / "t.jsonl"))
    assert error is not None and "too many pairs" in str(error)
    assert harmless("best", lambda: load(tmp_path / "t.jsonl", pairs="best_worst")) is None


def test_a_key_that_is_there_twice_is_found_among_many(tmp_path: Path) -> None:
    keys = ", ".join(f'"k{i}": 1' for i in range(200_000))
    (tmp_path / "t.jsonl").write_text("{" + keys + ', "k199999": 2}\n')
    with no_hang(10):
        error = harmless("keys", lambda: load(tmp_path / "t.jsonl"))
    assert error is not None and '"k199999" is there twice' in str(error)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_million_columns_are_refused_in_short(kind: str, tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(1_000_000 if kind != "parquet" else 50_000)]
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        path.write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    elif kind == "jsonl":
        path.write_text(json.dumps(dict.fromkeys(names, 1)) + "\n")
    else:
        pl.DataFrame({name: [1] for name in names}).write_parquet(path, statistics=False)
    with no_hang(60):
        error = harmless(kind, lambda: load(path))
    assert error is not None and len(str(error)) < 10_000


def test_what_is_packed_well_is_no_bomb(tmp_path: Path) -> None:
    row = {"id": "", "prompt": '["why?"]', "response_a": '["yes"]', "response_b": '["no"]'}
    rows = "".join(json.dumps(row | {"id": str(i), "winner": "tie"}) + "\n" for i in range(20_000))
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    assert len(load(tmp_path / "t.jsonl.gz").battles) == 20_000
