"""Counts of hashed character and word n-grams, as sparse rows.

Hashing keeps no vocabulary in memory and is vectorized over whole chunks of texts, which makes
character n-grams several times faster than counting them in Python dictionaries. A text's counts
depend on nothing but the text.
"""

from __future__ import annotations

import re
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Tokens = NDArray[np.uint64]

BUCKET_BITS = 20
"""Hashed n-grams fall into ``2**BUCKET_BITS`` buckets a family."""

# Multiplicative hashing: odd 64-bit constants of high entropy (Knuth, TAOCP 6.4).
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)
_CHUNK_TOKENS = 2_000_000
_WORD = re.compile(r"\w+|[^\w\s]|\n")


def count_char_ngrams(texts: Sequence[str], lengths: tuple[int, int]) -> csr_array:
    """Count character n-grams, lower-cased, white space included.

    Parameters
    ----------
    texts
        ``n`` texts.
    lengths
        Least and greatest n.

    Returns
    -------
    csr_array
        ``(n, 2**BUCKET_BITS)`` float32 counts, indices sorted.
    """
    return _count([_code_points(text) for text in texts], lengths)


def count_word_ngrams(texts: Sequence[str], lengths: tuple[int, int]) -> csr_array:
    """Count n-grams of words, punctuation marks and line ends, as ``count_char_ngrams``."""
    return _count([_word_hashes(text) for text in texts], lengths)


def _code_points(text: str) -> Tokens:
    encoded = text.lower().encode("utf-32-le", "surrogatepass")
    return np.frombuffer(encoded, dtype="<u4").astype(np.uint64)


def _word_hashes(text: str) -> Tokens:
    words = _WORD.findall(text.lower())
    hashes = (zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words)
    return np.fromiter(hashes, dtype=np.uint64, count=len(words))


def _count(documents: list[Tokens], lengths: tuple[int, int]) -> csr_array:
    """Count n-grams of token sequences, chunk by chunk so that memory stays bounded."""
    from scipy.sparse import csr_array

    indices, counts, sizes = [], [], []
    for start, stop in _chunks([len(document) for document in documents]):
        keys, numbers = np.unique(_keys(documents[start:stop], lengths), return_counts=True)
        rows = keys >> np.uint64(BUCKET_BITS)
        indices.append((keys & np.uint64((1 << BUCKET_BITS) - 1)).astype(np.int32))
        counts.append(numbers.astype(np.float32))
        sizes.append(np.bincount(rows.astype(np.int64), minlength=stop - start))
    indptr = np.concatenate([[0], *sizes]).cumsum()
    shape = (len(documents), 1 << BUCKET_BITS)
    data = np.concatenate([np.empty(0, np.float32), *counts])
    return csr_array((data, np.concatenate([np.empty(0, np.int32), *indices]), indptr), shape=shape)


def _chunks(sizes: list[int]) -> list[tuple[int, int]]:
    """Cut a list of documents into ranges of about ``_CHUNK_TOKENS`` tokens."""
    part = np.cumsum(sizes, dtype=np.int64) // _CHUNK_TOKENS
    edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(sizes)]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def _keys(documents: list[Tokens], lengths: tuple[int, int]) -> Tokens:
    """Give (row, bucket) of every n-gram of a chunk, packed in one number."""
    tokens = np.concatenate(documents)
    sizes = np.array([len(document) for document in documents])
    row = np.repeat(np.arange(len(documents), dtype=np.uint64), sizes)
    # How many tokens a document still has from each position on: an n-gram must not cross its end.
    left = np.repeat(sizes.cumsum(), sizes) - np.arange(len(tokens))
    rolling = np.zeros(len(tokens), dtype=np.uint64)
    keys = []
    for n in range(1, lengths[1] + 1):
        whole = max(0, len(tokens) - n + 1)
        rolling = (rolling[:whole] + tokens[n - 1 :] + np.uint64(n)) * _STEP
        if n >= lengths[0]:
            inside = left[:whole] >= n
            bucket = _buckets(rolling[inside])
            keys.append(row[:whole][inside] << np.uint64(BUCKET_BITS) | bucket)
    return np.concatenate(keys)


def _buckets(rolling: Tokens) -> Tokens:
    mixed = (rolling ^ (rolling >> _SHIFT)) * _MIX
    return mixed >> np.uint64(64 - BUCKET_BITS)
