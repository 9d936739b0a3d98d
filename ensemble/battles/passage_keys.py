"""The fingerprints of all passages, in as little memory as they take.

A key is a fingerprint (40 bits) and the number of the passage that has it (24). There are about as
many bytes of keys as of text, so that they are never held twice: they are gathered part by part,
and then sorted, thinned out and rewritten in place, a block at a time.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ensemble.memory import release_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ensemble.battles.shingles import Integers, Shingles

NUMBER_BITS = 24
"""A fingerprint and the number of its passage share 64 bits."""
NUMBER = np.uint64((1 << NUMBER_BITS) - 1)
_FREED_TOGETHER = 1 << 22
BLOCK = 1 << 20
"""Keys that are looked at together."""


def with_numbers(hashes: Shingles, numbers: Integers) -> Shingles:
    """Make keys of hashes (their upper bits) and the numbers of passages: ``(m,)`` each."""
    return (hashes & ~NUMBER) | numbers.astype(np.uint64)


def numbers_of(keys: Shingles) -> Integers:
    """Give the number of the passage of each key."""
    return (keys & NUMBER).astype(np.int64)


def gathered(parts: list[Shingles], renumbered: list[Integers]) -> Shingles:
    """Put the keys of several parts into one array, ascending and each once.

    Parameters
    ----------
    parts
        Keys, which number the passages of their part from 0. The list is emptied, so that what has
        been taken is freed.
    renumbered
        For each part the numbers of its passages among all; -1 leaves the keys of one out.
    """
    for place, new in enumerate(renumbered):
        number = new[numbers_of(parts[place])]
        kept = number >= 0
        parts[place] = with_numbers(parts[place][kept], number[kept])
    keys = in_one(parts)
    keys.sort()
    keys.resize(_each_once(keys), refcheck=False)
    return keys


def in_one(parts: list[Shingles]) -> Shingles:
    """Put arrays behind each other; the list is emptied, and what has been taken is freed."""
    joined = np.empty(sum(map(len, parts)), dtype=np.uint64)
    end, freed = len(joined), 0
    while parts:
        part = parts.pop()
        joined[end - len(part) : end] = part
        end, freed = end - len(part), freed + len(part)
        if freed > _FREED_TOGETHER:
            release_memory()
            freed = 0
    return joined


def _each_once(keys: Shingles) -> int:
    """Move the first of equal keys to the front; gives how many there are."""
    kept = 0
    for start in range(0, len(keys), BLOCK):
        block = keys[start : start + BLOCK]
        new = np.append(kept == 0 or block[0] != keys[kept - 1], block[1:] != block[:-1])
        block = block[new]
        keys[kept : kept + len(block)] = block
        kept += len(block)
    return kept


def blocks(keys: Shingles) -> Iterator[Shingles]:
    """Cut ascending keys into blocks; a block begins where a fingerprint does."""
    starts = range(BLOCK, len(keys), BLOCK)
    edges = [0, *(int(np.searchsorted(keys, keys[at] & ~NUMBER)) for at in starts), len(keys)]
    for first, stop in pairwise(edges):
        yield keys[first:stop]


def count_keys(keys: Shingles, passages: int) -> Integers:
    """Count the fingerprints of each passage: ``(passages,)``."""
    counts = np.zeros(passages, dtype=np.int64)
    for start in range(0, len(keys), BLOCK):
        counts += np.bincount(numbers_of(keys[start : start + BLOCK]), minlength=passages)
    return counts


def as_rows(packed: Shingles, rows: int) -> tuple[NDArray[np.int32], Integers]:
    """Sort numbers of rows (24 bits) with numbers of columns (40) by row, and keep the columns.

    Parameters
    ----------
    packed
        ``(m,)``; rewritten in place, and not to be used afterwards. Columns are below 2**31.
    rows
        How many there are.

    Returns
    -------
    columns : ndarray of int32, shape (m,)
        Row by row, ascending in each: what ``packed`` is made into.
    offsets : ndarray of int64, shape (rows + 1,)
        Row ``i`` has ``columns[offsets[i]:offsets[i + 1]]``.
    """
    packed.sort()
    limits = np.arange(rows + 1, dtype=np.uint64) << np.uint64(64 - NUMBER_BITS)
    offsets = np.searchsorted(packed, limits).astype(np.int64)
    size = len(packed)
    columns = packed.view(np.int32)
    for start in range(0, size, BLOCK):
        stop = min(size, start + BLOCK)
        columns[start:stop] = packed[start:stop].astype(np.int32)
    del columns
    packed.resize((size + 1) // 2, refcheck=False)
    return packed.view(np.int32)[:size], offsets
