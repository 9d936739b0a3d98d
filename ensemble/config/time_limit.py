"""How long a command may take, as a person writes it: ``90m``, ``1.5h``, ``5400``."""

from __future__ import annotations

import re

from ensemble.errors import ConfigError

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(s|min|m|h|d)", re.IGNORECASE)
_LONGEST = 1e9


def parse_time_limit(value: str | float) -> float:
    """Give a time limit in seconds.

    Parameters
    ----------
    value
        A number of seconds, or numbers with units: ``s``, ``m`` or ``min``, ``h``, ``d``.

    Raises
    ------
    ConfigError
        It is neither, or not above 0.

    Examples
    --------
    >>> [parse_time_limit(one) for one in ("90m", "1.5h", "1h30m", "45s", "60", 2.5)]
    [5400.0, 5400.0, 5400.0, 45.0, 60.0, 2.5]
    """
    seconds = _seconds(value)
    if seconds is None or not 0 < seconds <= _LONGEST:
        raise ConfigError(
            f"{value!r} is no time limit",
            where="time_limit",
            hint="give a number above 0 with a unit: 90m, 1.5h, 45s; without one it is seconds",
        )
    return seconds


def told_time_limit(seconds: float) -> str:
    """Write a time limit as it is read.

    Examples
    --------
    >>> [told_time_limit(s) for s in (45, 5400, 7200)]
    ['45s', '90m', '2h']
    """
    if seconds >= 3600 and seconds % 3600 == 0:
        return f"{seconds / 3600:g}h"
    return f"{seconds / 60:g}m" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g}s"


def _seconds(value: str | float) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) <= _LONGEST else None  # of NaN no comparison holds
    if not isinstance(value, str):
        return None
    text, total, at = value.strip(), 0.0, 0
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", text, re.ASCII):
        return float(text)
    while (found := _PART.match(text, at)) is not None:
        total += float(found[1]) * _UNITS[found[2].lower()]
        at = found.end()
    return total if text and at == len(text) else None
