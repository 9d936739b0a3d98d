"""Parquet and Arrow to raw rows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.files.arrow_sizes import check_sizes
from ensemble.battles.files.parquet_columns import check_columns
from ensemble.battles.files.parquet_sizes import read_end
from ensemble.battles.files.raw import CHUNK_ROWS, Chunk
from ensemble.battles.files.sizes import check_unpacked
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from ensemble.battles.files.raw import Wanted

_ARROW_FILE = b"ARROW1"
_STREAM_BEGINS = b"\xff\xff\xff\xff"
_STREAM_ENDS = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""Streams begin so since 2019, and end so where they were written to their end."""


def frame_chunks(
    frame: pl.DataFrame,
    wanted: Wanted = None,
    present: Mapping[str, pl.DataType] | None = None,
    file: str = "",
) -> Iterator[Chunk]:
    """Cut a table into chunks.

    Parameters
    ----------
    frame
        Any table; ``lines`` are its row numbers, from 1.
    wanted
        Chooses the columns whose cells are needed; None means all.
    present
        All columns where ``frame`` holds only some of them.
    file
        Names it.
    """
    schema = frame.schema if present is None else present
    chosen = set(frame.columns if wanted is None else wanted(dict(schema)))
    kept = frame.select([name for name in frame.columns if name in chosen])
    for start in range(0, max(frame.height, 1), CHUNK_ROWS):
        part = kept.slice(start, CHUNK_ROWS)
        lines = range(start + 1, start + 1 + min(CHUNK_ROWS, frame.height - start))
        yield Chunk(tuple(schema), lines, part.to_dict(as_series=False), file=file)


def parquet_chunks(file: BinaryIO, path: Path, wanted: Wanted = None) -> Iterator[Chunk]:
    """Read Parquet; only columns that are wanted come into memory.

    Raises
    ------
    DataError
        It is empty or damaged.
    """
    _refuse_empty(file, path)
    end = _sound(lambda: read_end(file, path), path, "Parquet")
    schema = _sound(lambda: pl.read_parquet_schema(_rewound(file)), path, "Parquet")
    chosen = set(schema if wanted is None else wanted(dict(schema)))
    columns = [name for name in schema if name in chosen]
    _sound(lambda: check_columns(file, path, end, columns), path, "Parquet")
    frame = _sound(
        lambda: pl.read_parquet(_rewound(file), columns=columns, glob=False), path, "Parquet"
    )
    # Cells that are stored once, and said a million times, are as many texts from here on.
    check_unpacked(path, int(frame.estimated_size()), end.size)
    yield from frame_chunks(frame, None, schema, str(path))


def arrow_chunks(file: BinaryIO, path: Path, wanted: Wanted = None) -> Iterator[Chunk]:
    """Read an Arrow file, Feather, or a stream, as libraries keep data sets; errors as above."""
    _refuse_empty(file, path)
    whole = _rewound(file).read()
    if whole.startswith(_STREAM_BEGINS) and not whole.endswith(_STREAM_ENDS):
        raise _damaged("the stream has no end: rows may be missing", path)
    read = pl.read_ipc if whole.startswith(_ARROW_FILE) else pl.read_ipc_stream
    _sound(lambda: check_sizes(whole, path), path, "Arrow")
    frame = _sound(lambda: read(io.BytesIO(whole)), path, "Arrow")
    yield from frame_chunks(frame, wanted, file=str(path))


def _refuse_empty(file: BinaryIO, path: Path) -> None:
    if not file.read(1):
        raise DataError("the file is empty", where=str(path), hint="fetch it again")


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _sound(read: Callable[[], Any], path: Path, kind: str) -> Any:
    try:
        return read()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise _damaged(
            f"the file is not sound {kind}: {(str(error).splitlines() or ['no reason given'])[0]}",
            path,
        ) from error


def _damaged(what: str, path: Path) -> DataError:
    return DataError(what, where=str(path), hint="fetch the file again, or write it anew")
