"""Passages that contain most of another passage, whatever stands around it.

Two passages say the same where one of them is told again in the other. What many passages share
counts for little in that, and what only two share counts for much: a fingerprint weighs less the
more *components* (battles that are connected already) have it, so that neither a template nor a
phrase that everyone uses connects anything. Candidates share most of the rarest fingerprints of the
shorter passage, as a text that contains it must (the idea of prefix filtering: Chaudhuri, Ganti and
Kaushik 2006; Bayardo, Ma and Srikant 2007). Every candidate is then compared letter by letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from ensemble.battles.coverage import alignment, coverage
from ensemble.battles.partition import Partition
from ensemble.battles.passages import (
    ANSWER_ONE_IN,
    NUMBER_BITS,
    PROMPT_ONE_IN,
)
from ensemble.battles.shingles import batches, ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.battles.passages import Passages
    from ensemble.battles.shingles import Integers
    from ensemble.battles.templates import Templates
    from ensemble.plugin.base import FloatArray

LEAST_COVERAGE = 0.9
"""Share of a passage's letters and digits that the other must have, in runs of some length."""
LEAST_ALIGNMENT = 0.94
"""How like a part of the other a prompt must be, where wrong letters leave too few runs."""
LEAST_WEIGHT, LONG_WEIGHT = 0.3, 0.6
"""Share of its fingerprints' weight that the other must have, for the two to be compared: a wrong
letter spoils many fingerprints of a short passage. An answer is long, and so is a prompt of more
than :data:`LONG_PROMPT` letters and digits."""
LONG_PROMPT = 400
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
_LETTERS_AT_A_TIME = 4_000_000


class Contained(NamedTuple):
    """Verified pairs of passages.

    Parameters
    ----------
    left, right
        ``(m,)`` numbers of passages; most of ``left`` stands in ``right``.
    coverage
        ``(m,)`` how much of it.
    """

    left: Integers
    right: Integers
    coverage: FloatArray


def find_contained(
    battles: pl.DataFrame, passages: Passages, templates: Templates, components: Integers
) -> Contained:
    """Find pairs of passages of different components, most of one of which stands in the other.

    Parameters
    ----------
    battles
        The table that the passages were found in.
    passages
        As :func:`ensemble.battles.passages.read_compared` gives them.
    templates
        Left out of a prompt that may stand in another text.
    components
        ``(len(passages),)`` number of the component that each belongs to; -1 leaves it out.
    """
    left, right = _Index.of(passages, components).candidates()
    own = _OwnTexts.of(battles, passages, templates, left)
    sizes = _letters(passages)
    parts = Partition(int(components.max(initial=-1)) + 1)
    found: list[Contained] = []
    while len(left):
        # What is connected by now need not be compared.
        open_ = parts.labels[components[left]] != parts.labels[components[right]]
        left, right = left[open_], right[open_]
        now = next(batches(sizes[left] + sizes[right], _LETTERS_AT_A_TIME), slice(0, 0))
        part = _compare(own, left[now], right[now])
        parts.merge(components[part.left], components[part.right])
        found.append(part)
        left, right = left[now.stop :], right[now.stop :]
    return Contained(
        np.concatenate([left, *(part.left for part in found)]),
        np.concatenate([right, *(part.right for part in found)]),
        np.concatenate([np.empty(0), *(part.coverage for part in found)]),
    )


@dataclass(frozen=True)
class _OwnTexts:
    """The texts of passages, and what prompts have beside their templates.

    All prompts are looked at together: where a template ends is told by how many go on alike, and
    must not depend on which pairs happen to be compared at one time.
    """

    battles: pl.DataFrame
    passages: Passages
    prompts: Integers
    own: pl.Series

    @classmethod
    def of(
        cls, battles: pl.DataFrame, passages: Passages, templates: Templates, left: Integers
    ) -> _OwnTexts:
        prompts = np.unique(left[passages.is_prompt[left]])
        return cls(battles, passages, prompts, templates.left_by(passages.texts(battles, prompts)))

    def whole(self, wanted: Integers) -> pl.Series:
        """Give whole texts."""
        return self.passages.texts(self.battles, wanted)

    def without_templates(self, wanted: Integers) -> pl.Series:
        """Give what is left of prompts, and whole answers."""
        is_prompt = self.passages.is_prompt[wanted]
        answers = np.flatnonzero(~is_prompt)
        texts = pl.Series("text", [""] * len(wanted), dtype=pl.String)
        texts = texts.scatter(answers, self.whole(wanted[answers]))
        known = self.own.gather(np.searchsorted(self.prompts, wanted[is_prompt]))
        return texts.scatter(np.flatnonzero(is_prompt), known)


