"""What a plugin's code may raise, wherever it is called."""

from __future__ import annotations

import sys


def plugin_errors() -> tuple[type[BaseException], ...]:
    """List what to catch around a plugin's code: ``except plugin_errors() as error``.

    Beside every ``Exception``, these are ``SystemExit`` (a library that gives up must not end a
    run without a word) and the panics of Polars, which are no ``Exception``. Polars is not
    imported for it: where it is not loaded, it cannot panic.
    """
    polars = sys.modules.get("polars.exceptions")
    return (Exception, SystemExit, *([polars.PanicException] if polars else []))
