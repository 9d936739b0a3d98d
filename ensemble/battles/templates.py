"""What a source wraps around its texts: found by how many share it, and left out.

A template says nothing of what is asked. Where many prompts share a long one, it makes all of them
similar; so near duplicates are looked for in what is left without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.fingerprints import GRAM
from ensemble.battles.passage_keys import NUMBER, blocks, in_one, numbers_of, with_numbers
from ensemble.battles.shared_grams import firsts
from ensemble.battles.shingles import ranges
from ensemble.battles.template_cuts import cut
from ensemble.battles.template_runs import Edges, most_in_runs, starts_of_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.battles.fingerprints import Fingerprints
    from ensemble.battles.looked import Looked
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
            ``(n,)`` texts without templates. Where too few letters and digits are left to say much,
            fewer than ``template_cuts.LEAST_LEFT``: empty beside a source's template, and whole
            beside what else many prompts share.
        """
        if not len(self.hashes):
            return looked.texts
        content, offsets = looked.letters
        parts = [self._runs(grams, offsets) for grams in looked.grams()]
        of_source = np.concatenate([np.zeros(0, dtype=np.bool_), *(part[2] for part in parts)])
        if not len(of_source):
            return looked.texts
        before = Edges.joined([part[0] for part in parts])
        behind = Edges.joined([part[1] for part in parts])
        first = before.start - before.reach(content, -1)
        stop = behind.start + GRAM + behind.reach(content, 1)
        return cut(looked.texts, offsets, first, stop, of_source)

    def _runs(
        self, grams: Fingerprints, offsets: Integers
    ) -> tuple[Edges, Edges, NDArray[np.bool_]]:
        """Join neighbouring grams of templates.

        Returns
        -------
        tuple
            Where each run begins and where it ends, and whether it is of a source's template.
        """
        hashes = _short(grams.hashes)
        known = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        place = np.flatnonzero(self.hashes[known] == hashes)
        uses = self.uses[known[place]]
        # Many texts go on in the same way behind a template: what they ask is none of it.
        core = most_in_runs(uses, starts_of_runs(grams, place))
        place = place[uses >= PART_OF_TEMPLATE * core]
        start = starts_of_runs(grams, place)
        of_source = self.of_source[known[place]]
        if len(start):
            of_source = np.logical_or.reduceat(of_source, start)
        stop = np.append(start[1:], len(place))[: len(start)]
        first, last = place[start], place[stop - 1]
        kept = of_source | (grams.start[last] - grams.start[first] + GRAM >= LONG)
        before = Edges.before(grams, offsets, first[kept])
        return before, Edges.behind(grams, offsets, last[kept]), of_source[kept]


def find_templates(looked: Looked, sources: pl.Series) -> Templates:
    """Find what many different prompts share.

    Parameters
    ----------
    looked
        ``n`` different texts.
    sources
        ``(n,)`` lists: the sources that have the text.
    """
    packed = _in_several(looked)
    own = _owners(sources)
    known, of_source, uses = [np.empty(0, np.uint64)], [np.zeros(0, np.bool_)], [np.empty(0, int)]
    for block in blocks(packed):
        hashes, text = block & ~NUMBER, numbers_of(block)
        begin = firsts(hashes)
        count = np.diff(np.append(begin, len(hashes)))
        shared = np.flatnonzero(count >= FEWEST_PROMPTS)
        text = text[ranges(begin[shared], count[shared])]
        is_own = _templates_of_sources(text, count[shared], own)
        kept = is_own | (count[shared] >= MANY_PROMPTS)
        known.append(hashes[begin[shared]][kept])
        of_source.append(is_own[kept])
        uses.append(count[shared][kept])
    return Templates(np.concatenate(known), np.concatenate(of_source), np.concatenate(uses))


def _in_several(looked: Looked) -> Shingles:
    """Give the grams that some texts may share, each once with each text's number, ascending.

    Most grams stand in one text alone. Hashes are counted first, in as many bytes as there are
    grams, so that only those are kept whose count, with that of others that fall together with
    them, is enough.
    """
    bits = max(10, (looked.most_grams // 4).bit_length())
    shift = np.uint64(64 - bits)
    counts = np.zeros(1 << bits, dtype=np.uint32)
    for grams in looked.grams():
        np.add.at(counts, (grams.hashes >> shift).astype(np.int64), np.uint32(1))
    enough = counts >= FEWEST_PROMPTS
    del counts
    parts = []
    for hashes, text, _ in looked.grams():
        there = enough[(hashes >> shift).astype(np.int64)]
        found = with_numbers(hashes[there], text[there])
        found.sort()
        parts.append(found[firsts(found)])
    packed = in_one(parts)
    packed.sort()
    return packed


def _short(hashes: Shingles) -> Shingles:
    """Keep 40 bits of each hash, and leave room for the number of a text."""
    return hashes & ~NUMBER


def _owners(sources: pl.Series) -> list[tuple[NDArray[np.bool_], float]]:
    """Say of each source which texts it has, and how many have to share its template."""
    owners = pl.DataFrame({"source": sources}).with_row_index("text").explode("source")
    found = []
    for (_,), part in owners.group_by("source"):
        own = np.zeros(len(sources), dtype=np.bool_)
        own[part["text"]] = True
        found.append((own, max(FEWEST_PROMPTS, TEMPLATE_SHARE * len(part))))
    return found


def _templates_of_sources(
    text: Integers, uses: Integers, sources: list[tuple[NDArray[np.bool_], float]]
) -> NDArray[np.bool_]:
    """Say which grams enough texts of one source share; ``text`` has those of each in turn."""
    gram = np.repeat(np.arange(len(uses)), uses)
    found = np.zeros(len(uses), dtype=np.bool_)
    for own, least in sources:
        found |= np.bincount(gram[own[text]], minlength=len(uses)) >= least
    return found
