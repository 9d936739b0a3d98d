"""MinHash signatures and their bands: which pairs of texts are worth comparing.

A signature has one slot for each of :data:`SLOTS` random orders of all shingles; two texts agree in
a slot with the probability of their Jaccard similarity (Broder 1997). Slots are cut into bands, and
texts that agree in a whole band are candidates (Indyk and Motwani 1998; Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", chapter 3). Signatures come from rensa's R-MinHash and live
only as long as one search: another version of rensa gives others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from rensa import RMinHash

from ensemble.battles.shingles import batches, shingle_lists

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from ensemble.battles.shingles import Integers

    Signatures: TypeAlias = NDArray[np.uint32]

SLOTS = 128
"""Slots of a signature."""
BAND_RECALL = 0.999999
"""Least probability that a pair exactly at the threshold agrees in some band. The audit searches
anew with other orders: a pair that only one of the two searches finds fails an honest run."""
DEVIATIONS = 6.0
"""Standard deviations below the threshold at which a pair's agreement rules it out: at 0.8 one pair
at the threshold in 37 million, by the binomial distribution."""

SEED = 20_241_123
"""Of the random orders, where no other is asked for."""
_BATCH_BYTES = 1_000_000


@dataclass(frozen=True)
class Banding:
    """How a signature is cut into bands.

    Parameters
    ----------
    bands
        Number of bands.
    rows
        Slots in a band.
    """

    bands: int
    rows: int

    @classmethod
    def for_threshold(cls, threshold: float) -> Banding:
        """Take the longest bands (fewest candidates) that find a pair at ``threshold``.

        The probability is at least :data:`BAND_RECALL` from a threshold of 0.11 up.
        """
        choices = [cls(SLOTS // rows, rows) for rows in range(SLOTS, 0, -1)]
        reliable = (choice for choice in choices if choice.recall(threshold) >= BAND_RECALL)
        return next(reliable, choices[-1])

    def recall(self, similarity: float) -> float:
        """Probability that two texts of this Jaccard similarity agree in a band at least."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def least_agreement(threshold: float) -> float:
    """Share of equal slots below which a pair is taken to be under the threshold."""
    deviation = math.sqrt(threshold * (1 - threshold) / SLOTS)
    return threshold - DEVIATIONS * deviation


def signatures(texts: pl.Series, seed: int = SEED) -> Signatures:
    """Compute the signature of each text.

    Parameters
    ----------
    texts
        ``n`` normalized, non-empty texts.
    seed
        Of the random orders.

    Returns
    -------
    ndarray of uint32, shape (n, SLOTS)
        The same for the same text in every process.
    """
    found = np.empty((len(texts), SLOTS), dtype=np.uint32)
    sizes = texts.str.len_bytes().to_numpy().astype(np.int64)
    for batch in batches(sizes, _BATCH_BYTES):
        shingles, offsets = shingle_lists(texts[batch])
        digests = RMinHash.digest_matrix_from_flat_token_hashes(
            shingles, offsets.astype(np.uint64), SLOTS, seed
        )
        found[batch] = digests.to_rows()
    return found


def band_keys(signature: Signatures, banding: Banding) -> NDArray[np.uint32]:
    """Fold each band of each signature into one number.

    Parameters
    ----------
    signature
        Signatures, shape ``(n, SLOTS)``.
    banding
        How they are cut.

    Returns
    -------
    ndarray of uint32, shape (n, banding.bands)
        Texts that agree in a band have the same key there. Two others do in one case of four
        billion: a candidate too many, never one too few.
    """
    # Odd factors and the upper half of the sum: Dietzfelbinger's multiply-shift hashing.
    factors = np.random.default_rng(SEED).integers(1 << 63, size=banding.rows, dtype=np.uint64)
    keys = np.empty((len(signature), banding.bands), dtype=np.uint32)
    for band in range(banding.bands):
        part = signature[:, band * banding.rows : (band + 1) * banding.rows].astype(np.uint64)
        keys[:, band] = (part @ (2 * factors + 1)) >> np.uint64(32)
    return keys


def buckets(keys: NDArray[np.uint32]) -> tuple[Integers, Integers]:
    """Put texts with the same key next to each other.

    Parameters
    ----------
    keys
        Keys of one band, shape ``(n,)``.

    Returns
    -------
    members : ndarray of int64, shape (n,)
        Text numbers, bucket by bucket, ascending inside a bucket.
    limits : ndarray of int64, shape (n_buckets + 1,)
        Bucket ``i`` is ``members[limits[i]:limits[i + 1]]``.
    """
    members = np.argsort(keys, kind="stable")
    ordered = keys[members]
    changes = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return members, np.concatenate([[0], changes, [len(members)]]).astype(np.int64)


def agreement(keys: NDArray[Any], left: Integers, right: Integers) -> NDArray[np.uint64]:
    """Say in which columns pairs of rows are equal.

    Parameters
    ----------
    keys
        Any table of numbers with up to 128 columns, shape ``(n, k)``.
    left, right
        Row numbers, shape ``(m,)`` each.

    Returns
    -------
    ndarray of uint64, shape (m, 2)
        One bit a column: column ``i`` is bit ``63 - i % 64`` of word ``i // 64``.
    """
    equal = np.packbits(keys[left] == keys[right], axis=1)
    words = np.zeros((len(left), 16), dtype=np.uint8)
    words[:, : equal.shape[1]] = equal
    return words.view(">u8").astype(np.uint64)
