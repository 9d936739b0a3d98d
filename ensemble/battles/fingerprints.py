"""Fingerprints of passages: hashes of long runs of letters and digits, some of them.

A *gram* is any run of :data:`GRAM` bytes of a text's UTF-8 form once everything in ASCII that is no
letter and no digit has been left out, so that punctuation, spacing and markup do not count. Two
texts hardly share one by chance. A gram is kept where its hash is below a limit, so that the same
grams are kept wherever they stand (a text's, and those of a longer text that contains it), and a
lower limit keeps a part of what a higher one keeps (sampling by value: Manber, *Finding similar
files in a large file system*, USENIX 1994; FracMinHash in the words of today).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ensemble.battles.shingles import ranges

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from ensemble.battles.shingles import Integers, Shingles

GRAM = 12
"""Bytes in a gram: two to three words."""

_WORDS = np.zeros(256, dtype=np.bool_)
_WORDS[list(b"0123456789abcdefghijklmnopqrstuvwxyz")] = True
_WORDS[128:] = True
"""Bytes of letters and digits in a normalized text; those of other scripts are taken whole."""
_OTHERS = bytes(np.flatnonzero(~_WORDS).tolist())

_ODD = tuple(np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93))
PADDING = 16
"""Bytes of 0 behind the letters."""
_TEXTS_AT_A_TIME = 4_096
_BLOCK = 1 << 17
"""Letters that are looked at together: as many as a processor's cache holds."""


class Letters(NamedTuple):
    """The letters and digits of ``n`` texts, one behind the other.

    Parameters
    ----------
    content
        uint8, with 16 more bytes of 0 at the end.
    offsets
        ``(n + 1,)``: text ``i`` has ``content[offsets[i]:offsets[i + 1]]``.
    """

    content: NDArray[np.uint8]
    offsets: Integers


class Fingerprints(NamedTuple):
    """The kept grams of some texts, in the order in which they stand.

    Parameters
    ----------
    hashes
        ``(m,)`` uint64.
    text
        ``(m,)`` number of the text.
    start
        ``(m,)`` where the gram begins among the letters of all texts.
    """

    hashes: Shingles
    text: Integers
    start: Integers


def letters(texts: pl.Series) -> Letters:
    """Leave out what is no letter and no digit.

    Parameters
    ----------
    texts
        ``n`` normalized texts.
    """
    content = np.empty(int(texts.str.len_bytes().sum()) + PADDING, dtype=np.uint8)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    size = 0
    for start in range(0, len(texts), _TEXTS_AT_A_TIME):
        some = texts[start : start + _TEXTS_AT_A_TIME].to_list()
        parts = [text.encode().translate(None, _OTHERS) for text in some]
        offsets[start + 1 : start + 1 + len(parts)] = list(map(len, parts))
        found = np.frombuffer(b"".join(parts), dtype=np.uint8)
        content[size : size + len(found)] = found
        size += len(found)
    content[size : size + PADDING] = 0
    content.resize(size + PADDING, refcheck=False)
    np.cumsum(offsets, out=offsets)
    return Letters(content, offsets)


def places_of_letters(text: bytes) -> Integers:
    """Say which bytes of a text are letters and digits: ``(m,)``."""
    return np.flatnonzero(_WORDS[np.frombuffer(text, dtype=np.uint8)])


def fingerprints(found: Letters, one_in: int, *, ends: int = 0) -> Fingerprints:
    """Take a part of the grams of each text.

    Parameters
    ----------
    found
        What :func:`letters` gives.
    one_in
        About one gram in so many is kept.
    ends
        All grams that begin in so many letters at either end of a text are kept too.
    """
    kept = _sampled(found.content, one_in)
    if ends:
        sizes = np.diff(found.offsets)
        kept[ranges(found.offsets[:-1], np.minimum(sizes, ends))] = True
        last = np.maximum(found.offsets[:-1], found.offsets[1:] - GRAM + 1 - ends)
        kept[ranges(last, found.offsets[1:] - last)] = True
    start = np.flatnonzero(kept)
    counts = np.diff(np.searchsorted(start, found.offsets))
    text = np.repeat(np.arange(len(counts)), counts)
    inside = start + GRAM <= found.offsets[text + 1]
    start, text = start[inside], text[inside]
    return Fingerprints(gram_hashes(found.content, start), text, start)


def _sampled(content: NDArray[np.uint8], one_in: int) -> NDArray[np.bool_]:
    """Say of each letter whether the gram that it begins is kept, by the first bytes of it."""
    count = len(content) - PADDING
    kept = np.empty(count, dtype=np.bool_)
    limit = np.uint64((1 << 64) // one_in)
    for begin in range(0, count, _BLOCK):
        size = min(_BLOCK, count - begin)
        head = np.ndarray((size,), dtype="<u8", buffer=content, offset=begin, strides=(1,))
        np.less(head * _ODD[0], limit, out=kept[begin : begin + size])
    return kept


def gram_hashes(content: NDArray[np.uint8], start: Integers) -> Shingles:
    """Hash the grams that begin at some letters, by multiplying and shifting."""
    count = len(content) - PADDING + 1
    head = np.ndarray((count,), dtype="<u8", buffer=content, strides=(1,))[start]
    tail = np.ndarray((count,), dtype="<u4", buffer=content, offset=8, strides=(1,))[start]
    mixed: Shingles = head * _ODD[1]
    mixed ^= mixed >> np.uint64(29)
    mixed += tail * _ODD[2]
    mixed ^= mixed >> np.uint64(32)
    mixed *= _ODD[1]
    mixed ^= mixed >> np.uint64(31)
    return mixed
