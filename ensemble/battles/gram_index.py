"""Which passages share so much of what few have that they are worth comparing.

What many passages share counts for little, and what only two share counts for much: a fingerprint
weighs less the more *components* (battles that are connected already) have it, so that neither a
template nor a phrase that everyone uses makes two passages alike. Candidates share most of the
rarest fingerprints of the shorter passage, as a text that contains it must (the idea of prefix
filtering: Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from ensemble.battles.passages import NUMBER_BITS
from ensemble.battles.shingles import batches, ranges
from ensemble.processes import available_cores

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
MOST_COMPONENTS = 100
"""What more components share counts for nothing."""
FEWEST_SHARED = 2
"""Fingerprints that two passages must share to be compared."""
ANCHORS = 5
"""Of its rarest fingerprints, so many choose what a passage is compared with: another must have
more than half of them."""

_NUMBER = np.uint64((1 << NUMBER_BITS) - 1)
_PAIRS_AT_A_TIME = 1 << 20
_KEYS_AT_A_TIME = 1 << 20


class _Shared(NamedTuple):
    """Fingerprints that stand in several components.

    Parameters
    ----------
    number, gram
        ``(m,)`` int32: a passage and a fingerprint that it has, in the order of fingerprints.
    components
        ``(g,)`` how many different components have each.
    """

    number: NDArray[np.int32]
    gram: NDArray[np.int32]
    components: Integers

    @classmethod
    def of(cls, passages: Passages, components: Integers) -> _Shared:
        """Look through all fingerprints, on all cores: equal ones lie beside each other."""
        keys, own = passages.keys, components.astype(np.int32)
        starts = range(_KEYS_AT_A_TIME, len(keys), _KEYS_AT_A_TIME)
        # A part begins where a fingerprint does.
        edges = [0, *(int(np.searchsorted(keys, keys[at] & ~_NUMBER)) for at in starts), len(keys)]
        with ThreadPoolExecutor(available_cores()) as pool:
            parts = list(
                pool.map(lambda ends: cls._of_part(keys[slice(*ends)], own), pairwise(edges))
            )
        known = np.cumsum([0, *(len(part.components) for part in parts)])
        grams = [part.gram + np.int32(first) for part, first in zip(parts, known, strict=False)]
        return cls(
            np.concatenate([part.number for part in parts]),
            np.concatenate(grams),
            np.concatenate([part.components for part in parts]),
        )

    @classmethod
    def _of_part(cls, keys: Shingles, components: NDArray[np.int32]) -> _Shared:
        first = _firsts(keys >> np.uint64(NUMBER_BITS))
        size = np.diff(np.append(first, len(keys)))
        # One that a single passage has, as most are, is in no other; nor does a component connect
        # with itself, or a passage that stands in several.
        number = (keys[ranges(first[size > 1], size[size > 1])] & _NUMBER).astype(np.int32)
        gram = np.repeat(np.arange((size > 1).sum(), dtype=np.int32), size[size > 1])
        own = components[number]
        number, gram, own = number[own >= 0], gram[own >= 0], own[own >= 0]
        first = _firsts(gram)
        alone = _reduced(np.minimum, own, first) == _reduced(np.maximum, own, first)
        apart = ~np.repeat(alone, _lengths(gram))
        number, own = number[apart], own[apart]
        gram = np.repeat(np.arange((~alone).sum(), dtype=np.int32), _lengths(gram)[~alone])
        return cls(number, gram, _components_of(gram, own))


@dataclass(frozen=True, eq=False)
class GramIndex:
    """Which passages have which fingerprints, of those that stand in several components.

    Parameters
    ----------
    weights
        ``(n, g)`` sparse: what each fingerprint of a passage weighs.
    needed
        ``(n,)`` weight that another passage must share.
    shared
        ``(g,)`` how many components have each fingerprint.
    components
        ``(n,)`` of each passage.
    """

    weights: csr_array
    needed: FloatArray
    shared: Integers
    components: Integers

    @classmethod
    def of(cls, passages: Passages, components: Integers) -> GramIndex:
        """Weigh every fingerprint by the number of components that have it.

        Parameters
        ----------
        passages
            All passages.
        components
            ``(n,)`` number of the component that each belongs to; -1 leaves it out.
        """
        n = len(passages)
        number, gram, counts = _Shared.of(passages, components)
        weight = np.where(
            counts > MOST_COMPONENTS, 0.0, np.minimum(1.0, (FULL_WEIGHT_UP_TO / counts) ** 2)
        )
        # What no other component has weighs 1.
        total = passages.counts - np.bincount(number, weights=1.0 - weight[gram], minlength=n)
        counted = weight[gram] > 0
        table = csr_array(
            (weight[gram[counted]], (number[counted], gram[counted])), shape=(n, len(counts))
        )
        short = passages.is_prompt & (passages.letters <= LONG_PROMPT)
        needed = np.maximum(np.where(short, LEAST_WEIGHT, LONG_WEIGHT) * total, LEAST_EVIDENCE)
        return cls(table, needed, counts, components)

    def candidates(self) -> tuple[Integers, Integers]:
        """List pairs of passages that share enough weight to be worth comparing."""
        row, gram, needed = self._anchors()
        by_gram = self.weights.T.tocsr()
        sizes = np.diff(by_gram.indptr)[gram]
        first = np.append(_firsts(row), len(row))
        kept = [np.empty((2, 0), dtype=np.int64)]
        for part in batches(
            np.add.reduceat(sizes, first[:-1]) if len(row) else sizes, _PAIRS_AT_A_TIME
        ):
            anchors = slice(first[part.start], first[part.stop])
            others = np.asarray(by_gram[gram[anchors]].indices, dtype=np.int64)
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
        table = self.weights
        shared = np.asarray(table.sum(axis=1))
        rows = np.repeat(np.arange(len(self.needed)), np.diff(table.indptr))
        able = (shared >= self.needed)[rows]
        rows, grams = rows[able], table.indices[able].astype(np.int64)
        packed = (rows << 40) | (self.shared[grams] << 33) | grams
        packed.sort()
        rows, grams = packed >> 40, packed & ((1 << 33) - 1)
        rank = np.arange(len(rows)) - np.repeat(_firsts(rows), _lengths(rows))
        rows, grams = rows[rank < ANCHORS], grams[rank < ANCHORS]
        count = np.bincount(rows, minlength=len(self.needed))
        return rows, grams, np.maximum(FEWEST_SHARED, count // 2 + 1)

    def _heavy(self, left: Integers, right: Integers) -> Integers:
        """Keep the pairs that share enough weight: ``(2, m)``."""
        length = np.diff(self.weights.indptr)
        kept = [np.empty((2, 0), dtype=np.int64)]
        for part in batches(length[left] + length[right], _PAIRS_AT_A_TIME):
            one, other = left[part], right[part]
            common = self.weights[one].multiply(self.weights[other] > 0).tocsr()
            enough = common.sum(axis=1) >= self.needed[one]
            kept.append(np.vstack([one[enough], other[enough]]))
        return np.concatenate(kept, axis=1)


def _firsts(values: NDArray[Any]) -> Integers:
    """Say where each run of equal values begins."""
    return np.flatnonzero(
        np.append(np.ones(min(1, len(values)), np.bool_), values[1:] != values[:-1])
    )


def _reduced(reduce: np.ufunc, values: NDArray[Any], first: Integers) -> NDArray[Any]:
    """Reduce runs of values; of none there are none."""
    return np.asarray(reduce.reduceat(values, first)) if len(first) else values


def _components_of(gram: NDArray[np.int32], component: NDArray[np.int32]) -> Integers:
    """Count the different components of each fingerprint."""
    pairs = (gram.astype(np.int64) << NUMBER_BITS) | component
    pairs.sort()
    return np.bincount(pairs[_firsts(pairs)] >> NUMBER_BITS)


def _lengths(values: NDArray[Any]) -> Integers:
    """Say how long each run of equal values is."""
    return np.diff(np.append(_firsts(values), len(values)))
