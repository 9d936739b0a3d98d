"""Calls into a plugin's code, whatever it is: what it raises gets a name, a place and a line.

Everything that is not the toolkit's own is called through ``call_plugin``: learners, meta-learners,
loaders, what they say of themselves. So no plugin ends a run with a raw traceback, or without a
word.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from threading import get_ident
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, NoReturn

from ensemble.errors import EnsembleError, LearnerError, PluginError
from ensemble.failure import Failure
from ensemble.storage.atomic import is_disk_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NO_PLUGINS = {__name__.partition(".")[0], "pluggy", "polars", *sys.stdlib_module_names}
"""What stands between the toolkit and a plugin, which is called by hooks and from expressions."""
_OWN_LINE = re.compile(r"(?:^|, )([^,]+:\d+)$")
"""What ``call_plugin`` puts at the end of an error's place."""
_NO_MEMORY = (
    "it ran out of memory: give it smaller batches or fewer rows, or take a machine with more"
)


def plugin_errors() -> tuple[type[BaseException], ...]:
    """List what to catch around a plugin's code: ``except plugin_errors() as error``.

    Beside every ``Exception``, these are ``SystemExit`` (a library that gives up must not end a
    run without a word) and the panics of Polars, which are no ``Exception``. Polars is not
    imported for it: where it is not loaded, it cannot panic.
    """
    polars = sys.modules.get("polars.exceptions")
    return (Exception, SystemExit, *([polars.PanicException] if polars else []))


def call_plugin(
    verb: str,
    where: str,
    action: Callable[[], Any],
    *,
    kind: type[PluginError] = LearnerError,
    writes: bool = True,
) -> Any:
    """Run a plugin's own code.

    Parameters
    ----------
    verb
        What is called; the error says that it raised.
    where
        Names the plugin, and whatever else tells where it is called.
    action
        Calls it.
    kind
        Of the error.
    writes
        Whether it may write: a disk that takes nothing is then not its fault, and passes as it is.

    Raises
    ------
    PluginError
        The code raised, whatever it was: also ``SystemExit``, the panics of Polars, which are no
        ``Exception``, and a call of ``os._exit``. It names the last line of the plugin's own code.
    """
    try:
        with staying():
            return action()
    except EnsembleError as error:
        error.where = error.where or where
        raise
    except plugin_errors() as error:
        if writes and is_disk_error(error):
            raise
        line = own_line(error)
        raise kind(
            f"{verb} raised {type(error).__name__}: {_words(error)}",
            where=f"{where}, {line}" if line else where,
        ) from error


@contextmanager
def staying() -> Iterator[None]:
    """Keep a plugin from ending this process by ``os._exit``, which no ``except`` would see.

    Processes that it forks end as they like. From a thread of its own the process can only be
    ended; not without a word, and not as if all were well.
    """
    leave, process, thread = os._exit, os.getpid(), get_ident()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:
            leave(status)
        if get_ident() != thread:
            os.write(2, f"error: a thread of a plugin called os._exit({status})\n".encode())
            leave(status or 1)
        raise SystemExit(f"it called os._exit({status})")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave


def own_line(error: BaseException) -> str | None:
    """Say where a plugin's own code last was when an error was raised: ``"file.py:12"``.

    Returns
    -------
    str or None
        None where the error passed no code but the toolkit's core, the standard library, and what
        calls plugins.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        (_package(frame.f_globals), frame, line) for frame, line in walk_tb(error.__traceback__)
    ]
    outside = [package for package, _, _ in frames if package not in _NO_PLUGINS]
    own = [(frame, line) for package, frame, line in frames if package in outside[:1]]
    return f"{own[-1][0].f_code.co_filename}:{own[-1][1]}" if own else None


def failure_of(
    name: str, at: str, error: BaseException, *, is_meta_learner: bool = False
) -> Failure:
    """Say of an error what failed, why, where, and what can be done.

    Parameters
    ----------
    name, at
        Of the learner, and what failed of it.
    error
        What it raised; anything that is not the toolkit's own error is named by its class.
    is_meta_learner
        Whether it is the meta-learner.
    """
    own = error if isinstance(error, EnsembleError) else None
    told = own.message if own else f"{type(error).__name__}: {error}"
    if own and own.where and not isinstance(own, PluginError):  # no fault of its code: of a file
        told = f"{told} ({own.where})"
    found = _OWN_LINE.search((own.where or "").splitlines()[-1] if own and own.where else "")
    hint = own.hint if own else None
    if "MemoryError" in told or "OutOfMemoryError" in told:
        hint = hint or _NO_MEMORY
    return Failure(
        name,
        at,
        told.splitlines()[0] if told else "it failed without a word",
        line=found[1] if found else None,
        hint=hint,
        is_meta_learner=is_meta_learner,
    )


def _package(names: dict[str, Any]) -> str:
    return str(names.get("__name__", "")).partition(".")[0]


def _words(error: BaseException) -> str:
    """Give an error's text, also of one whose text cannot be had, or is empty."""
    try:
        return str(error) or "(no message)"
    except Exception:
        return "(its message cannot be read)"
