"""Whole or not there: what is written is made beside its place and renamed into it when complete.

The place is empty for a moment only where a directory replaces another, since no file system
exchanges two directories in one step; ``sweep_temporary`` completes what a process leaves that dies
just then.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING
from uuid import uuid4

from ensemble.errors import EnsembleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY = ".tmp-"
"""Prefix of what is being written; a process that dies leaves it, the next writer sweeps it."""

_FLUSHES: ContextVar[bool] = ContextVar("_FLUSHES", default=True)
_OURS = re.compile(re.escape(TEMPORARY) + "[0-9a-f]{32}-(?P<former>old-)?(?P<name>.+)", re.DOTALL)
_AGAIN = "then run the same command again; nothing was lost"
_FREE = f"free space or fix permissions, {_AGAIN}"
_MENDED_BY = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM), _FREE),
    errno.EFBIG: f"raise the limit of a file's size, or take another disk, {_AGAIN}",
    errno.EIO: f"the disk, or the way to it, is failing: see to it, {_AGAIN}",
}
"""Errors that say that the disk takes nothing, whoever writes to it, and what helps."""
_NOT_ASKED = (errno.EINVAL, errno.EBADF, errno.ENOTSUP)
"""How a file system, such as that of a network share, says that it flushes no directories."""
_NUMBER = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")
"""How libraries in Rust, and functions that copy several files, name the system's error."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a path to write to; on leaving without error it takes the target's place.

    Raises
    ------
    EnsembleError
        The disk is full or cannot be written; the former content of the target is kept. Other
        errors of the body pass as they are.
    """
    with temp_path(target) as temporary:
        with wrap_disk_errors(target):
            yield temporary
        with wrap_os_errors(target):
            flush(temporary)
            temporary.replace(target)
            flush(target.parent)


@contextmanager
def temp_path(target: Path) -> Iterator[Path]:
    """Give a free path in the target's directory, which is made; nothing is left there at the end.

    Raises
    ------
    EnsembleError
        The directory cannot be made.
    """
    with wrap_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target)
    try:
        yield temporary
    finally:
        remove(temporary)


def make_directory(path: Path) -> None:
    """Make a directory, and those that it lies in, where it is not there yet.

    Raises
    ------
    EnsembleError
        It cannot be made.
    """
    with wrap_os_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file, where there is one, that must not be found there again.

    Raises
    ------
    EnsembleError
        It cannot be removed.
    """
    with wrap_os_errors(path):
        path.unlink(missing_ok=True)


def place_of(path: Path) -> Path | None:
    """Say which place a leftover was meant for, or was moved out of; None where it is not ours."""
    match = _OURS.fullmatch(path.name)
    return path.with_name(match["name"]) if match else None


def is_former(path: Path) -> bool:
    """Say whether a leftover was moved out of its place, for another that was about to take it."""
    match = _OURS.fullmatch(path.name)
    return match is not None and match["former"] is not None


def replace_directory(source: Path, target: Path) -> None:
    """Rename a directory into place; one that is there steps aside, and back on any error."""
    aside = temporary_name(target, "old-")
    try:
        if os.path.lexists(target):
            if not target.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            target.rename(aside)
        source.rename(target)
    except BaseException:
        if not os.path.lexists(target) and os.path.lexists(aside):
            aside.rename(target)
        raise
    flush(target.parent)
    remove(aside)


def remove(path: Path) -> None:
    """Remove a file or a directory as far as it can be done; of a link, only the link."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def without_flushing() -> Iterator[None]:
    """Write what need not outlive a power cut: what is soon sent elsewhere and removed."""
    token = _FLUSHES.set(False)
    try:
        yield
    finally:
        _FLUSHES.reset(token)


def flush(path: Path) -> None:
    """Ask the operating system to put a file or directory on the disk.

    Of directories not every file system can be asked.
    """
    if not _FLUSHES.get():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_ASKED or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


@contextmanager
def wrap_os_errors(target: Path) -> Iterator[None]:
    """Turn every error of the file system into one of ours: the toolkit's own steps of writing."""
    try:
        yield
    except OSError as error:
        raise _cannot_write(target, error) from error


@contextmanager
def wrap_disk_errors(target: Path) -> Iterator[None]:
    """Turn a disk that takes nothing into an error of ours; a writer's own faults pass as they are.

    The body is a caller's code, down to plugins: that it misses a file is a fault of its own, for
    which nobody has to free space.
    """
    try:
        yield
    except EnsembleError:
        raise
    except Exception as error:
        if is_disk_error(error):
            raise _cannot_write(target, error) from error
        raise


def is_disk_error(error: BaseException) -> bool:
    """Say whether the disk takes nothing: it is full, closed to us, or broken."""
    return _error_number(error) in _MENDED_BY


def how_to_mend(error: BaseException) -> str | None:
    """Say what helps where the disk takes nothing; None for any other error."""
    return _MENDED_BY.get(_error_number(error) or 0)


def temporary_name(target: Path, mark: str = "") -> Path:
    """Give a free path beside the target for what is not whole yet; the next writer sweeps it."""
    return target.with_name(f"{TEMPORARY}{uuid4().hex}-{mark}{target.name}")


def _error_number(error: BaseException) -> int | None:
    """Read the operating system's error number; some have it in the message alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = None
    with suppress(Exception):  # an error of anyone's class may have no text
        found = _NUMBER.search(str(error))
    return int(found[1] or found[2]) if found else None


def _cannot_write(target: Path, error: Exception) -> EnsembleError:
    number = _error_number(error)
    return EnsembleError(
        f"cannot write: {error if number is None else os.strerror(number)}",
        where=_shown(target),
        hint=how_to_mend(error) or f"see what is in the way, {_AGAIN}",
    )


def _shown(target: Path) -> str:
    """Name the place that something is for, and not the one where it is being written."""
    parts = (_OURS.fullmatch(part) for part in target.parts)
    names = (own["name"] if own else part for own, part in zip(parts, target.parts, strict=True))
    return str(target.__class__(*names))
