"""Where a user's programs keep what they can make again."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(*parts: str) -> Path:
    """Name a place in the user's cache, outside of all runs: ``XDG_CACHE_HOME`` or ``~/.cache``.

    Parameters
    ----------
    parts
        Names below the toolkit's own directory.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache.joinpath("preference-ensemble", *parts)
