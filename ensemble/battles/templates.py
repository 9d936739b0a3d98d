"""What a source wraps around its texts: found by how many share it, and left out.

A template says nothing of what is asked. Where many prompts share a long one, it makes all of them
similar; so near duplicates are looked for in what is left without it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from ensemble.battles.fingerprints import (
    GRAM,
    fingerprints,
    gram_hashes,
    letters,
    places_of_letters,
)
from ensemble.battles.shingles import ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.battles.fingerprints import Fingerprints, Letters
    from ensemble.battles.shingles import Integers, Shingles

TEMPLATE_SHARE = 0.05
"""A gram that so many of a source's different prompts share belongs to a template of the source."""
FEWEST_PROMPTS = 8
"""So many different prompts of a source must share it, however small the source is."""
MANY_PROMPTS = 20
"""So many different prompts of any source make a template too where what they share is long, and
where they have something of their own: else they may be one question, told in many ways."""
LONG = 100
"""Letters and digits of a long one."""

PART_OF_TEMPLATE = 0.1
"""A gram is part of a template where at least so many of those share it that share its core."""
LEAST_LEFT = 12
"""Letters and digits that a text needs beside its template."""

_ONE_IN = 6
_TEXT = np.uint64((1 << 24) - 1)
_ENDS = 32
"""Letters at either end of a text where every gram is looked at: short templates stand there."""
_FARTHEST = 40
"""Letters that a run is followed for beyond its last kept gram; the next is nearer as a rule."""


class Looked(NamedTuple):
    """Texts with what is compared of them.

    Parameters
    ----------
    texts
        ``n`` normalized texts.
    letters
        Theirs.
    grams
        Some of their grams.
    """

    texts: pl.Series
    letters: Letters
    grams: Fingerprints

    @classmethod
    def at(cls, texts: pl.Series) -> Looked:
        """Look at texts."""
        found = letters(texts)
        return cls(texts, found, fingerprints(found, _ONE_IN, ends=_ENDS))


@dataclass(frozen=True)
class Templates:
    """The grams of templates.

    Parameters
    ----------
    hashes
        ``(m,)`` ascending.
    of_source
        ``(m,)`` whether it is a source's template, or one that many prompts share.
    uses
        ``(m,)`` how many different prompts have it.
    """

    hashes: Shingles
    of_source: NDArray[np.bool_]
    uses: Integers

    def left_by(self, looked: Looked) -> pl.Series:
        """Leave out of each text what is of a template.

        Parameters
        ----------
        looked
            ``n`` texts.

        Returns
        -------
        pl.Series
            ``(n,)`` texts without templates. Where fewer than :data:`LEAST_LEFT` letters and digits
            are left, which say too little to be compared: empty beside a source's template, and
            whole beside what else many prompts share.
        """
        texts, found, grams = looked
        if not len(self.hashes):
            return texts
        first, last, of_source = self._runs(grams)
        if not len(first):
            return texts
        begin = grams.start[first] - _reach(found, grams, first, -1)
        end = grams.start[last] + GRAM + _reach(found, grams, last, 1)
        return _cut(texts, found, begin, end, of_source)

    def _runs(self, grams: Fingerprints) -> tuple[Integers, Integers, NDArray[np.bool_]]:
        """Join neighbouring grams of templates.

        Returns
        -------
        tuple
            The first and the last gram of each run, and whether it is of a source's template.
        """
        hashes = _short(grams.hashes)
        known = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        place = np.flatnonzero(self.hashes[known] == hashes)
        uses = self.uses[known[place]]
        # Many texts go on in the same way behind a template: what they ask is none of it.
        core = _most_in_runs(uses, _starts(grams, place))
        place = place[uses >= PART_OF_TEMPLATE * core]
        start = _starts(grams, place)
        if not len(start):
            return start, start, np.zeros(0, dtype=np.bool_)
        first, last = place[start], place[np.append(start[1:], len(place)) - 1]
        of_source = np.logical_or.reduceat(self.of_source[known[place]], start)
        long = grams.start[last] - grams.start[first] + GRAM >= LONG
        kept = of_source | long
        return first[kept], last[kept], of_source[kept]


def find_templates(looked: Looked, sources: pl.Series) -> Templates:
    """Find what many different prompts share.

    Parameters
    ----------
    looked
        ``n`` different texts.
    sources
        ``(n,)`` lists: the sources that have the text.
    """
    grams = looked.grams
    # A gram and its text in one number: each once, and equal grams in the order of their texts.
    packed = _short(grams.hashes) | grams.text.astype(np.uint64)
    packed.sort()
    packed = packed[np.append(True, packed[1:] != packed[:-1])[: len(packed)]]
    hashes, text = packed & ~_TEXT, (packed & _TEXT).astype(np.int64)
    begin = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)])
    uses = np.diff(np.append(begin, len(hashes)))
    shared = np.flatnonzero(uses >= FEWEST_PROMPTS)
    known, uses = hashes[begin[shared]], uses[shared]
    text = text[ranges(begin[shared], uses)]
    of_source = _templates_of_sources(text, np.repeat(np.arange(len(known)), uses), sources)
    kept = of_source | (uses >= MANY_PROMPTS)
    return Templates(known[kept], of_source[kept], uses[kept])


def _short(hashes: Shingles) -> Shingles:
    """Keep 40 bits of each hash, and leave room for the number of a text."""
    return hashes & ~_TEXT


