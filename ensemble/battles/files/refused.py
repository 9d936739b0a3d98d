"""What a file is, whatever the ending of its name says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive (or a spreadsheet, which is one)", "unpack it"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it with gunzip"),
    (b"BZh91AY&SY", "compressed by bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ\x00", "compressed by xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it with unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"PAR1\x15", "Parquet", "let its name end in .parquet"),
    (b"ARROW1\x00\x00", "an Arrow file", "convert it to Parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table"),
    (b"%PDF-", "a PDF", "give the table that it shows"),
    (b"\x80\x02", "a pickle", "write it as Parquet: pickles run code and are not read"),
    (b"\x80\x03", "a pickle", "write it as Parquet: pickles run code and are not read"),
    (b"\x80\x04", "a pickle", "write it as Parquet: pickles run code and are not read"),
    (b"\x80\x05", "a pickle", "write it as Parquet: pickles run code and are not read"),
    (b"\x93NUMPY", "a NumPy array", "write it as Parquet or CSV"),
    (b"\x89HDF", "an HDF5 file", "write it as Parquet or CSV"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    (b"/annex/objects/", "a pointer of git-annex", "fetch the file itself: git annex get"),
    (b"<!DOCTYPE html", "a web page", "download the file itself"),
    (b"<!doctype html", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
)
"""What no header of a table begins with; short marks are long enough here to be no word."""
_LONGEST = max(len(beginning) for beginning, _, _ in _BEGINNINGS)
_READ = (b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"ARROW1\x00\x00")
_OF_ENDING = {".parquet": b"PAR1\x15"}


def check_file_kind(path: Path, *, packed: bool = False) -> None:
    """Refuse what is no file, or another kind of file than its name says.

    Parameters
    ----------
    path
        The file.
    packed
        Allow gzip, zstd, zip and Arrow, whose content can be read.

    Raises
    ------
    DataError
        It is a web address, a directory, a device, a pattern, an archive, compressed, a pickle, a
        pointer to a file that was not fetched, or a table in another format.
    """
    text = str(path)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise DataError("the path is not UTF-8", where=text, hint="rename the file or directory")
    if "://" in text or text.startswith(("http:/", "https:/", "s3:/", "hf:/", "gs:/")):
        raise DataError(
            "this is a web address", where=text, hint="download the file and give its path"
        )
    if not os.path.lexists(path):
        if any(mark in path.name for mark in "*?["):
            raise DataError(
                "there is no such file, and names are no patterns here",
                where=text,
                hint="give one file",
            )
        return
    if path.is_dir():
        raise DataError(
            "the file cannot be read: Is a directory",
            where=text,
            hint="give the path of a file in it",
        )
    if not path.is_file():
        if not path.exists():
            return  # a link that leads nowhere: opening says so
        raise DataError("this is a device or a pipe, and no file", where=text)
    _check_beginning(path, _READ if packed else ())


def _check_beginning(path: Path, allowed: Collection[bytes]) -> None:
    try:
        with path.open("rb") as file:
            begins = file.read(_LONGEST)
    except OSError:
        return  # whoever reads it says why it cannot be read
    own = _OF_ENDING.get(path.suffix.lower())
    for beginning, what, hint in _BEGINNINGS:
        if begins.startswith(beginning) and beginning != own and beginning not in allowed:
            raise DataError(f"the file is {what}", where=str(path), hint=hint)
