"""What is packed is unpacked in a thread of its own, while what came out of it before is parsed."""

from __future__ import annotations

import io
from contextlib import contextmanager
from queue import Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ensemble.errors import EnsembleError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 20
_AHEAD = 8
"""Blocks that may wait to be read."""


class UnpackError(Exception):
    """What is packed cannot be unpacked.

    Parameters
    ----------
    cause
        What the library says that unpacks it.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextmanager
def read_ahead(file: BinaryIO) -> Iterator[BinaryIO]:
    """Read a file in a thread, some blocks ahead of whoever reads it here.

    Parameters
    ----------
    file
        Anything with ``read``, which lets other threads run while it unpacks.

    Yields
    ------
    BinaryIO
        The same bytes. What ``file.read`` raises is raised where they are read, in an
        ``UnpackError`` if it is neither ours nor the operating system's.
    """
    blocks: Queue[bytes | BaseException] = Queue(_AHEAD)
    stopped = Event()
    thread = Thread(target=_fill, args=(file, blocks, stopped), daemon=True)
    thread.start()
    try:
        yield cast("BinaryIO", io.BufferedReader(_Blocks(blocks), _BLOCK))
    finally:
        stopped.set()
        while thread.is_alive():
            while not blocks.empty():
                blocks.get()
            thread.join(0.01)


def _fill(file: BinaryIO, blocks: Queue[bytes | BaseException], stopped: Event) -> None:
    """Put block after block, an empty one at the end; or what went wrong."""
    try:
        while not stopped.is_set():
            block = file.read(_BLOCK)
            blocks.put(block)
            if not block:
                return
    except (EnsembleError, OSError, MemoryError) as error:  # whoever reads raises it
        blocks.put(error)
    except Exception as error:
        blocks.put(UnpackError(error))
    except BaseException as error:
        blocks.put(error)


class _Blocks(io.RawIOBase):
    """The blocks of a queue as a file."""

    def __init__(self, blocks: Queue[bytes | BaseException]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest and not self._ended:
            block = self._blocks.get()
            if isinstance(block, BaseException):
                self._ended = True
                raise block
            self._rest, self._ended = memoryview(block), not block
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
