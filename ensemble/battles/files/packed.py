"""Compressed files and archives, read as what is inside of them."""

from __future__ import annotations

import io
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from ensemble.battles.files.read_ahead import UnpackError, read_ahead
from ensemble.battles.files.sizes import check_unpacked
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
_LARGEST = 1 << 23
"""Bytes that are unpacked at a time."""
_ZSTD_PIECE = 1 << 12
"""Packed bytes at a time: each may become 32 KiB, and no call says how many it takes at most."""


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
    with ExitStack() as stack:
        try:
            file, name = _open(path, stack)
        except (DataError, OSError):
            raise
        except Exception as error:  # zipfile has many for archives that are damaged
            raise _damaged(path, error) from error
        if is_packed(path):
            file = stack.enter_context(read_ahead(file))
        try:
            yield file, name
        except UnpackError as error:
            raise _damaged(path, error.cause) from error.cause


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
        return _reader(_Frames(_gzip_frame, file, path, _PIECE)), name
    return _reader(_Frames(_zstd_frames(path), file, path, _ZSTD_PIECE)), name


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
    info = archive.getinfo(members[0])
    # No more is read of a member than it says to hold.
    check_unpacked(path, info.file_size, min(info.compress_size, path.stat().st_size))
    return cast("BinaryIO", stack.enter_context(archive.open(info))), members[0]


def _is_table(name: str) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
    return not hidden and not name.endswith("/") and suffixes_of(Path(name)) is not None


def _reader(frames: _Frames) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(frames, _CHUNK))


class _GzipFrame:
    """One member of a gzip file, a bounded part of which is unpacked at a time."""

    def __init__(self) -> None:
        self._frame = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data if self.eof else self._frame.unconsumed_tail

    def decompress(self, packed: bytes) -> bytes:
        return self._frame.decompress(packed, _LARGEST)


def _gzip_frame() -> Any:
    return _GzipFrame()


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

    Parameters
    ----------
    new_frame
        Makes what unpacks one frame.
    file
        What is packed.
    path
        Names it in errors.
    piece
        Packed bytes that are read at a time.
    """

    def __init__(
        self, new_frame: Callable[[], Any], file: BinaryIO, path: Path, piece: int
    ) -> None:
        self._new_frame, self._file = new_frame, file
        self._path, self._piece = path, piece
        self._read, self._unpacked_bytes = 0, 0
        self._frame: Any = None
        self._packed = b""
        self._content = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._content:
            packed = self._packed or self._next_piece()
            self._packed = b""
            if not packed and (self._frame is None or self._frame.eof):
                return 0
            # What is left in a frame comes out where nothing more goes in.
            self._content = memoryview(self._unpacked(packed))
            if not packed and not self._content and not self._frame.eof:
                raise EOFError("it ends in the middle of a frame")
        size = min(len(buffer), len(self._content))
        buffer[:size] = self._content[:size]
        self._content = self._content[size:]
        return size

    def _next_piece(self) -> bytes:
        packed = self._file.read(self._piece)
        self._read += len(packed)
        return packed

    def _unpacked(self, packed: bytes) -> bytes:
        """Unpack a piece, and keep what follows the frame that ends in it."""
        if self._frame is None or self._frame.eof:
            packed = packed.lstrip(b"\0") if self._frame is not None else packed  # padding
            if not packed:
                return b""
            self._frame = self._new_frame()
        content: bytes = self._frame.decompress(packed)
        self._packed = self._frame.unused_data
        self._unpacked_bytes += len(content)
        check_unpacked(self._path, self._unpacked_bytes, self._read)
        return content


def _mark_of(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            begins = file.read(4)
    except OSError:
        return None  # whoever reads it says why it cannot be read
    return next((mark for mark in (_GZIP, _ZSTD, _ZIP) if begins.startswith(mark)), None)


def _damaged(path: Path, error: BaseException) -> DataError:
    told = str(error).lower()
    if isinstance(error, RuntimeError) and ("password" in told or "encrypted" in told):
        return DataError("the archive is encrypted", where=str(path), hint="unpack it")
    if isinstance(error, NotImplementedError):
        return DataError(
            f"the archive is packed in a way that nothing here unpacks: {error}",
            where=str(path),
            hint="unpack it and give the path of a table",
        )
    return DataError(
        f"the file is damaged, or was not copied whole: {error}",
        where=str(path),
        hint="fetch it again",
    )
