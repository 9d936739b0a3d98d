"""How much of one text stands in another, letter by letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.fingerprints import letters
from ensemble.battles.shingles import batches, ranges
from ensemble.processes import available_cores

if TYPE_CHECKING:
    import polars as pl

    from ensemble.battles.fingerprints import Letters
    from ensemble.battles.shingles import Integers, Shingles
    from ensemble.plugin.base import FloatArray

RUNS = ((0, 8), (64, 16), (160, 32))
"""How many letters and digits in a row both texts must have for any of them to count: for texts of
so many letters and more. A long text that is made of stock phrases has them in another order."""

LONGEST_ALIGNED = 400
"""Characters of a text up to which it is aligned: few of a long text's runs have a wrong letter."""

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_WORD = 8
_NOWHERE = np.uint64((1 << 64) - 1)
_LETTERS_AT_A_TIME = 4_000_000


def coverage(texts: pl.Series, left: Integers, right: Integers) -> FloatArray:
    """Compute the share of one text's letters and digits that another has in the same runs.

    Parameters
    ----------
    texts
        Normalized texts.
    left, right
        ``(m,)`` numbers in ``texts``.

    Returns
    -------
    FloatArray
        ``(m,)``: of the letters and digits of ``left``, those that lie in a run (:data:`RUNS`) that
        ``right`` has too. Bytes of other scripts are letters.
    """
    found = letters(texts)
    sizes = np.diff(found.offsets)
    width = np.array([run for _, run in RUNS])[
        np.searchsorted([size for size, _ in RUNS], sizes[left], side="right") - 1
    ]
    share = np.zeros(len(left))
    for run in np.unique(width).tolist():
        alike = np.flatnonzero(width == run)
        for part in batches((sizes[left] + sizes[right])[alike], _LETTERS_AT_A_TIME):
            pair = alike[part]
            share[pair] = _covered(found, left[pair], right[pair], run)
    return share / np.maximum(1, sizes[left])


def alignment(texts: pl.Series, left: Integers, right: Integers) -> FloatArray:
    """Compare a text with the part of another that is most like it, wrong letters and all.

    Parameters
    ----------
    texts
        Normalized texts.
    left, right
        ``(m,)`` numbers in ``texts``.

    Returns
    -------
    FloatArray
        ``(m,)``: 1 minus insertions and deletions over the length of both; a wrong letter is one of
        either. 0 where ``left`` has more than :data:`LONGEST_ALIGNED` characters.
    """
    from rapidfuzz.fuzz import partial_ratio
    from rapidfuzz.process import cpdist

    found = np.zeros(len(left))
    place = np.flatnonzero(texts.str.len_chars().to_numpy()[left] <= LONGEST_ALIGNED)
    if len(place):
        one, other = texts.gather(left[place]).to_list(), texts.gather(right[place]).to_list()
        found[place] = cpdist(one, other, scorer=partial_ratio, workers=available_cores()) / 100
    return found


def _covered(found: Letters, left: Integers, right: Integers, run: int) -> Integers:
    """Count the letters of ``left`` that lie in a run that ``right`` has too."""
    own, pair, place = _runs(found, left, run)
    theirs, other, _ = _runs(found, right, run)
    known = np.append(np.sort(_packed(theirs, other)), _NOWHERE)
    wanted = _packed(own, pair)
    there = known[np.searchsorted(known, wanted)] == wanted
    first, pair = place[there], pair[there]
    # Runs overlap: each adds what reaches beyond the one before it.
    new = np.full(len(first), run, dtype=np.int64)
    same = pair[1:] == pair[:-1]
    new[1:][same] = np.minimum(run, np.diff(first)[same])
    return np.bincount(pair, weights=new, minlength=len(left)).astype(np.int64)


def _runs(found: Letters, texts: Integers, run: int) -> tuple[Shingles, Integers, Integers]:
    """Hash every run of some texts, with which text it is of and where it begins."""
    counts = np.maximum(0, np.diff(found.offsets)[texts] - run + 1)
    place = ranges(found.offsets[texts], counts)
    content = np.ndarray((len(found.content) - 8,), "<u8", found.content, strides=(1,))
    hashes: Shingles = content[place] * _SPREAD
    for further in range(_WORD, run, _WORD):
        hashes ^= hashes >> np.uint64(31)
        hashes = (hashes + content[place + further]) * _SPREAD
    return hashes, np.repeat(np.arange(len(texts)), counts), place


def _packed(runs: Shingles, pair: Integers) -> Shingles:
    """Keep 40 bits of a run's hash, with the number of its pair above them."""
    return (pair.astype(np.uint64) << np.uint64(40)) | (runs >> np.uint64(24))
