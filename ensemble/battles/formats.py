"""Files and tables to raw rows, by format: CSV, JSON Lines, Parquet, tables of loader plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.csv_reader import csv_chunks
from ensemble.battles.raw import CHUNK_ROWS, JSON, BadRow, Chunk, batches, reading, text_lines
from ensemble.battles.refused_files import check_file_kind
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO


def read_chunks(path: Path, wanted: Collection[str]) -> Iterator[Chunk]:
    """Read a file by the format that its suffix names.

    Parameters
    ----------
    path
        A file of one of the ``supported_suffixes()``.
    wanted
        Names of the columns whose cells are needed.

    Yields
    ------
    Chunk
        At most ``CHUNK_ROWS`` rows. A CSV or Parquet file without rows yields one empty chunk.

    Raises
    ------
    DataError
        Unknown suffix, missing or unreadable file, text that is not UTF-8, no header.
    """
    check_file_kind(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise _unknown_format(path)
    with reading(path):
        yield from reader(path, wanted)


def supported_suffixes() -> tuple[str, ...]:
    """Name the suffixes of the formats that can be read."""
    return tuple(_READERS)


def counts_lines(path: Path) -> bool:
    """Say whether places in this file are lines; in other formats they are row numbers."""
    return _READERS.get(path.suffix.lower()) in (csv_chunks, _jsonl_chunks)


def frame_chunks(
    frame: pl.DataFrame, wanted: Collection[str], present: Sequence[str] | None = None
) -> Iterator[Chunk]:
    """Cut a table into chunks.

    Parameters
    ----------
    frame
        Any table; ``lines`` are its row numbers, from 1.
    wanted
        Names of the columns whose cells are needed.
    present
        Names of all columns where ``frame`` holds only some of them.
    """
    names = tuple(frame.columns if present is None else present)
    kept = frame.select([name for name in frame.columns if name in wanted])
    for start in range(0, max(kept.height, 1), CHUNK_ROWS):
        part = kept.slice(start, CHUNK_ROWS)
        lines = range(start + 1, start + 1 + part.height)
        yield Chunk(names, lines, part.to_dict(as_series=False))


def _jsonl_chunks(path: Path, wanted: Collection[str]) -> Iterator[Chunk]:
    with path.open("rb") as file:
        for lines, rows, bad_rows in batches(_json_records(file, path)):
            present = tuple(dict.fromkeys(name for row in rows for name in row))
            columns = {n: [row.get(n) for row in rows] for n in present if n in wanted}
            yield Chunk(present, lines, columns, bad_rows)


def _json_records(file: BinaryIO, path: Path) -> Iterator[tuple[int, dict[str, Any]] | BadRow]:
    for number, line in enumerate(text_lines(file, path), 1):
        text = line.strip()
        if not text:
            continue
        try:
            record = JSON.decode(text)
        except (ValueError, RecursionError) as error:
            yield BadRow(str(path), number, f"not JSON: {error}")
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            yield BadRow(str(path), number, "not a JSON object")


def _parquet_chunks(path: Path, wanted: Collection[str]) -> Iterator[Chunk]:
    with path.open("rb") as file:  # the operating system's own words for a file it does not open
        empty = not file.read(1)
    if empty:
        raise DataError("the file is empty", where=str(path))
    present = _parquet(pl.read_parquet_schema, path)
    columns = [name for name in present if name in wanted]
    frame = _parquet(lambda p: pl.read_parquet(p, columns=columns, glob=False), path)
    yield from frame_chunks(frame, wanted, tuple(present))


def _parquet(read: Callable[[Path], Any], path: Path) -> Any:
    try:
        return read(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(
            f"the file is not sound Parquet: {str(error).splitlines()[0]}", where=str(path)
        ) from error


def _unknown_format(path: Path) -> DataError:
    known = ", ".join(supported_suffixes())
    return DataError(
        f'files ending in "{path.suffix}" have no reader; there are: {known}',
        where=str(path),
        hint="convert the file, or name a plugin that reads it with `loader =`",
    )


_READERS: dict[str, Callable[[Path, Collection[str]], Iterator[Chunk]]] = {
    ".csv": csv_chunks,
    ".parquet": _parquet_chunks,
    ".jsonl": _jsonl_chunks,
    ".ndjson": _jsonl_chunks,
    ".json-lines": _jsonl_chunks,
}
