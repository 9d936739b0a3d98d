"""Passages that contain most of another passage, whatever stands around it.

Two passages say the same where one of them is told again in the other. Which are worth comparing is
told by what few passages have (``gram_index``); each such pair is then compared letter by letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from ensemble.battles.coverage import alignment, coverage
from ensemble.battles.fingerprints import fingerprints, letters
from ensemble.battles.gram_index import LONG_PROMPT, GramIndex
from ensemble.battles.partition import Partition
from ensemble.battles.passages import NUMBER_BITS, PROMPT_ONE_IN
from ensemble.battles.shingles import batches, ranges
from ensemble.battles.templates import Looked

if TYPE_CHECKING:
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
    left, right = GramIndex.of(passages, components).candidates()
    own = _OwnTexts.of(battles, passages, templates, left)
    left, right = _that_share(own, left, right)
    sizes = passages.letters
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

    values: Shingles
    offsets: Integers

    def listed(self, wanted: Integers) -> tuple[Shingles, Integers]:
        """List those of some texts, each under its text's place in the list, and these places."""
        counts = np.diff(self.offsets)[wanted]
        place = np.repeat(np.arange(len(wanted)), counts)
        values = self.values[ranges(self.offsets[wanted], counts)]
        return (place.astype(np.uint64) << _PAIR_BITS) | values, place


def _that_share(texts: _OwnTexts, left: Integers, right: Integers) -> tuple[Integers, Integers]:
    """Keep the pairs that share most of the fingerprints of the left one, where it is long."""
    passages = texts.passages
    wanted = np.zeros(len(passages), dtype=np.bool_)
    wanted[left] = wanted[right] = True
    whole = _Grams(*passages.fingerprints_of(wanted))
    found = fingerprints(letters(texts.own), PROMPT_ONE_IN)
    ends = np.searchsorted(found.text, np.arange(len(texts.own) + 1))
    own = _Grams(found.hashes >> np.uint64(NUMBER_BITS), ends)
    prompts = np.flatnonzero(passages.is_prompt[left])
    number = np.searchsorted(texts.prompts, left[prompts])
    long = np.diff(ends)[number] * PROMPT_ONE_IN > LONG_PROMPT
    prompts, number = prompts[long], number[long]
    answers = np.flatnonzero(~passages.is_prompt[left])
    able = np.ones(len(left), dtype=np.bool_)
    able[prompts] = _share(own, number, whole, right[prompts]) >= LEAST_SHARED
    able[answers] = _share(whole, left[answers], whole, right[answers]) >= LEAST_SHARED
    return left[able], right[able]


def _share(one: _Grams, left: Integers, other: _Grams, right: Integers) -> FloatArray:
    """Give the share of each left text's fingerprints that the right one has."""
    counts, others = np.diff(one.offsets)[left], np.diff(other.offsets)[right]
    hits = np.zeros(len(left), dtype=np.int64)
    for part in batches(counts + others, _GRAMS_AT_A_TIME):
        wanted, pair = one.listed(left[part])
        there, _ = other.listed(right[part])  # ascending, as those of a passage are
        same = np.append(there, _NOWHERE)[np.searchsorted(there, wanted)] == wanted
        hits[part] = np.bincount(pair[same], minlength=part.stop - part.start)
    return np.asarray(hits / np.maximum(1, counts))


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
