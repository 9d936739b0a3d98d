"""How measured numbers are written."""

from __future__ import annotations


def signed(value: float, digits: int = 4) -> str:
    """Write a number with its sign; what is rounded to 0 has none."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text[1:]
