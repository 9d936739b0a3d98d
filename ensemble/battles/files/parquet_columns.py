"""Columns of a Parquet file that are about to be read: what of them no head of a page tells."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.files import columnar_process
from ensemble.battles.files.parquet_sizes import check_pages, read_end
from ensemble.battles.files.sizes import ALWAYS, TIMES, check_unpacked
from ensemble.errors import DataError
from ensemble.processes import free_memory, resident_bytes
from ensemble.storage.owned import OwnedPlace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from ensemble.battles.files.parquet_sizes import ParquetEnd

_BESIDE = 1 << 29
"""Bytes that a process takes beside what it reads."""
_GLANCE = 0.02
"""Seconds between two looks at how large it is."""


def check_columns(file: BinaryIO, path: Path, end: ParquetEnd, columns: Sequence[str]) -> None:
    """See that columns can be read in bounded memory.

    Parameters
    ----------
    file, path, end
        The file, its name, and what ``read_end`` gave.
    columns
        Names of those that are wanted.

    Raises
    ------
    ValueError
        As ``check_pages``, or it cannot be read.
    DataError
        It holds more than a file of its size can.
    """
    check_pages(file, path, end, columns)
    file.seek(0)
    schema = pl.read_parquet_schema(file)
    # A list of fixed length that is null is as long as any in memory, and nothing in the file.
    fixed = sum(_fixed(schema[name]) * end.values(name) for name in columns)
    check_unpacked(path, fixed, end.size)
    if end.has_prefixes:
        _try_apart(file, path, end, columns)


def check_parquet(path: Path, columns: Sequence[str]) -> None:
    """Do so with a file from outside that is read by itself; errors as above, and ``OSError``."""
    with path.open("rb") as file:
        end = read_end(file, path)
        file.seek(0)
        known = pl.read_parquet_schema(file)
        check_columns(file, path, end, [name for name in columns if name in known])


def _fixed(kind: pl.DataType) -> int:
    """Bytes that one value takes, whatever it holds, for lists of a fixed length."""
    if isinstance(kind, pl.Array):
        inner = kind.inner
        of_one = _fixed(inner) if isinstance(inner, pl.DataType) else 0
        return kind.size * max(1, of_one)
    if isinstance(kind, pl.List):
        return _fixed(kind.inner) if isinstance(kind.inner, pl.DataType) else 0
    if isinstance(kind, pl.Struct):
        inside = (field.dtype for field in kind.fields)
        return sum(_fixed(one) for one in inside if isinstance(one, pl.DataType))
    return 0


def _try_apart(file: BinaryIO, path: Path, end: ParquetEnd, columns: Sequence[str]) -> None:
    """Read in another process, which is ended where it grows beyond what such a file can hold."""
    free = free_memory()
    half = sys.maxsize if free is None else free // 2
    most = _BESIDE + min(max(ALWAYS, TIMES * end.size), half)
    program = [sys.executable, str(columnar_process.__file__)]
    with _on_disk(file) as place:
        process = subprocess.Popen(
            [*program, str(place), json.dumps([*columns])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            while _is_running(process):
                if (resident_bytes(process.pid) or 0) > most:
                    raise DataError(
                        f"to read it takes more than {most >> 20:,} MiB of memory, and the file "
                        f"has {end.size:,} bytes",
                        where=str(path),
                        hint="if that is no mistake, give it as JSON Lines that are not packed",
                    )
        finally:
            process.kill()
            told, _ = process.communicate()
    if process.returncode != 0 or not told.isdigit():
        raise ValueError("a process that tried to read it came to its end")
    check_unpacked(path, int(told), end.size)


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_GLANCE)
    except subprocess.TimeoutExpired:
        return True
    return False


@contextmanager
def _on_disk(file: BinaryIO) -> Iterator[Path]:
    """Give a copy of a file that may be in memory alone."""
    file.seek(0)
    with OwnedPlace("ensemble-parquet-") as directory:
        place = directory / "table.parquet"
        with place.open("wb") as copy:
            while block := file.read(1 << 20):
                copy.write(block)
        yield place
