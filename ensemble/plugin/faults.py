"""What a plugin's code may raise, wherever it is called."""

from __future__ import annotations

import sys
from traceback import walk_tb
from typing import Any

_NO_PLUGINS = {__name__.partition(".")[0], *sys.stdlib_module_names}


def plugin_errors() -> tuple[type[BaseException], ...]:
    """List what to catch around a plugin's code: ``except plugin_errors() as error``.

    Beside every ``Exception``, these are ``SystemExit`` (a library that gives up must not end a
    run without a word) and the panics of Polars, which are no ``Exception``. Polars is not
    imported for it: where it is not loaded, it cannot panic.
    """
    polars = sys.modules.get("polars.exceptions")
    return (Exception, SystemExit, *([polars.PanicException] if polars else []))


def own_line(error: BaseException) -> str | None:
    """Say where a plugin's own code last was when an error was raised: ``"file.py:12"``.

    Returns
    -------
    str or None
        None where the error passed no code but the toolkit's core and the standard library.
    """
    frames = [
        (_package(frame.f_globals), frame, line) for frame, line in walk_tb(error.__traceback__)
    ]
    outside = [package for package, _, _ in frames if package not in _NO_PLUGINS]
    own = [(frame, line) for package, frame, line in frames if package in outside[:1]]
    return f"{own[-1][0].f_code.co_filename}:{own[-1][1]}" if own else None


def _package(names: dict[str, Any]) -> str:
    return str(names.get("__name__", "")).partition(".")[0]
