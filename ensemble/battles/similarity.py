"""The exact Jaccard similarity of pairs of shingle sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.shingles import batches

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from ensemble.battles.shingles import Integers

    Counter = Callable[[Integers, Integers], Integers]

_NUMBERS_AT_A_TIME = 4_000_000
_LARGEST_TABLE = 1 << 26


def jaccard(sets: csr_array, left: Integers, right: Integers) -> NDArray[np.float64]:
    """Compute the exact Jaccard similarity of pairs of rows.

    Parameters
    ----------
    sets
        What :func:`ensemble.battles.shingles.shingle_sets` returns.
    left, right
        Row numbers, shape ``(m,)`` each, ``left[i] != right[i]``.

    Returns
    -------
    ndarray of float64, shape (m,)
        Size of the intersection over size of the union, in [0, 1].
    """
    sizes = np.diff(sets.indptr).astype(np.int64)
    count, cost = _counter(sets, sizes, len(left))
    common = np.empty(len(left), dtype=np.int64)
    for batch in batches(cost[left] + cost[right], _NUMBERS_AT_A_TIME):
        common[batch] = count(left[batch], right[batch])
    return np.asarray(common / (sizes[left] + sizes[right] - common), dtype=np.float64)


def _counter(sets: csr_array, sizes: Integers, n_pairs: int) -> tuple[Counter, Integers]:
    """Choose how to count common shingles; also say how many numbers a row costs to read.

    Rows that meet many others and have much in common, as texts of one template have, are worth
    turning into bits: a pair then takes some dozens of words instead of a merge of two lists.
    """
    if n_pairs >= 2 * len(sizes):
        bits = _as_bits(sets, sizes)
        if bits is not None:
            return _bit_counter(bits), np.full(len(sizes), bits.shape[1], dtype=np.int64)
    return _merge_counter(sets), sizes


def _merge_counter(sets: csr_array) -> Counter:
    # The product has an entry for each common shingle. Its values are of no interest.
    return lambda left, right: np.diff(sets[left].multiply(sets[right]).tocsr().indptr)


def _bit_counter(bits: NDArray[np.uint64]) -> Counter:
    return lambda left, right: np.bitwise_count(bits[left] & bits[right]).sum(
        axis=1, dtype=np.int64
    )


def _as_bits(sets: csr_array, sizes: Integers) -> NDArray[np.uint64] | None:
    """Give each shingle that two rows or more have a bit; None where the table would be large."""
    _, column, uses = np.unique(sets.indices, return_inverse=True, return_counts=True)
    useful = uses > 1
    width = 64 * (1 + int(useful.sum()) // 64)
    if len(sizes) * width > _LARGEST_TABLE:
        return None
    row = np.repeat(np.arange(len(sizes)), sizes)
    keep = useful[column]
    table = np.zeros((len(sizes), width), dtype=np.bool_)
    table[row[keep], (np.cumsum(useful) - 1)[column[keep]]] = True
    return np.packbits(table, axis=1).view(np.uint64)
