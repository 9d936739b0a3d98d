"""Texts with what is compared of them to find templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ensemble.battles.fingerprints import PADDING, Fingerprints, Letters, fingerprints, letters
from ensemble.battles.shingles import batches

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

ONE_IN = 6
ENDS = 32
"""Letters at either end of a text where every gram is looked at: short templates stand there."""
_LETTERS_AT_A_TIME = 1 << 20


class Looked(NamedTuple):
    """Texts and their letters.

    Parameters
    ----------
    texts
        ``n`` normalized texts.
    letters
        Theirs.
    """

    texts: pl.Series
    letters: Letters

    @classmethod
    def at(cls, texts: pl.Series) -> Looked:
        """Look at texts."""
        return cls(texts, letters(texts))

    @property
    def most_grams(self) -> int:
        """About how many grams there are, and not many fewer."""
        return len(self.letters.content) // ONE_IN + 2 * ENDS * len(self.texts)

    def grams(self) -> Iterator[Fingerprints]:
        """Take some grams of all texts, some texts at a time: they are larger than the letters."""
        content, offsets = self.letters
        for part in batches(np.diff(offsets), _LETTERS_AT_A_TIME):
            first, stop = offsets[part.start], offsets[part.stop]
            some = Letters(
                content[first : stop + PADDING], offsets[part.start : part.stop + 1] - first
            )
            found = fingerprints(some, ONE_IN, ends=ENDS)
            yield Fingerprints(found.hashes, found.text + part.start, found.start + first)
