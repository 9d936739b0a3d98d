from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from ensemble.battles import minhash
from ensemble.battles.minhash import (
    BAND_RECALL,
    SLOTS,
    Banding,
    agreement,
    band_keys,
    buckets,
    least_agreement,
    signatures,
)
from ensemble.battles.shingles import shingle_sets
from ensemble.battles.similarity import jaccard


@given(st.floats(0.11, 1.0))
def test_banding_is_the_longest_reliable_one(threshold: float) -> None:
    banding = Banding.for_threshold(threshold)
    assert banding.bands * banding.rows <= SLOTS
    assert banding.recall(threshold) >= BAND_RECALL
    longer = Banding(SLOTS // (banding.rows + 1) or 1, banding.rows + 1)
    assert banding.rows == SLOTS or longer.recall(threshold) < BAND_RECALL


def test_banding_of_the_default_threshold() -> None:
    assert Banding.for_threshold(0.8) == Banding(bands=32, rows=4)
    assert Banding.for_threshold(1.0) == Banding(bands=1, rows=SLOTS)
    assert least_agreement(0.8) == pytest.approx(0.5879, abs=1e-4)


@pytest.mark.parametrize(
    ("threshold", "misses"), [(0.5, 1e-6), (0.7, 1e-6), (0.8, 1e-7), (0.9, 1e-6), (0.97, 1e-5)]
)
def test_a_pair_at_the_threshold_is_hardly_ever_missed(threshold: float, misses: float) -> None:
    """Two searches miss different pairs: among many rows a likely miss fails an honest audit."""
    too_few = math.ceil(least_agreement(threshold) * SLOTS) - 1
    ruled_out = binom.cdf(too_few, SLOTS, threshold)
    assert 1 - Banding.for_threshold(threshold).recall(threshold) + ruled_out < misses


def test_signatures_estimate_the_similarity() -> None:
    rng = np.random.default_rng(5)
    words = np.array([f"word{number}" for number in range(400)])
    base = rng.choice(words, 60)
    texts = [" ".join([*base[cut:], *rng.choice(words, cut)]) for cut in range(40)]
    found = signatures(pl.Series(texts))
    left, right = np.triu_indices(len(texts), 1)
    exact = jaccard(shingle_sets(pl.Series(texts)), left, right)
    error = (found[left] == found[right]).mean(axis=1) - exact
    assert abs(error.mean()) < 0.02
    assert np.abs(error).max() < 0.25


def test_signatures_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pl.Series(["a", "some text", "漢字", "some other text"] * 3)
    whole = signatures(texts)
    monkeypatch.setattr(minhash, "_BATCH_BYTES", 10)
    np.testing.assert_array_equal(signatures(texts), whole)
    np.testing.assert_array_equal(whole[:4], whole[4:8])


def test_bands_that_agree_share_a_bucket() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(2, size=(200, SLOTS), dtype=np.uint32)
    banding = Banding(bands=42, rows=3)
    keys = band_keys(table, banding)
    members, limits = buckets(keys[:, 41])
    found = [members[a:b].tolist() for a, b in pairwise(limits)]
    alike: dict[bytes, list[int]] = {}
    for row, slots in enumerate(table[:, 123:126]):
        alike.setdefault(slots.tobytes(), []).append(row)
    assert sorted(found) == sorted(alike.values())


@given(st.integers(1, 128), st.integers(0, 99))
def test_agreement_has_a_bit_for_each_column(columns: int, seed: int) -> None:
    table = np.random.default_rng(seed).integers(2, size=(2, columns))
    words = agreement(table, np.array([0]), np.array([1]))[0]
    bits = [bool(int(words[at // 64]) >> (63 - at % 64) & 1) for at in range(128)]
    assert bits[:columns] == (table[0] == table[1]).tolist()
    assert not any(bits[columns:])
