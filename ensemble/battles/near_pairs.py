"""Pairs of texts at or above a Jaccard threshold, enough of them to connect all that connect.

The signatures propose, the shingle sets decide: no pair is returned that has not been compared
exactly. A thousand texts made from one template have half a million similar pairs, of which 999
connect them, so a pair is compared only while its two texts are in different components. That
skips work, never a connection: every candidate pair ends up either compared or already connected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.minhash import (
    SEED,
    SLOTS,
    Banding,
    agreement,
    band_keys,
    buckets,
    least_agreement,
    signatures,
)
from ensemble.battles.partition import Partition
from ensemble.battles.shingles import ranges, shingle_sets
from ensemble.battles.similarity import jaccard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ensemble.battles.shingles import Integers

# What is in memory at one time: pairs of a round, pairs whose signatures are side by side (1 kB
# each), and shingles of texts that are compared.
_PAIR_BATCH = 1 << 18
_SIGNATURE_BATCH = 1 << 16
_SHINGLE_BATCH = 8_000_000


def near_pairs(texts: pl.Series, threshold: float, *, seed: int = SEED) -> pl.DataFrame:
    """Find pairs of texts whose shingle sets have a Jaccard similarity of ``threshold`` or more.

    Parameters
    ----------
    texts
        ``n`` different, normalized, non-empty texts.
    threshold
        Least similarity, in (0, 1].
    seed
        Of the signatures that propose candidates.

    Returns
    -------
    pl.DataFrame
        ``left`` and ``right`` (Int64, numbers in ``texts``, left < right) and ``jaccard``
        (Float64, exact), in ascending order. Connecting these pairs gives the components that
        connecting every pair of candidates at or above the threshold would give; candidates
        include such a pair with a probability of at least 0.999999.
    """
    search = _Search(texts, threshold, seed)
    found = [part for band in range(search.banding.bands) for part in search.in_band(band)]
    schema = {"left": pl.Int64, "right": pl.Int64, "jaccard": pl.Float64}
    return pl.concat([pl.DataFrame(schema=schema), *found]).sort("left", "right")


class _Search:
    def __init__(self, texts: pl.Series, threshold: float, seed: int) -> None:
        self.texts = texts
        self.threshold = threshold
        self.sizes: Integers = texts.str.len_bytes().to_numpy().astype(np.int64)
        self.banding = Banding.for_threshold(threshold)
        self.signatures = signatures(texts, seed)
        self.keys = band_keys(self.signatures, self.banding)
        self.parts = Partition(len(texts))

    def in_band(self, band: int) -> Iterator[pl.DataFrame]:
        """Compare the candidates of one band, connecting those that are similar."""
        for left, right in _Tournament(*buckets(self.keys[:, band]), self.parts):
            keep = self._worth_comparing(left, right, band)
            found = self._similar(left[keep], right[keep])
            if len(found):
                self.parts.merge(found["left"].to_numpy(), found["right"].to_numpy())
                yield found

    def _worth_comparing(self, left: Integers, right: Integers, band: int) -> Integers:
        """Pick the pairs that no earlier band has settled and that can reach the threshold."""
        kept = [np.empty(0, dtype=np.int64)]
        for start in range(0, len(left), _SIGNATURE_BATCH):
            batch = slice(start, start + _SIGNATURE_BATCH)
            new = np.flatnonzero(self._first_agrees_in(band, left[batch], right[batch])) + start
            kept.append(new[self._likely(left[new], right[new])])
        return np.concatenate(kept)

    def _first_agrees_in(self, band: int, left: Integers, right: Integers) -> NDArray[np.bool_]:
        # A pair that agrees in an earlier band was settled there: compared, or found connected.
        word, bit = divmod(band, 64)
        agrees = agreement(self.keys, left, right)
        earlier = agrees[:, :word].any(axis=1)
        return np.asarray(~earlier & (agrees[:, word] >> np.uint64(63 - bit) == 1), dtype=np.bool_)

    def _likely(self, left: Integers, right: Integers) -> NDArray[np.bool_]:
        equal = np.bitwise_count(agreement(self.signatures, left, right)).sum(axis=1)
        return np.asarray(equal >= least_agreement(self.threshold) * SLOTS, dtype=np.bool_)

    def _similar(self, left: Integers, right: Integers) -> pl.DataFrame:
        similarity = self._jaccard(left, right)
        keep = similarity >= self.threshold
        return pl.DataFrame({"left": left[keep], "right": right[keep], "jaccard": similarity[keep]})

    def _jaccard(self, left: Integers, right: Integers) -> NDArray[np.float64]:
        """Compare exactly, in halves where the texts concerned are too much for the memory."""
        wanted, place = np.unique(np.concatenate([left, right]), return_inverse=True)
        half = len(left) // 2
        if half and self.sizes[wanted].sum() > _SHINGLE_BATCH:
            parts = (
                self._jaccard(left[:half], right[:half]),
                self._jaccard(left[half:], right[half:]),
            )
            return np.concatenate(parts)
        return jaccard(shingle_sets(self.texts[wanted]), place[: len(left)], place[len(left) :])


class _Tournament:
    """Pairs inside buckets, in rounds; between rounds the caller connects what is similar.

    In a round the next members of each bucket meet every later member of another component. The
    first round has one such member, which settles a bucket of one template. Rounds then double in
    width, so that a large bucket of unlike texts does not take one round a member. A bucket
    whose members are all connected drops out.
    """

    def __init__(self, members: Integers, limits: Integers, parts: Partition) -> None:
        self.members, self.parts = members, parts
        self.starts, self.sizes = limits[:-1], np.diff(limits)

    def __iter__(self) -> Iterator[tuple[Integers, Integers]]:
        done, width = 0, 1
        while self._drop_settled(done):
            affordable = max(1, _PAIR_BATCH // int(self.sizes.sum()))
            stop = done + min(width, affordable)
            yield self._round(done, stop)
            done, width = stop, 2 * width

    def _drop_settled(self, done: int) -> int:
        """Keep the buckets that have unconnected pairs to come; say how many there are."""
        open_ = self.sizes > done + 1
        self.starts, self.sizes = self.starts[open_], self.sizes[open_]
        if len(self.starts):
            labels = self.parts.labels[self.members[ranges(self.starts, self.sizes)]]
            inner = np.cumsum(self.sizes) - self.sizes
            lowest = np.minimum.reduceat(labels, inner)
            mixed = lowest != np.maximum.reduceat(labels, inner)
            self.starts, self.sizes = self.starts[mixed], self.sizes[mixed]
        return len(self.starts)

    def _round(self, done: int, stop: int) -> tuple[Integers, Integers]:
        ends = self.starts + self.sizes
        pivots = np.minimum(self.sizes - 1, stop) - done
        place = ranges(self.starts + done, pivots)
        later = np.repeat(ends, pivots) - place - 1
        left = self.members[np.repeat(place, later)]
        right = self.members[ranges(place + 1, later)]
        apart = self.parts.labels[left] != self.parts.labels[right]
        return left[apart], right[apart]