def _templates_of_sources(text: Integers, gram: Integers, sources: pl.Series) -> NDArray[np.bool_]:
    """Say which grams enough texts of one source share."""
    owners = pl.DataFrame({"source": sources}).with_row_index("text").explode("source")
    found = np.zeros(len(np.unique(gram)), dtype=np.bool_)
    for (_,), part in owners.group_by("source"):
        own = np.zeros(len(sources), dtype=np.bool_)
        own[part["text"]] = True
        counts = np.bincount(gram[own[text]], minlength=len(found))
        found |= counts >= max(FEWEST_PROMPTS, TEMPLATE_SHARE * len(part))
    return found


def _starts(grams: Fingerprints, place: Integers) -> Integers:
    """Say where each run of neighbouring grams of one text begins."""
    begins = np.ones(len(place), dtype=np.bool_)
    begins[1:] = (np.diff(place) > 1) | (np.diff(grams.text[place]) > 0)
    return np.flatnonzero(begins)


def _most_in_runs(values: Integers, start: Integers) -> Integers:
    """Give every value the greatest of its run."""
    if not len(start):
        return values
    lengths = np.diff(np.append(start, len(values)))
    return np.asarray(np.repeat(np.maximum.reduceat(values, start), lengths), dtype=np.int64)


def _reach(found: Letters, grams: Fingerprints, edge: Integers, step: int) -> Integers:
    """Count the letters that a template goes on for, up to the next gram that was kept.

    Parameters
    ----------
    found, grams
        The texts' letters and kept grams.
    edge
        ``(m,)`` the last gram of each run (``step`` 1), or the first (``step`` -1).
    step
        Where to go from there.

    Returns
    -------
    ndarray of int64, shape (m,)
        It goes on while half of those that have the same gram at the edge go on in the same way,
        and two at least: what a single text goes on with is its own.
    """
    start, text = grams.start, grams.text
    if step > 0:
        limit = found.offsets[text[edge] + 1] - GRAM + 1
        inner = (edge + 1 < len(start)) & (text[np.minimum(edge + 1, len(start) - 1)] == text[edge])
        limit[inner] = start[edge[inner] + 1]
        room = np.minimum(limit - start[edge] - 1, _FARTHEST)
    else:
        limit = found.offsets[text[edge]] - 1
        inner = (edge > 0) & (text[np.maximum(edge - 1, 0)] == text[edge])
        limit[inner] = start[edge[inner] - 1]
        room = np.minimum(start[edge] - limit - 1, _FARTHEST)
    room = np.maximum(room, 0)
    run = np.repeat(np.arange(len(edge)), room)
    far = ranges(np.zeros(len(edge), dtype=np.int64), room) + 1
    place = start[edge][run] + step * far
    hashes = gram_hashes(found.content, place)
    ways = pl.DataFrame({"edge": grams.hashes[edge][run], "far": far, "hash": hashes})
    usual = pl.len().over("edge", "far", "hash")
    everyone = pl.DataFrame({"edge": grams.hashes[edge]}).group_by("edge").len("all")
    goes_on = (
        ways.with_columns(same=usual)
        .join(everyone, on="edge", how="left", maintain_order="left")
        .select((pl.col("same") > 1) & (pl.col("same") * 2 >= pl.col("all")))
        .to_series()
        .to_numpy()
    )
    stops = np.where(goes_on, _FARTHEST + 1, far)
    reach = room + 1
    np.minimum.at(reach, run, stops)
    return np.asarray(reach - 1, dtype=np.int64)


def _cut(
    texts: pl.Series,
    found: Letters,
    first: Integers,
    stop: Integers,
    of_source: NDArray[np.bool_],
) -> pl.Series:
    """Take the runs out of the texts, with the punctuation inside them.

    A text that has too little beside them is empty where one is of its source's template, and else
    stays whole.
    """
    owner = np.searchsorted(found.offsets, first, side="right") - 1
    begin, last = first - found.offsets[owner], stop - 1 - found.offsets[owner]
    edges: dict[int, list[int]] = defaultdict(list)
    for number, *cut in np.column_stack([owner, begin, last]).tolist():
        edges[number].extend(cut)
    rest = [
        _without(text, cuts) for text, cuts in zip(texts[list(edges)], edges.values(), strict=True)
    ]
    own, places = pl.Series(rest, dtype=pl.String), list(edges)
    enough = pl.Series(np.diff(letters(own).offsets) >= LEAST_LEFT)
    sure = pl.Series(np.isin(places, owner[of_source]))
    little = pl.when(sure).then(pl.lit("")).otherwise(texts.gather(places))
    kept = texts.clone()  # ``scatter`` changes the series that it is called on
    return kept.scatter(places, pl.select(pl.when(enough).then(own).otherwise(little)).to_series())


def _without(text: str, edges: list[int]) -> str:
    """Keep what lies before, between and behind the runs.

    ``edges`` are the first and the last letter of each run, by their number among the letters.
    """
    content = text.encode()
    places = places_of_letters(content)
    begins, ends = places[edges[::2]].tolist(), (places[edges[1::2]] + 1).tolist()
    pieces = [content[a:b].strip() for a, b in zip([0, *ends], [*begins, None], strict=True)]
    return b" ".join(piece for piece in pieces if piece).decode("utf-8", "ignore")
