"""What the prompts of a cluster have in common: often the template that made the cluster large."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST_TEXTS = 8
"""Different texts from which something that they share is a template, and no coincidence."""
SHARE = 0.8
"""So many of them have it."""
LEAST_CHARACTERS = 40

_GRAM = 16
_MOST_TEXTS = 100
_MOST_CHARACTERS = 8_000


def shared_text(texts: Sequence[str]) -> str | None:
    """Find the longest piece of text that most of some texts share.

    Parameters
    ----------
    texts
        Any number; each different one counts once, and of many some.

    Returns
    -------
    str or None
        A piece of at least :data:`LEAST_CHARACTERS` characters, white space as single spaces, each
        run of 16 characters of which stands in :data:`SHARE` of the texts; None where there is
        none, or fewer than :data:`FEWEST_TEXTS` different texts.
    """
    different = list(dict.fromkeys(" ".join(text[:_MOST_CHARACTERS].split()) for text in texts))
    if len(different) < FEWEST_TEXTS:
        return None
    places = np.linspace(0, len(different) - 1, min(len(different), _MOST_TEXTS)).astype(int)
    chosen = [different[place] for place in places]
    counts = Counter(gram for text in chosen for gram in set(_grams(text)))
    usual = {gram for gram, count in counts.items() if count >= SHARE * len(chosen)}
    longest = max((_longest_run(text, usual) for text in chosen), key=len)
    return longest if len(longest) >= LEAST_CHARACTERS else None


def _grams(text: str) -> list[str]:
    return [text[at : at + _GRAM] for at in range(len(text) - _GRAM + 1)]


def _longest_run(text: str, usual: set[str]) -> str:
    """Give the longest piece of a text all of whose grams are usual."""
    best, begin = (0, 0), None
    for at, gram in enumerate([*_grams(text), None]):
        if gram in usual:
            begin = at if begin is None else begin
            continue
        if begin is not None:
            best = max(best, (begin, at - 1 + _GRAM), key=lambda run: run[1] - run[0])
        begin = None
    return text[best[0] : best[1]].strip()
