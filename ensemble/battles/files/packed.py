"""Compressed files and archives, read as what is inside of them."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from ensemble.battles.files.read_ahead import read_ahead
from ensemble.battles.files.suffixes import PACKED, suffixes_of
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

_GZIP, _ZSTD, _ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_SPREADSHEETS = (".xlsx", ".xlsm", ".ods", ".docx", ".npz", ".pt", ".pth")
_SHOWN = 5
_CHUNK = 1 << 20
_PIECE = 1 << 18


def is_packed(path: Path) -> bool:
    """Say whether a file is compressed or a zip archive, by its first bytes."""
    return _mark_of(path) is not None


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """Open a file, or what is packed in it.

    Parameters
    ----------
    path
        A file as it is, in gzip or zstd, or a zip archive with a single table in it.

    Yields
    ------
    tuple[BinaryIO, str]
        The content, and the name that it has without the suffix of what it was packed in.

    Raises
    ------
    DataError
        What is packed is damaged, encrypted, or an archive of several tables.
    """
    try:
        with ExitStack() as stack:
            file, name = _open(path, stack)
            if is_packed(path):
                file = stack.enter_context(read_ahead(file))
            yield file, name
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    except RuntimeError as error:  # what zipfile raises for a password
        if "password" not in str(error) and "encrypted" not in str(error):
            raise
        raise DataError("the archive is encrypted", where=str(path), hint="unpack it") from error
    except Exception as error:
        if type(error).__name__ != "ZstdError":  # its package may not be there
            raise
        raise _damaged(path, error) from error


def _open(path: Path, stack: ExitStack) -> tuple[BinaryIO, str]:
    mark = _mark_of(path)
    if mark == _ZIP:
        return _open_member(path, stack)
    file: BinaryIO = stack.enter_context(path.open("rb"))
    name = path.name
    if mark is None:
        return file, name
    end = next((end for end in PACKED if name.lower().endswith(end)), "")
    name = name[: len(name) - len(end)]
    if mark == _GZIP:
        return _reader(_gzip_frame, file), name
    return _reader(_zstd_frames(path), file), name


def _open_member(path: Path, stack: ExitStack) -> tuple[BinaryIO, str]:
    if path.suffix.lower() in _SPREADSHEETS:
        raise DataError(
            f'files ending in "{path.suffix}" have no reader',
            where=str(path),
            hint="export the table as CSV or Parquet",
        )
    archive = stack.enter_context(zipfile.ZipFile(path))
    members = [name for name in archive.namelist() if _is_table(name)]
    if len(members) != 1:
        shown = ", ".join(members[:_SHOWN]) or "none"
        raise DataError(
            f"the archive holds {len(members):,} tables, and should hold one: {shown}",
            where=str(path),
            hint="unpack it and give the path of a table",
        )
    if members[0].lower().endswith(PACKED):
        raise DataError(
            f"the archive holds {members[0]}, which is packed again",
            where=str(path),
            hint="unpack the archive",
        )
    return cast("BinaryIO", stack.enter_context(archive.open(members[0]))), members[0]


def _is_table(name: str) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
    return not hidden and not name.endswith("/") and suffixes_of(Path(name)) is not None


def _reader(frame: Callable[[], Any], file: BinaryIO) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(_Frames(frame, file), _CHUNK))


def _gzip_frame() -> Any:
    return zlib.decompressobj(wbits=31)


def _zstd_frames(path: Path) -> Callable[[], Any]:
    try:
        import zstandard
    except ImportError as error:
        raise DataError(
            "the file is compressed by zstd, and no package that reads it is installed",
            where=str(path),
            hint="pip install zstandard, or unpack it with unzstd",
        ) from error
    frames: Callable[[], Any] = zstandard.ZstdDecompressor().decompressobj
    return frames


class _Frames(io.RawIOBase):
    """The content of a packed file, frame after frame; one that ends too early is an error.

    Large pieces are unpacked at a time, since other threads run meanwhile: see ``read_ahead``.
    """

    def __init__(self, new_frame: Callable[[], Any], file: BinaryIO) -> None:
        self._new_frame, self._file = new_frame, file
        self._frame: Any = None
        self._packed = b""
        self._content = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._content:
            packed = self._packed or self._file.read(_PIECE)
            self._packed = b""
            if not packed:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("it ends in the middle of a frame")
                return 0
            self._content = memoryview(self._unpacked(packed))
        size = min(len(buffer), len(self._content))
        buffer[:size] = self._content[:size]
        self._content = self._content[size:]
        return size

    def _unpacked(self, packed: bytes) -> bytes:
        """Unpack a piece, and keep what follows the frame that ends in it."""
        if self._frame is None or self._frame.eof:
            packed = packed.lstrip(b"\0") if self._frame is not None else packed  # padding
            if not packed:
                return b""
            self._frame = self._new_frame()
        content: bytes = self._frame.decompress(packed)
        self._packed = self._frame.unused_data if self._frame.eof else b""
        return content


def _mark_of(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            begins = file.read(4)
    except OSError:
        return None  # whoever reads it says why it cannot be read
    return next((mark for mark in (_GZIP, _ZSTD, _ZIP) if begins.startswith(mark)), None)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"the file is damaged, or was not copied whole: {error}",
        where=str(path),
        hint="fetch it again",
    )
