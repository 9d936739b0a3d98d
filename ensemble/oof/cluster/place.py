"""Where a cluster of this machine keeps its files: gone with its owner, even one that is killed."""

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

_PREFIX = "ray-"
_OWNER = "owner.lock"
_MADE = 60.0
"""Seconds that a directory gets to be taken by whoever has made it."""


class OwnedPlace:
    """A new directory with a lock that ends with this process, however it ends.

    Parameters
    ----------
    base
        The directory is made in it, with a short name.
    """

    def __init__(self, base: Path) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        self._lock = FileLock(self.path / _OWNER)
        self._lock.acquire()

    def remove(self) -> None:
        """Remove it, as far as it can be done."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


def remove_ownerless(base: Path) -> None:
    """Remove the directories of processes that were killed.

    Parameters
    ----------
    base
        As ``OwnedPlace`` has it; what has no lock file of ours is left alone.
    """
    for path in _old_enough(base):
        lock = FileLock(path / _OWNER, timeout=0)
        with suppress(OSError, Timeout), lock:
            shutil.rmtree(path, ignore_errors=True)


def _old_enough(base: Path) -> Iterator[Path]:
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    for path in base.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = path.lstat()  # what is another user's may hold links to anywhere
            is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == user
            if is_ours and (path / _OWNER).is_file() and time.time() - status.st_mtime > _MADE:
                yield path
