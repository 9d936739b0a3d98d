"""Which passages share so much of what few have that they are worth comparing.

What many passages share counts for little, and what only two share counts for much: a fingerprint
weighs less the more *components* (battles that are connected already) have it, so that neither a
template nor a phrase that everyone uses makes two passages alike. Candidates share most of the
rarest fingerprints of the shorter passage, as a text that contains it must (the idea of prefix
filtering: Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from ensemble.battles.passage_keys import NUMBER, NUMBER_BITS
from ensemble.battles.shared_grams import MOST_COMPONENTS, as_shared_rows, firsts, lengths
from ensemble.battles.shingles import batches, ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.battles.passages import Passages
    from ensemble.battles.shingles import Integers, Shingles
    from ensemble.plugin.base import FloatArray

LONG_PROMPT = 400
"""Letters and digits of a prompt that is long, as an answer is: a wrong letter spoils little."""
LEAST_WEIGHT, LONG_WEIGHT = 0.3, 0.6
"""Share of its fingerprints' weight that the other must have, for the two to be compared: a wrong
letter spoils many fingerprints of a short prompt, and few of a long one or of an answer."""
LEAST_EVIDENCE = 0.5
"""The weight that two passages must share: that of a few fingerprints which some dozen components
have, or of many which some dozens do."""
FULL_WEIGHT_UP_TO = 4
"""A fingerprint of so many components still has its full weight of 1."""
FEWEST_SHARED = 2
"""Fingerprints that two passages must share to be compared."""
ANCHORS = 5
"""Of its rarest fingerprints, so many choose what a passage is compared with: another must have
more than half of them."""

_PAIRS_AT_A_TIME = 1 << 20
_ENTRIES_AT_A_TIME = 1 << 20

_SHARED_BY = np.arange(1, MOST_COMPONENTS + 1)
_WEIGHTS = np.array([0.0, *np.minimum(1.0, (FULL_WEIGHT_UP_TO / _SHARED_BY) ** 2), 0.0])
"""What a fingerprint weighs, by how many components have it."""


@dataclass(frozen=True, eq=False)
class GramIndex:
    """Which passages have which fingerprints, of those that stand in several components.

    Parameters
    ----------
    grams
        Numbers of fingerprints, passage by passage, ascending in each.
    offsets
        ``(n + 1,)``: passage ``i`` has ``grams[offsets[i]:offsets[i + 1]]``.
    shared
        ``(g,)`` how many components have each fingerprint, up to one more than ``MOST_COMPONENTS``.
    needed
        ``(n,)`` weight that another passage must share.
    components
        ``(n,)`` of each passage.
    """

    grams: NDArray[np.int32]
    offsets: Integers
    shared: NDArray[np.uint8]
    needed: FloatArray
    components: Integers

    @classmethod
    def of(cls, passages: Passages, keys: Shingles, components: Integers) -> GramIndex:
        """Weigh every fingerprint by the number of components that have it.

        Parameters
        ----------
        passages
            All passages.
        keys
            Theirs; they are rewritten in place, and not to be used afterwards.
        components
            ``(n,)`` number of the component that each belongs to; -1 leaves it out.
        """
        grams, offsets, shared = as_shared_rows(keys, components)
        total = passages.counts.astype(np.float64)
        for part in batches(np.diff(offsets), _ENTRIES_AT_A_TIME):
            row, entries = _entries(offsets, part)
            # What no other component has weighs 1.
            less = 1.0 - _WEIGHTS[shared[grams[entries]]]
            total[part] -= np.bincount(row, weights=less, minlength=part.stop - part.start)
        short = passages.is_prompt & (passages.letters <= LONG_PROMPT)
        needed = np.maximum(np.where(short, LEAST_WEIGHT, LONG_WEIGHT) * total, LEAST_EVIDENCE)
        return cls(grams, offsets, shared, needed, components)

    def candidates(self) -> tuple[Integers, Integers]:
        """List pairs of passages that share enough weight to be worth comparing."""
        row, gram, needed = self._anchors()
        limits, members = self._members(gram)
        sizes = limits[gram + 1] - limits[gram]
        first = np.append(firsts(row), len(row))
        kept = [np.empty((2, 0), dtype=np.int64)]
        for part in batches(
            np.add.reduceat(sizes, first[:-1]) if len(row) else sizes, _PAIRS_AT_A_TIME
        ):
            anchors = slice(first[part.start], first[part.stop])
            others = members[ranges(limits[gram[anchors]], sizes[anchors])].astype(np.int64)
            pair = (np.repeat(row[anchors], sizes[anchors]) << NUMBER_BITS) | others
            pair, hits = np.unique(pair, return_counts=True)
            left, right = pair >> NUMBER_BITS, pair & ((1 << NUMBER_BITS) - 1)
            open_ = (hits >= needed[left]) & (self.components[left] != self.components[right])
            kept.append(self._heavy(left[open_], right[open_]))
        left, right = np.concatenate(kept, axis=1)
        return left, right

    def _anchors(self) -> tuple[Integers, Integers, Integers]:
        """Take the rarest fingerprints of each passage, of which another must have most.

        Returns
        -------
        tuple
            Passage and fingerprint of each anchor, in the order of passages; and how many anchors
            of each passage another must have.
        """
        kept = [np.empty((2, 0), dtype=np.int64)]
        for part in batches(np.diff(self.offsets), _ENTRIES_AT_A_TIME):
            table = self._weighed(np.arange(part.start, part.stop))
            rows = np.repeat(np.arange(part.start, part.stop), np.diff(table.indptr))
            able = (np.asarray(table.sum(axis=1)) >= self.needed[part])[rows - part.start]
            rows, grams = rows[able], table.indices[able].astype(np.int64)
            packed = (rows << 40) | (self.shared[grams].astype(np.int64) << 33) | grams
            packed.sort()
            rows, grams = packed >> 40, packed & ((1 << 33) - 1)
            rank = np.arange(len(rows)) - np.repeat(firsts(rows), lengths(rows))
            kept.append(np.vstack([rows, grams])[:, rank < ANCHORS])
        rows, grams = np.concatenate(kept, axis=1)
        count = np.bincount(rows, minlength=len(self.needed))
        return rows, grams, np.maximum(FEWEST_SHARED, count // 2 + 1)

    def _members(self, wanted: Integers) -> tuple[Integers, NDArray[np.int32]]:
        """List the passages that have some fingerprints.

        Returns
        -------
        tuple
            ``(g + 1,)`` limits and the passages: fingerprint ``i`` has those from ``limits[i]`` to
            ``limits[i + 1]``, ascending, if it is wanted, and else none.
        """
        is_wanted = np.zeros(len(self.shared), dtype=np.bool_)
        is_wanted[wanted] = True
        kept = [np.empty(0, dtype=np.uint64)]
        for part in batches(np.diff(self.offsets), _ENTRIES_AT_A_TIME):
            row, entries = _entries(self.offsets, part)
            grams = self.grams[entries]
            there = is_wanted[grams]
            packed = grams[there].astype(np.uint64) << np.uint64(NUMBER_BITS)
            kept.append(packed | (row[there] + part.start).astype(np.uint64))
        members = np.concatenate(kept)
        del kept
        members.sort()
        first = np.arange(len(self.shared) + 1, dtype=np.uint64) << np.uint64(NUMBER_BITS)
        return np.searchsorted(members, first), (members & NUMBER).astype(np.int32)

    def _weighed(self, rows: Integers) -> csr_array:
        """Give what the fingerprints of some passages weigh, without those that weigh nothing."""
        counts = np.diff(self.offsets)[rows]
        grams = self.grams[ranges(self.offsets[rows], counts)]
        weights = _WEIGHTS[self.shared[grams]]
        row = np.repeat(np.arange(len(rows)), counts)[weights > 0]
        offsets = np.searchsorted(row, np.arange(len(rows) + 1))
        shape = (len(rows), len(self.shared))
        return csr_array((weights[weights > 0], grams[weights > 0], offsets), shape=shape)

    def _heavy(self, left: Integers, right: Integers) -> Integers:
        """Keep the pairs that share enough weight: ``(2, m)``."""
        length = np.diff(self.offsets)
        kept = [np.empty((2, 0), dtype=np.int64)]
        for part in batches(length[left] + length[right], _PAIRS_AT_A_TIME):
            one, other = left[part], right[part]
            common = self._weighed(one).multiply(self._weighed(other) > 0).tocsr()
            enough = common.sum(axis=1) >= self.needed[one]
            kept.append(np.vstack([one[enough], other[enough]]))
        return np.concatenate(kept, axis=1)


def _entries(offsets: Integers, rows: slice) -> tuple[Integers, slice]:
    """Give the place of every entry's row among consecutive rows, and where the entries stand."""
    counts = np.diff(offsets[rows.start : rows.stop + 1])
    row = np.repeat(np.arange(len(counts)), counts)
    return row, slice(int(offsets[rows.start]), int(offsets[rows.stop]))
