"""Values written down as source: plain ones, and those of a few common types."""

from __future__ import annotations

import ast
import re
from pathlib import PurePath
from typing import Any

import numpy as np

_SMALL = 10_000
"""Numbers of an array that is written out."""


def is_written(value: Any) -> bool:
    """Say whether a value can be written down."""
    return is_plain(value) or spelled(value) is not None


def is_plain(value: Any) -> bool:
    """Say whether a value can be written down, and reads back as it is."""
    try:
        again = ast.literal_eval(repr(value))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    same: bool = again == value
    return same and isinstance(value, type(again))


def spelled(value: Any) -> tuple[str, str] | None:
    """Give the module and the expression that make a value of other types that are common."""
    if isinstance(value, re.Pattern):
        return "re", f"compile({value.pattern!r}, {value.flags})"
    if isinstance(value, PurePath):
        return "pathlib", repr(value)
    return ("numpy", text) if (text := _numbers(value)) else None


def _numbers(value: Any) -> str | None:
    """Write out finite numbers of NumPy; as Python's numbers they are the same to the last bit."""
    is_scalar = isinstance(value, np.generic)
    if not is_scalar and type(value) is not np.ndarray:
        return None
    is_plain = value.dtype.kind in "biuf" and value.dtype.itemsize <= 8
    if not is_plain or value.size > _SMALL or not np.isfinite(value).all():
        return None
    whole = "[()]" if is_scalar else f".reshape({value.shape})"
    return f"array({value.tolist()!r}, {value.dtype.str!r}){whole}"
