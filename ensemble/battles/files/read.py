"""Any file of rows to chunks: unpacked, and read by the kind of table that its name tells."""

from __future__ import annotations

import io
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ensemble.battles.files.columnar import arrow_chunks, parquet_chunks
from ensemble.battles.files.csv_reader import delimited_chunks
from ensemble.battles.files.json_reader import json_chunks, line_chunks
from ensemble.battles.files.packed import is_packed, opened
from ensemble.battles.files.raw import reading
from ensemble.battles.files.refused import check_file_kind
from ensemble.battles.files.suffixes import suffixes_of, table_suffixes
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ensemble.battles.files.raw import Chunk, Wanted

_TAR_NAME = re.compile(r"\.(tar(\.\w+)?|tgz|tbz2?|txz)$", re.IGNORECASE)
_TAR_MARK, _TAR_MARK_END = b"ustar", 262
_WHOLE = ("parquet", "arrow")
"""Tables whose end is read first: what is packed comes into memory whole."""


def read_chunks(path: Path, wanted: Wanted = None) -> Iterator[Chunk]:
    """Read a file by the kind of table that its name, or what is packed in it, has.

    Parameters
    ----------
    path
        A file of one of the ``table_suffixes()``, as it is or in gzip, zstd or zip.
    wanted
        Chooses the columns whose cells are needed, by names and types (None where a file has
        none); None means all.

    Yields
    ------
    Chunk
        At most ``CHUNK_ROWS`` rows. A CSV or Parquet file without rows yields one empty chunk.

    Raises
    ------
    DataError
        Unknown suffix, missing or unreadable file, text that is not UTF-8, no header.
    """
    check_file_kind(path, packed=True)
    with reading(path):
        if suffixes_of(path) is None:
            raise _unknown_kind(path, path.suffix)
        with opened(path) as (file, name):
            _refuse_tar(file, path)
            kind = suffixes_of(Path(name))
            if kind not in _READERS:
                raise _unknown_kind(path, Path(name).suffix)
            if kind in _WHOLE and is_packed(path):
                file = io.BytesIO(file.read())
            yield from _READERS[kind](file, path, wanted)


def read_all(paths: Iterable[Path], wanted: Wanted = None) -> Iterator[Chunk]:
    """Read several files one after the other; errors as ``read_chunks``."""
    return chain.from_iterable(read_chunks(path, wanted) for path in paths)


def counts_lines(path: Path) -> bool:
    """Say whether places in this file are lines; in other kinds of table they are row numbers."""
    return suffixes_of(path) in ("csv", "lines")


def _refuse_tar(file: BinaryIO, path: Path) -> None:
    """Refuse a tar archive under the name of a table."""
    begins = cast("io.BufferedReader", file).peek(_TAR_MARK_END)
    if begins[_TAR_MARK_END - len(_TAR_MARK) : _TAR_MARK_END] == _TAR_MARK:
        raise _tar_archive(path)


def _tar_archive(path: Path) -> DataError:
    return DataError(
        "the file is a tar archive",
        where=str(path),
        hint="unpack it (tar xf), and give the path of a table in it",
    )


def _unknown_kind(path: Path, suffix: str) -> DataError:
    if _TAR_NAME.search(path.name):
        return _tar_archive(path)
    return DataError(
        f'files ending in "{suffix}" have no reader; there are: {", ".join(table_suffixes())}',
        where=str(path),
        hint="convert the file, or name a plugin that reads it with `loader =`",
    )


_READERS: dict[str | None, Callable[[BinaryIO, Path, Any], Iterator[Chunk]]] = {
    "csv": delimited_chunks,
    "parquet": parquet_chunks,
    "arrow": arrow_chunks,
    "lines": line_chunks,
    "json": json_chunks,
}
