"""Runs of a text that are of a template, and how far they go on beyond the grams that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from ensemble.battles.fingerprints import GRAM, gram_hashes
from ensemble.battles.shingles import ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ensemble.battles.fingerprints import Fingerprints
    from ensemble.battles.shingles import Integers, Shingles

_FARTHEST = 40
"""Letters that a run is followed for beyond its last kept gram; the next is nearer as a rule."""
_PLACES_AT_A_TIME = 1 << 20


class Edges(NamedTuple):
    """Where runs begin, or end.

    Parameters
    ----------
    start
        ``(m,)`` where the gram at the edge begins among the letters of all texts.
    room
        ``(m,)`` letters from there to the next gram that was kept, or to the end of the text.
    hashes
        ``(m,)`` of the gram.
    """

    start: Integers
    room: Integers
    hashes: Shingles

    @classmethod
    def before(cls, grams: Fingerprints, offsets: Integers, first: Integers) -> Edges:
        """Give the edges where runs begin with some grams."""
        start, text = grams.start, grams.text
        limit = offsets[text[first]] - 1
        inner = (first > 0) & (text[np.maximum(first - 1, 0)] == text[first])
        limit[inner] = start[first[inner] - 1]
        return cls._of(grams, first, start[first] - limit - 1)

    @classmethod
    def behind(cls, grams: Fingerprints, offsets: Integers, last: Integers) -> Edges:
        """Give the edges where runs end with some grams."""
        start, text = grams.start, grams.text
        limit = offsets[text[last] + 1] - GRAM + 1
        following = np.minimum(last + 1, len(start) - 1)
        inner = (last + 1 < len(start)) & (text[following] == text[last])
        limit[inner] = start[last[inner] + 1]
        return cls._of(grams, last, limit - start[last] - 1)

    @classmethod
    def _of(cls, grams: Fingerprints, edge: Integers, room: Integers) -> Edges:
        return cls(grams.start[edge], np.clip(room, 0, _FARTHEST), grams.hashes[edge])

    @classmethod
    def joined(cls, parts: Sequence[Edges]) -> Edges:
        """Put edges behind each other."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def reach(self, content: NDArray[np.uint8], step: int) -> Integers:
        """Count the letters that a template goes on for, up to the next gram that was kept.

        Parameters
        ----------
        content
            The letters of all texts.
        step
            Where to go: 1 behind the edge, -1 before it.

        Returns
        -------
        ndarray of int64, shape (m,)
            It goes on while half of those that have the same gram at the edge go on in the same
            way, and two at least: what a single text goes on with is its own.
        """
        reach = self.room + 1
        if not len(reach):
            return reach
        _, number, uses = np.unique(self.hashes, return_inverse=True, return_counts=True)
        width = max(1, _PLACES_AT_A_TIME // len(reach))
        for nearest in range(1, _FARTHEST + 1, width):
            # What is as far from an edge is compared together, all edges at once.
            room = np.clip(self.room - nearest + 1, 0, width)
            run = np.repeat(np.arange(len(room)), room)
            far = ranges(np.full(len(room), nearest), room)
            hashes = gram_hashes(content, self.start[run] + step * far)
            ways = pl.DataFrame({"edge": number[run], "far": far, "hash": hashes})
            same = ways.select(pl.len().over("edge", "far", "hash")).to_series().to_numpy()
            goes_on = (same > 1) & (same.astype(np.int64) * 2 >= uses[number[run]])
            np.minimum.at(reach, run[~goes_on], far[~goes_on])
        return reach - 1


def starts_of_runs(grams: Fingerprints, place: Integers) -> Integers:
    """Say where each run of neighbouring grams of one text begins."""
    begins = np.ones(len(place), dtype=np.bool_)
    begins[1:] = (np.diff(place) > 1) | (np.diff(grams.text[place]) > 0)
    return np.flatnonzero(begins)


def most_in_runs(values: Integers, start: Integers) -> Integers:
    """Give every value the greatest of its run."""
    if not len(start):
        return values
    lengths = np.diff(np.append(start, len(values)))
    return np.asarray(np.repeat(np.maximum.reduceat(values, start), lengths), dtype=np.int64)
