"""The property: a valid result, or an error of ours that says where and how to mend it."""

from __future__ import annotations

import resource
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.errors import EnsembleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = 10
"""CPU seconds after which one small input hangs."""
_MEGABYTES = 1_500
"""By how much the memory of the process may grow over all mutants of a test."""


class Hang(BaseException):
    """An input took too long; no ``except Exception`` takes it for a fault of its own."""


@contextmanager
def no_hang(seconds: float = SECONDS) -> Iterator[None]:
    """Raise ``Hang`` where a body takes more CPU time than it may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Hang(f"more than {seconds} CPU seconds")

    former = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)


def harmless(name: str, action: Callable[[], Any]) -> EnsembleError | None:
    """Do something with hostile input; gives the error of ours that came of it, if one did."""
    try:
        with no_hang():
            action()
    except EnsembleError as error:
        lacking = [part for part in ("message", "where", "hint") if not getattr(error, part)]
        if lacking:
            pytest.fail(f"{name}: the error has no {' and no '.join(lacking)}: {error}")
        if any(ord(letter) < 32 and letter not in "\n\t" for letter in str(error)):
            pytest.fail(f"{name}: the error moves the cursor: {str(error)!r}")
        return error
    except (KeyboardInterrupt, SystemExit, pytest.fail.Exception):
        raise
    except BaseException as error:
        error.add_note(f"while reading {name}")
        raise
    return None


@contextmanager
def nothing_else_written(root: Path, *allowed: Path) -> Iterator[None]:
    """See that no file below a directory changes but those in the places that are allowed."""
    before = _listing(root, allowed)
    yield
    after = _listing(root, allowed)
    changed = sorted(str(path) for path, _ in before.items() ^ after.items())
    assert not changed, f"written outside: {changed}"


def _listing(root: Path, allowed: tuple[Path, ...]) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in root.rglob("*")
        if not any(path.is_relative_to(place) for place in allowed) and not path.is_dir()
    }


@contextmanager
def bounded_memory(megabytes: int = _MEGABYTES) -> Iterator[None]:
    """See that the process has not grown beyond what its input can explain."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < megabytes, f"memory grew by {grown:,.0f} MB"
