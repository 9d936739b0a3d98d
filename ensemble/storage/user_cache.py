"""Where a user's programs keep what they can make again."""

from __future__ import annotations

import os
from pathlib import Path

from ensemble.errors import EnsembleError


def user_cache(*parts: str) -> Path:
    """Name a place in the user's cache, outside of all runs: ``XDG_CACHE_HOME`` or ``~/.cache``.

    Parameters
    ----------
    parts
        Names below the toolkit's own directory.

    Raises
    ------
    EnsembleError
        The user has no home directory.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise EnsembleError(
            "this user has no home directory, and so no cache",
            hint="set HOME or XDG_CACHE_HOME to a directory of the user's own",
        ) from error
    return cache.joinpath("preference-ensemble", *parts)
