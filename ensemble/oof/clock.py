"""The clock that fits and limits are timed by: nobody sets it; tests put another in its place."""

from __future__ import annotations

import time


def seconds() -> float:
    """Seconds since some moment; they never go back."""
    return time.monotonic()
