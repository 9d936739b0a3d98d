"""Passages that contain most of another passage, whatever stands around it.

Two passages say the same where one of them is told again in the other. Which are worth comparing is
told by what few passages have (``gram_index``); each such pair is then compared letter by letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from ensemble.battles.coverage import alignment, coverage
from ensemble.battles.gram_index import LONG_PROMPT, GramIndex
from ensemble.battles.looked import Looked
from ensemble.battles.partition import Partition
from ensemble.battles.passage_keys import NUMBER_BITS, numbers_of
from ensemble.battles.passages import PROMPT_ONE_IN, keys_of
from ensemble.battles.shingles import batches, ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.battles.passages import Passages
    from ensemble.battles.shingles import Integers, Shingles
    from ensemble.battles.templates import Templates
    from ensemble.plugin.base import FloatArray

LEAST_COVERAGE = 0.9
"""Share of a passage's letters and digits that the other must have, in runs of some length."""
LEAST_ALIGNMENT = 0.94
"""How like a part of the other a prompt must be, where wrong letters leave too few runs."""
LEAST_SHARED = 0.55
"""Share of a long passage's fingerprints, whatever they weigh, that the other must have too: 90% of
its letters in long runs leave some three quarters of its fingerprints whole."""

_LETTERS_AT_A_TIME = 4_000_000
_GRAMS_AT_A_TIME = 1 << 20
_TEXTS_AT_A_TIME = 1 << 10
_PAIR_BITS = np.uint64(64 - NUMBER_BITS)
_NOWHERE = np.uint64((1 << 64) - 1)


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
    battles: pl.DataFrame,
    passages: Passages,
    keys: Shingles,
    templates: Templates,
    components: Integers,
) -> Contained:
    """Find pairs of passages of different components, most of one of which stands in the other.

    Parameters
    ----------
    battles
        The table that the passages were found in.
    passages, keys
        As :func:`ensemble.battles.compared.read_compared` gives them; the keys are rewritten in
        place, and not to be used afterwards.
    templates
        Left out of a prompt that may stand in another text.
    components
        ``(len(passages),)`` number of the component that each belongs to; -1 leaves it out.
    """
    index = GramIndex.of(passages, keys, components)
    left, right = index.candidates()
    own = _OwnTexts.of(battles, passages, templates, left)
    left, right = _that_share(own, index, left, right)
    del index
    return _compared(own, components, left, right)


def _compared(own: _OwnTexts, components: Integers, left: Integers, right: Integers) -> Contained:
    """Compare pairs letter by letter, as long as nothing else has connected them."""
    sizes = own.passages.letters
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
        texts = passages.texts(battles, prompts)
        return cls(battles, passages, prompts, templates.left_by(Looked.at(texts)))

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


class _Grams(NamedTuple):
    """Fingerprints of some texts: text ``i`` has ``values[offsets[i]:offsets[i + 1]]``."""

    values: NDArray[Any]
    offsets: Integers

    @classmethod
    def of(cls, texts: pl.Series, is_prompt: bool) -> _Grams:
        """Take the fingerprints of texts, repeats included."""
        keys = keys_of(texts, is_prompt)
        ends = np.searchsorted(numbers_of(keys), np.arange(len(texts) + 1))
        return cls(keys >> np.uint64(NUMBER_BITS), ends)

    def listed(self, wanted: Integers) -> tuple[Shingles, Integers]:
        """List those of some texts, each under its text's place in the list, and these places."""
        counts = np.diff(self.offsets)[wanted]
        place = np.repeat(np.arange(len(wanted)), counts)
        values = self.values[ranges(self.offsets[wanted], counts)].astype(np.uint64)
        return (place.astype(np.uint64) << _PAIR_BITS) | values, place


def _that_share(
    texts: _OwnTexts, index: GramIndex, left: Integers, right: Integers
) -> tuple[Integers, Integers]:
    """Keep the pairs that share most of the fingerprints of the left one, where it is long."""
    passages = texts.passages
    able = np.ones(len(left), dtype=np.bool_)
    prompts = np.flatnonzero(passages.is_prompt[left])
    own = _Grams.of(texts.own, is_prompt=True)
    number = np.searchsorted(texts.prompts, left[prompts])
    counts = np.diff(own.offsets)[number]
    long = counts * PROMPT_ONE_IN > LONG_PROMPT
    prompts, number, counts = prompts[long], number[long], counts[long]
    hits = _hits_in_texts(texts, own, number, right[prompts])
    able[prompts] = hits / np.maximum(1, counts) >= LEAST_SHARED
    # What two components share is in the index.
    answers = np.flatnonzero(~passages.is_prompt[left])
    whole = _Grams(index.grams, index.offsets)
    hits = _hits(whole, left[answers], whole, right[answers])
    counts = passages.counts[left[answers]]
    able[answers] = hits / np.maximum(1, counts) >= LEAST_SHARED
    return left[able], right[able]


def _hits_in_texts(texts: _OwnTexts, own: _Grams, left: Integers, right: Integers) -> Integers:
    """Count the fingerprints of left texts that whole passages have, which are read again.

    Where a template is left out, what stood before and behind it makes fingerprints that its own
    passage does not have.
    """
    hits = np.zeros(len(left), dtype=np.int64)
    for kind in (True, False):
        of_kind = np.flatnonzero(texts.passages.is_prompt[right] == kind)
        order = of_kind[np.argsort(right[of_kind], kind="stable")]
        wanted, place = np.unique(right[order], return_inverse=True)
        for start in range(0, len(wanted), _TEXTS_AT_A_TIME):
            some = wanted[start : start + _TEXTS_AT_A_TIME]
            pairs = slice(*np.searchsorted(place, [start, start + len(some)]))
            there = _Grams.of(texts.whole(some), kind)
            hits[order[pairs]] = _hits(own, left[order[pairs]], there, place[pairs] - start)
    return hits


def _hits(one: _Grams, left: Integers, other: _Grams, right: Integers) -> Integers:
    """Count the fingerprints of each left text that the right one has."""
    counts, others = np.diff(one.offsets)[left], np.diff(other.offsets)[right]
    hits = np.zeros(len(left), dtype=np.int64)
    for part in batches(counts + others, _GRAMS_AT_A_TIME):
        wanted, pair = one.listed(left[part])
        there, _ = other.listed(right[part])
        there.sort()
        same = np.append(there, _NOWHERE)[np.searchsorted(there, wanted)] == wanted
        hits[part] = np.bincount(pair[same], minlength=part.stop - part.start)
    return hits


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
