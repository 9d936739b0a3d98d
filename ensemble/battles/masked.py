"""Texts some of which are changed: patterns that are slow to find are looked for in few of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable


def where(texts: pl.Series, rows: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Change the texts of a mask; null is none of them."""
    places = rows.fill_null(value=False).arg_true()
    if not len(places):
        return texts
    # ``scatter`` changes the series that it is called on.
    return texts.clone().scatter(places, change(texts.gather(places)))


def each(change: Callable[[str], str]) -> Callable[[pl.Series], pl.Series]:
    """Change text by text."""
    return lambda texts: pl.Series([change(text) for text in texts], dtype=pl.String)


def replaced(texts: pl.Series, pattern: str, by: str, *, only: str) -> pl.Series:
    """Replace a pattern in the texts that contain ``only``; parameters as ``contains``."""
    return where(texts, texts.str.contains(only), lambda t: t.str.replace_all(pattern, by))


def contains(texts: pl.Series, pattern: str, *, only: str) -> pl.Series:
    """Say which texts contain a pattern; null does not.

    Parameters
    ----------
    texts
        ``n`` texts.
    pattern
        What to look for, such as something at the beginning of a line: slow to find.
    only
        What every text that contains ``pattern`` contains, and can be found faster.
    """
    found = texts.str.contains(only).fill_null(value=False)
    return where(found, found, lambda _: texts.filter(found).str.contains(pattern))


def blanks_as_one(texts: pl.Series) -> pl.Series:
    """Write one space for every run of white space and control characters, none at the ends."""
    return texts.str.replace_all(_BLANKS, " ").str.strip_chars(" ")


# Runs of two and more, then single characters that are not yet a plain space: matching every lone
# space only to write it back would take several times as long.
_BLANKS = r"[\s\p{Cc}]{2,}|[^\S ]|\p{Cc}"
