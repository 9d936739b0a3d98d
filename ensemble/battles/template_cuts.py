"""Texts without some runs of their letters."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.fingerprints import letters, places_of_letters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.battles.shingles import Integers

LEAST_LEFT = 12
"""Letters and digits that a text needs beside its template."""
_TEXTS_AT_A_TIME = 4_096


def cut(
    texts: pl.Series,
    offsets: Integers,
    first: Integers,
    stop: Integers,
    of_source: NDArray[np.bool_],
) -> pl.Series:
    """Take runs out of texts, with the punctuation inside them.

    A text that has too little beside them is empty where one is of its source's template, and else
    stays whole.

    Parameters
    ----------
    texts
        ``n`` texts.
    offsets
        ``(n + 1,)`` of their letters.
    first, stop
        ``(m,)`` limits of the runs among the letters of all texts, ascending.
    of_source
        ``(m,)`` whether a run is of a source's template.
    """
    owner = np.searchsorted(offsets, first, side="right") - 1
    places, at = np.unique(owner, return_index=True)
    edges = np.column_stack([first - offsets[owner], stop - 1 - offsets[owner]])
    sure = np.isin(places, owner[of_source])
    limits = np.append(at, len(owner))
    parts = []
    for start in range(0, len(places), _TEXTS_AT_A_TIME):
        some = slice(start, start + _TEXTS_AT_A_TIME)
        ends = limits[some.start : some.stop + 1]
        cuts = [edges[a:b].ravel().tolist() for a, b in pairwise(ends)]
        parts.append(_left(texts.gather(places[some]), cuts, sure[some]))
    kept = texts.clone()  # ``scatter`` changes the series that it is called on
    return kept.scatter(places, pl.concat(parts))


def _left(texts: pl.Series, cuts: list[list[int]], sure: NDArray[np.bool_]) -> pl.Series:
    """Give what is left of texts."""
    rest = [_without(text, edges) for text, edges in zip(texts, cuts, strict=True)]
    own = pl.Series(rest, dtype=pl.String)
    enough = pl.Series(np.diff(letters(own).offsets) >= LEAST_LEFT)
    little = pl.when(pl.Series(sure)).then(pl.lit("")).otherwise(texts)
    return pl.select(pl.when(enough).then(own).otherwise(little)).to_series()


def _without(text: str, edges: list[int]) -> str:
    """Keep what lies before, between and behind the runs.

    ``edges`` are the first and the last letter of each run, by their number among the letters.
    """
    content = text.encode()
    places = places_of_letters(content)
    begins, ends = places[edges[::2]].tolist(), (places[edges[1::2]] + 1).tolist()
    pieces = [content[a:b].strip() for a, b in zip([0, *ends], [*begins, None], strict=True)]
    return b" ".join(piece for piece in pieces if piece).decode("utf-8", "ignore")
