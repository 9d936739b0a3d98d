"""What a plugin does to the process beside its work: files, connections, global state."""

from __future__ import annotations

import os
import random
import sys
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CONNECTIONS = {"socket.connect", "socket.getaddrinfo", "urllib.Request"}
_IGNORED = ("/dev/", "/proc/", "/sys/")
DIRECTORY, RANDOM = "the working directory", "the global state of "


@dataclass
class Watch:
    """What was seen while it was active."""

    written: list[Path] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)
    unpickled: list[str] = field(default_factory=list)

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take in one of Python's audit events."""
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and isinstance(flags, int) and flags & _WRITES:
                self.written.append(Path(os.fsdecode(path)).absolute())
        elif event in _CONNECTIONS:
            self.connected.append(f"{arguments[-1] if event.endswith('connect') else arguments[0]}")
        elif event == "pickle.find_class":
            self.unpickled.append(".".join(map(str, arguments[:2])))

    def outside(self, *roots: Path) -> list[Path]:
        """List files that were written elsewhere than below these directories, and are there."""
        allowed = [root.resolve() for root in roots]
        found = dict.fromkeys(path.resolve() for path in self.written if not _is_ignored(path))
        return [
            path
            for path in found
            if path.is_file() and not any(path.is_relative_to(root) for root in allowed)
        ]


def _is_ignored(path: Path) -> bool:
    return "__pycache__" in path.parts or str(path).startswith(_IGNORED)


_ACTIVE: list[Watch] = []
_INSTALLED: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for watch in _ACTIVE:
        with suppress(Exception):  # what is raised here would be raised in the plugin
            watch.note(event, arguments)


@contextmanager
def watching(watch: Watch | None = None) -> Iterator[Watch]:
    """Note which files are opened for writing, and what is connected to, in this process."""
    if not _INSTALLED:
        sys.addaudithook(_hook)  # there is no way to take it out again; it does nothing when idle
        _INSTALLED.append(True)
    watch = watch or Watch()
    _ACTIVE.append(watch)
    try:
        yield watch
    finally:
        _ACTIVE.remove(watch)


def _torch() -> Any:
    """Give torch where a plugin has imported it: the core never does."""
    return sys.modules.get("torch")


def global_state() -> dict[str, Any]:
    """Read what all code of a process shares."""
    state: dict[str, Any] = {
        DIRECTORY: os.getcwd(),  # noqa: PTH109 - a string to compare
        "os.environ": dict(os.environ),
        "warnings.filters": list(warnings.filters),
        "numpy.seterr": np.geterr(),
        "sys.path": list(sys.path),
        RANDOM + "random": random.getstate(),
        RANDOM + "numpy.random": _plain(np.random.get_state()),  # noqa: NPY002 - it is asked for
    }
    if _torch() is not None and hasattr(_torch(), "get_rng_state"):
        state[RANDOM + "torch"] = _torch().get_rng_state().tolist()
    return state


def _plain(state: Any) -> Any:
    return [part.tolist() if isinstance(part, np.ndarray) else part for part in state]


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Name what differs between two states."""
    return [name for name in before if name in after and before[name] != after[name]]


@contextmanager
def restoring() -> Iterator[None]:
    """Put the global state back, whatever a plugin does to it."""
    directory, environment, path = os.getcwd(), dict(os.environ), list(sys.path)  # noqa: PTH109
    drawn, numpy_drawn, floats = random.getstate(), np.random.get_state(), np.geterr()  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.chdir(directory)
        if environment != os.environ:
            os.environ.clear()
            os.environ.update(environment)
        sys.path[:] = path
        random.setstate(drawn)
        np.random.set_state(numpy_drawn)  # noqa: NPY002
        np.seterr(**floats)


def stir_random_state(seed: int) -> None:
    """Put the global random generators elsewhere: who draws from them gives something else."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if _torch() is not None and hasattr(_torch(), "manual_seed"):
        _torch().manual_seed(seed)
