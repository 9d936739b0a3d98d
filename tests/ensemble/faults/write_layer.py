"""A layer between the toolkit and the disk, in which any one call that writes can be made to fail.

It stands in for the functions of Python, and of Polars, that change a disk. Calls are counted in
the order in which they come, so that a run that does the same makes the same calls.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
import sys
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, Self
from unittest.mock import patch

import polars as pl

import ensemble

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["full", "stays full", "broken", "partial", "power cut", "unflushed"]
KINDS: tuple[Kind, ...] = ("full", "stays full", "broken", "partial", "power cut", "unflushed")
"""``full``, ``broken``: the call does nothing and says ENOSPC or EIO; ``stays full``: so do all
calls after it that take room; ``partial``: it does half of
it, then says ENOSPC; ``power cut``: it does nothing, and nothing is done after it; ``unflushed``:
what it renames has its new name and half of its bytes, and nothing is done after it."""

_CORE = Path(ensemble.__file__).parent
_PLAIN = ("storage", "run_dir/tables.py", "run_dir/record.py")
"""Code that writes for everybody: who asked it to is the site of a call."""
_PATHS = ("rename", "replace", "mkdir", "link", "symlink", "unlink", "remove", "rmdir", "utime")
_TAKE_ROOM = ("open", "write", "fsync", "mkdir", "link", "symlink")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class PowerCut(BaseException):
    """Nothing of the process goes on."""


class Call(NamedTuple):
    """A call that changes the disk.

    Parameters
    ----------
    operation
        ``open``, ``write``, ``fsync``, ``rename`` and the like.
    name
        Of the file, without what is random in it.
    site
        Which code asked for it.
    """

    operation: str
    name: str
    site: str

    def can_fail(self, kind: Kind) -> bool:
        """Say whether a kind of fault is one of this call."""
        if kind == "partial":
            return self.operation in ("open", "write")
        if kind == "stays full":
            return self.operation in _TAKE_ROOM
        return kind != "unflushed" or self.operation in ("rename", "replace")


@dataclass
class WriteLayer:
    """Counts calls below a directory, and has one of them fail.

    Parameters
    ----------
    root
        The directory.
    at, kind
        Which call fails, and how; None for none.
    """

    root: Path
    at: int | None = None
    kind: Kind = "full"
    calls: list[Call] = field(default_factory=list)
    flushed: list[str] = field(default_factory=list)
    is_off: bool = False
    _names: dict[int, str] = field(default_factory=dict)
    _patches: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        own: dict[str, Callable[..., Any]] = {name: self._path_call(name) for name in _PATHS}
        own |= {"open": self._os_open(), "fsync": self._fsync()}
        for name, function in own.items():
            self._patches.enter_context(patch.object(os, name, function))
        opened = self._open()
        for module in (io, builtins):
            self._patches.enter_context(patch.object(module, "open", opened))
        for name in ("write_parquet", "write_csv"):
            self._patches.enter_context(patch.object(pl.DataFrame, name, self._table_call(name)))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    @property
    def failed(self) -> Call | None:
        """The call that was made to fail."""
        return None if self.at is None or self.at >= len(self.calls) else self.calls[self.at]

    def note(self, operation: str, path: str) -> bool:
        """Count a call; says whether it is the one that fails, in another way than by an error."""
        if not self._counts(path):
            return False
        if self.is_off:
            raise PowerCut
        self.calls.append(Call(operation, _steady(path, self.root), _site()))
        if not self._fails(operation):
            return False
        if self.kind == "power cut":
            self.is_off = True
            raise PowerCut
        if self.kind in ("full", "stays full", "broken"):
            raise self.error(path)
        return True

    def _fails(self, operation: str) -> bool:
        number = len(self.calls) - 1
        is_later = self.at is not None and number > self.at and operation in _TAKE_ROOM
        return self.at == number or (self.kind == "stays full" and is_later)

    def error(self, path: str | None = None) -> OSError:
        """Give the error of a disk that is full, or broken."""
        number = errno.EIO if self.kind == "broken" else errno.ENOSPC
        return OSError(number, os.strerror(number), *([] if path is None else [path]))

    def cut(self) -> NoReturn:
        """End everything."""
        self.is_off = True
        raise PowerCut

    def _counts(self, path: str) -> bool:
        # Threads give signs of life when they like, and nothing is decided by these.
        is_main = threading.current_thread() is threading.main_thread()
        return is_main and path.startswith(f"{self.root}/")

    def _path_call(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(first: Any, *more: Any, **named: Any) -> Any:
            where = first if name != "symlink" else more[0]
            if isinstance(where, int) or named.get("dir_fd") is not None:
                return real(first, *more, **named)
            is_odd = self.note(name, _absolute(where))
            result = real(first, *more, **named)
            if is_odd:
                _halve(Path(os.fsdecode(more[0])))
                self.cut()
            return result

        return call

    def _os_open(self) -> Callable[..., int]:
        real = os.open

        def call(path: Any, flags: int, *more: Any, **named: Any) -> int:
            name = _absolute(path)
            is_odd = bool(flags & _WRITES) and self.note("open", name)
            descriptor = real(path, flags, *more, **named)
            if is_odd:
                os.close(descriptor)
                raise self.error(name)
            self._names[descriptor] = name
            return descriptor

        return call

    def _fsync(self) -> Callable[[int], None]:
        real = os.fsync

        def call(descriptor: int) -> None:
            name = self._names.get(descriptor, "")
            self.note("fsync", name)
            self.flushed.append(name)
            real(descriptor)

        return call

    def _open(self) -> Callable[..., Any]:
        real, layer = io.open, self

        class Raw(io.FileIO):
            """Bytes on their way to a disk."""

            def write(self, data: Any, /) -> int:
                if not layer.note("write", str(self.name)):
                    return super().write(data) or 0
                super().write(bytes(data)[: len(data) // 2])
                raise layer.error()

        def call(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: str | None = None,
            errors: str | None = None,
            newline: str | None = None,
            **named: Any,
        ) -> Any:
            if isinstance(file, int) or not set(mode) & set("wax+"):
                return real(file, mode, buffering, encoding, errors, newline, **named)
            path = _absolute(file)
            is_odd = self.note("open", path)
            raw = Raw(path, mode.replace("b", "").replace("t", ""))
            if is_odd:
                raw.close()
                raise self.error(path)
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return (
                buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)
            )

        return call

    def _table_call(self, name: str) -> Callable[..., Any]:
        real = getattr(pl.DataFrame, name)

        def call(table: pl.DataFrame, file: Any = None, **named: Any) -> Any:
            if not isinstance(file, str | Path):
                return real(table, file, **named)
            try:
                is_odd = self.note("write", str(file))
            except OSError as error:  # as Polars says it
                raise OSError(f"{error.strerror} (os error {error.errno})") from None
            real(table, file, **named)
            if is_odd:
                _halve(Path(file))
                raise OSError(f"{os.strerror(errno.ENOSPC)} (os error {errno.ENOSPC})")
            return None

        return call


def _absolute(path: Any) -> str:
    """Give a path from the root on; a link stays one."""
    return str(Path(os.fsdecode(path)).absolute())


def _halve(path: Path) -> None:
    """Cut a file, or every other file of a directory, to half of its bytes."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for each in files[::2]:
        with suppress(FileNotFoundError):
            os.truncate(each, each.stat().st_size // 2)


def _steady(path: str, root: Path) -> str:
    """Name a path without what is random in it."""
    return re.sub("[0-9a-f]{12,}", "*", os.path.relpath(path, root))


def _site() -> str:
    """Name the code of the toolkit that asked for a call: the innermost that is not storage's."""
    frame: Any = sys._getframe(2)
    inner = ""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_CORE):
            name = path.relative_to(_CORE).as_posix()
            told = f"{name}:{frame.f_code.co_name}"
            if not name.startswith(_PLAIN):
                return f"{told} {inner}".rstrip()
            inner = inner or told
        frame = frame.f_back
    return inner or "outside"
