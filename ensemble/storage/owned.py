"""Directories that go with their owner, even with one that is killed: the next removes them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWNER = "owner.lock"
_MADE = 60.0
"""Seconds that a directory gets to be taken by whoever has made it."""
_NO_LOCK = (OSError, NotImplementedError)
"""The file system has no locks: nobody then says whose a directory is, and it is left alone."""


class OwnedPlace:
    """A new directory with a lock that ends with this process, however it ends.

    Those that killed processes have left are removed first. As a context it gives its path, and is
    removed at the end.

    Parameters
    ----------
    prefix
        How its name begins: that of others of its kind.
    base
        The directory is made in it, with a short name; None takes that of temporary files.
    """

    def __init__(self, prefix: str, base: Path | None = None) -> None:
        base = base or Path(tempfile.gettempdir())
        remove_ownerless(base, prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        self._lock = _lock_of(self.path)
        with suppress(*_NO_LOCK):
            self._lock.acquire()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove it, as far as it can be done."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


def remove_ownerless(base: Path, prefix: str) -> None:
    """Remove the directories of processes that were killed.

    Parameters
    ----------
    base, prefix
        As ``OwnedPlace`` has them; what has no lock file of ours is left alone.
    """
    for path in _old_enough(base, prefix):
        with suppress(Timeout, *_NO_LOCK), _lock_of(path):
            shutil.rmtree(path, ignore_errors=True)


def _lock_of(place: Path) -> FileLock:
    """Give its lock, which any thread may release: nobody knows which one a finalizer runs in."""
    return FileLock(place / _OWNER, timeout=0, thread_local=False)


def _old_enough(base: Path, prefix: str) -> Iterator[Path]:
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    for path in base.glob(f"{prefix}*"):
        with suppress(OSError):
            status = path.lstat()  # what is another user's may hold links to anywhere
            is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == user
            if is_ours and (path / _OWNER).is_file() and time.time() - status.st_mtime > _MADE:
                yield path
