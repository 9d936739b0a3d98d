"""Texts as sets of short byte strings, and the exact Jaccard similarity of such sets.

A shingle is every run of :data:`WIDTH` bytes of a text's UTF-8 form. Five bytes are five Latin
letters, two to three Cyrillic or Greek ones, or most of two Chinese characters, which say about as
much. No tokenizer has to know the script, a prompt of one line still has dozens of shingles, and an
edit of one letter costs at most five of them. A shingle is *packed* into an integer, not hashed, so
a similarity computed from these sets is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl
    from numpy.typing import NDArray

    Integers: TypeAlias = NDArray[np.int64]
    Shingles: TypeAlias = NDArray[np.uint64]

WIDTH = 5
"""Bytes in a shingle. 5 bytes (40 bits) leave 24 bits beside them for the number of a text."""

_BITS = np.uint64(8 * WIDTH)
_MASK = np.uint64((1 << 8 * WIDTH) - 1)


def batches(sizes: Integers, budget: int) -> Iterator[slice]:
    """Cut a row of items into runs whose sizes sum to about ``budget``, at least one item each.

    Parameters
    ----------
    sizes
        Size of each item, shape ``(n,)``.
    budget
        A run ends before it would exceed this, unless it would be empty.
    """
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start] - sizes[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + budget, side="right")))
        yield slice(start, stop)
        start = stop


def ranges(starts: Integers, lengths: Integers) -> Integers:
    """Concatenate ``arange(start, start + length)`` for every start and length."""
    before = np.cumsum(lengths) - lengths
    steps = np.arange(lengths.sum(), dtype=np.int64)
    return np.asarray(steps + np.repeat(starts - before, lengths), dtype=np.int64)


def shingle_lists(texts: pl.Series) -> tuple[Shingles, Integers]:
    """Take the shingles of each text in order, repeats included.

    Parameters
    ----------
    texts
        ``n`` normalized, non-empty texts. One of fewer than :data:`WIDTH` characters is filled up
        with NUL, which no normalized text contains.

    Returns
    -------
    shingles : ndarray of uint64, shape (m,)
        Those of the first text, then those of the second, and so on.
    offsets : ndarray of int64, shape (n + 1,)
        Text ``i`` has ``shingles[offsets[i]:offsets[i + 1]]``.
    """
    filled = texts.str.pad_end(WIDTH, "\0")
    ends = np.cumsum(filled.str.len_bytes().to_numpy().astype(np.int64))
    content = "".join(filled.to_list()).encode() + bytes(8)
    windows = np.ndarray((len(content) - 8,), dtype="<u8", buffer=content, strides=(1,))
    inside = np.ones(len(windows), dtype=np.bool_)
    for back in range(1, WIDTH):
        inside[ends - back] = False
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    offsets[1:] = ends - (WIDTH - 1) * np.arange(1, len(texts) + 1)
    return windows[inside] & _MASK, offsets


def shingle_sets(texts: pl.Series) -> csr_array:
    """Take the set of shingles of each text.

    Parameters
    ----------
    texts
        ``n`` normalized, non-empty texts, fewer than 2**24.

    Returns
    -------
    csr_array of int8, shape (n, 2**40)
        1 where the text (row) has the shingle (column). Rows are sorted and free of repeats.
    """
    shingles, offsets = shingle_lists(texts)
    text_of = np.repeat(np.arange(len(texts), dtype=np.uint64), np.diff(offsets))
    packed = np.sort((text_of << _BITS) | shingles)
    new = np.ones(len(packed), dtype=np.bool_)
    new[1:] = packed[1:] != packed[:-1]
    packed = packed[new]
    limits = np.arange(len(texts) + 1, dtype=np.uint64) << _BITS
    columns = (packed & _MASK).astype(np.int64)
    ones = np.ones(len(packed), dtype=np.int8)
    rows = np.searchsorted(packed, limits)
    return csr_array((ones, columns, rows), shape=(len(texts), 1 << 8 * WIDTH))