def _compare(texts: _OwnTexts, left: Integers, right: Integers) -> Contained:
    ours, one = np.unique(left, return_inverse=True)
    theirs, other = np.unique(right, return_inverse=True)
    both = pl.concat([texts.without_templates(ours), texts.whole(theirs)])
    other = other + len(ours)
    alike = coverage(both, one, other)
    typed = np.flatnonzero((alike < LEAST_COVERAGE) & texts.passages.is_prompt[left])
    aligned = alignment(both, one[typed], other[typed])
    alike[typed] = np.where(aligned >= LEAST_ALIGNMENT, aligned, alike[typed])
    keep = alike >= LEAST_COVERAGE
    return Contained(left[keep], right[keep], alike[keep])


def _letters(passages: Passages) -> Integers:
    """Estimate how long each passage is, from how many fingerprints were kept."""
    kept = np.bincount(passages.numbers, minlength=len(passages))
    return np.asarray(np.where(passages.is_prompt, PROMPT_ONE_IN, ANSWER_ONE_IN) * kept)


class _Index:
    """Which passages have which fingerprints, of those that stand in several components."""

    def __init__(
        self, weights: csr_array, needed: FloatArray, shared: Integers, components: Integers
    ) -> None:
        self.weights, self.needed, self.shared = weights, needed, shared
        self.components = components
        self.by_gram = weights.T.tocsr()

    @classmethod
    def of(cls, passages: Passages, components: Integers) -> _Index:
        """Weigh every fingerprint by the number of components that have it."""
        n = len(passages)
        keys = passages.keys
        first = _firsts(keys >> np.uint64(NUMBER_BITS))
        size = np.diff(np.append(first, len(keys)))
        kept = np.bincount(passages.numbers, minlength=n)
        # One that a single passage has, as most are, is in no other; nor does a component connect
        # with itself, or a passage that stands in several.
        place = ranges(first[size > 1], size[size > 1])
        # Half the bytes: here are as many numbers as fingerprints.
        number = (keys[place] & _NUMBER).astype(np.int32)
        gram = np.repeat(np.arange((size > 1).sum(), dtype=np.int32), size[size > 1])
        own = components.astype(np.int32)[number]
        del place
        known = own >= 0
        number, gram, own = number[known], gram[known], own[known]
        first = _firsts(gram)
        alone = _reduced(np.minimum, own, first) == _reduced(np.maximum, own, first)
        apart = ~np.repeat(alone, _lengths(gram))
        number, own = number[apart], own[apart]
        gram = np.repeat(np.arange((~alone).sum(), dtype=np.int32), _lengths(gram)[~alone])
        total = (kept - np.bincount(number, minlength=n)).astype(np.float64)
        counts = _components_of(gram, own)
        weight = np.where(
            counts > MOST_COMPONENTS, 0.0, np.minimum(1.0, (FULL_WEIGHT_UP_TO / counts) ** 2)
        )
        total += np.bincount(number, weights=weight[gram], minlength=n)
        counted = weight[gram] > 0
        table = csr_array(
            (weight[gram[counted]], (number[counted], gram[counted])), shape=(n, len(counts))
        )
        short = passages.is_prompt & (_letters(passages) <= LONG_PROMPT)
        needed = np.maximum(np.where(short, LEAST_WEIGHT, LONG_WEIGHT) * total, LEAST_EVIDENCE)
        return cls(table, needed, counts, components)

    def candidates(self) -> tuple[Integers, Integers]:
        """List pairs of passages that share enough weight to be worth comparing."""
        row, gram, needed = self._anchors()
        sizes = np.diff(self.by_gram.indptr)[gram]
        first = np.append(_firsts(row), len(row))
        kept = [np.empty((2, 0), dtype=np.int64)]
        for part in batches(
            np.add.reduceat(sizes, first[:-1]) if len(row) else sizes, _PAIRS_AT_A_TIME
        ):
            anchors = slice(first[part.start], first[part.stop])
            others = np.asarray(self.by_gram[gram[anchors]].indices, dtype=np.int64)
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
        order = np.argsort(packed)
        rows, grams = rows[order], grams[order]
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


def _components_of(gram: Integers, component: Integers) -> Integers:
    """Count the different components of each fingerprint."""
    pairs = (gram.astype(np.int64) << NUMBER_BITS) | component
    pairs.sort()
    return np.bincount(pairs[_firsts(pairs)] >> NUMBER_BITS)


def _lengths(values: NDArray[Any]) -> Integers:
    """Say how long each run of equal values is."""
    return np.diff(np.append(_firsts(values), len(values)))
