from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from ensemble.battles import near_pairs as module
from ensemble.battles.near_pairs import near_pairs
from ensemble.battles.partition import Partition
from ensemble.battles.shingles import shingle_sets
from ensemble.battles.similarity import jaccard

WORDS = [f"{first}{last}" for first in ("am", "but", "漢", "ещё", "é") for last in "enort"]


def similarities(texts: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    left, right = np.triu_indices(len(texts), 1)
    return left, right, jaccard(shingle_sets(texts), left, right)


def labels_at(texts: pl.Series, threshold: float) -> np.ndarray:
    left, right, exact = similarities(texts)
    parts = Partition(len(texts))
    parts.merge(left[exact >= threshold], right[exact >= threshold])
    return parts.labels


def labels_of(texts: pl.Series, pairs: pl.DataFrame) -> np.ndarray:
    parts = Partition(len(texts))
    parts.merge(pairs["left"].to_numpy(), pairs["right"].to_numpy())
    return parts.labels


def variants(seed: int, count: int) -> pl.Series:
    """Texts about a few bases, with so many edits that similarities lie all over the scale."""
    rng = np.random.default_rng(seed)
    bases = [rng.choice(WORDS, rng.integers(3, 60)) for _ in range(4)]
    texts: dict[str, None] = {}
    while len(texts) < count:
        words = bases[rng.integers(4)].copy()
        edits = rng.integers(0, 6)
        words[rng.integers(len(words), size=edits)] = rng.choice(WORDS, edits)
        texts[" ".join([*words, str(len(texts))[: rng.integers(3)]])] = None
    return pl.Series(list(texts))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.7, 0.8, 0.9]))
def test_same_components_as_all_pairs(seed: int, threshold: float) -> None:
    texts = variants(seed, 50)
    pairs = near_pairs(texts, threshold)
    labels = labels_of(texts, pairs)
    # Never a connection too many; none too few, but for pairs exactly at the threshold, where
    # one in ten thousand may be missed.
    at_threshold = Partition(len(texts))
    at_threshold.labels = labels_at(texts, threshold)
    surely = labels_at(texts, min(1.0, threshold + 0.02))
    assert all(len(set(at_threshold.labels[labels == label])) == 1 for label in set(labels))
    assert all(len(set(labels[surely == label])) == 1 for label in set(surely))


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_every_pair_is_verified_and_given_once(seed: int) -> None:
    texts = variants(seed, 40)
    pairs = near_pairs(texts, 0.6)
    left, right = pairs["left"].to_numpy(), pairs["right"].to_numpy()
    assert (left < right).all()
    assert not pairs.select("left", "right").is_duplicated().any()
    exact = jaccard(shingle_sets(texts), left, right)
    np.testing.assert_array_equal(pairs["jaccard"].to_numpy(), exact)
    assert (exact >= 0.6).all()


def test_recall_of_planted_pairs() -> None:
    rng = np.random.default_rng(3)
    words = np.array([f"{a}{b}" for a in WORDS for b in WORDS])
    texts, planted = [], []
    for _ in range(400):
        base = rng.choice(words, rng.integers(8, 40))
        copy = base.copy()
        copy[rng.integers(len(base))] += "x"
        texts += [" ".join(base), " ".join(copy)]
        planted.append((len(texts) - 2, len(texts) - 1))
    series = pl.Series(texts)
    left, right = np.array(planted).T
    similar = jaccard(shingle_sets(series), left, right) >= 0.8
    assert similar.sum() > 200
    labels = labels_of(series, near_pairs(series, 0.8))
    assert (labels[left] == labels[right])[similar].mean() >= 0.99


def test_a_template_is_one_cluster_without_all_its_pairs() -> None:
    frame = "please write a friendly answer to the following letter of our customer number {} " * 3
    texts = pl.Series([frame.format(n, n, n) for n in range(1500)])
    pairs = near_pairs(texts, 0.8)
    assert set(labels_of(texts, pairs)) == {0}
    assert len(pairs) < 10 * len(texts)


def test_a_chain_is_followed_through_pairs_that_are_not_similar() -> None:
    words = [f"word{n:03}" for n in range(60)]
    texts = pl.Series([" ".join(words[cut : cut + 30]) for cut in range(0, 31, 3)])
    _, _, exact = similarities(texts)
    assert exact.min() < 0.1
    assert set(labels_of(texts, near_pairs(texts, 0.8))) == {0}


def test_unlike_texts_of_one_template_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = [f"word{n}" for n in range(40)]
    numbers = [[f"{n * 7919 + k:09}" for k in range(3)] for n in range(80)]
    texts = pl.Series([" ".join(frame + tail) for tail in numbers])
    compared: list[tuple[int, int]] = []
    original = module._Search._jaccard

    def recorded(self: module._Search, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        compared.extend(zip(left.tolist(), right.tolist(), strict=True))
        return original(self, left, right)

    monkeypatch.setattr(module._Search, "_jaccard", recorded)
    _, _, exact = similarities(texts)
    assert exact.max() < 0.9
    assert near_pairs(texts, 0.9).is_empty()
    assert len(compared) > 200
    assert len(set(compared)) == len(compared)


def test_small_budgets_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = variants(7, 60)
    expected = labels_of(texts, near_pairs(texts, 0.7))
    sizes: list[int] = []

    def recorded(some: pl.Series) -> csr_array:
        sizes.append(sum(len(text.encode()) for text in some) if len(some) > 2 else 0)
        return shingle_sets(some)

    monkeypatch.setattr(module, "shingle_sets", recorded)
    monkeypatch.setattr(module, "_PAIR_BATCH", 4)
    monkeypatch.setattr(module, "_SIGNATURE_BATCH", 3)
    monkeypatch.setattr(module, "_SHINGLE_BATCH", 300)
    np.testing.assert_array_equal(labels_of(texts, near_pairs(texts, 0.7)), expected)
    assert max(sizes) <= 300


@pytest.mark.parametrize("texts", [[], ["one"], ["a", "b", "漢", "👩"]])
def test_nothing_to_find(texts: list[str]) -> None:
    pairs = near_pairs(pl.Series(texts, dtype=pl.String), 0.8)
    assert pairs.is_empty()
    assert pairs.schema == {"left": pl.Int64, "right": pl.Int64, "jaccard": pl.Float64}
