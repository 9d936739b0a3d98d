from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from ensemble.evaluation.bootstrap import bootstrap_means, effective_clusters
from ensemble.evaluation.intervals import Estimate, estimate, interval
from ensemble.evaluation.losses import row_log_loss, softmax

LOGITS = hnp.arrays(np.float64, (7, 3), elements=st.floats(-800, 800))


@given(LOGITS, st.floats(-100, 100))
def test_softmax_gives_distributions_and_ignores_a_shift(logits: np.ndarray, shift: float) -> None:
    found = softmax(logits)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found, softmax(logits + shift), atol=1e-9)


def test_softmax_works_on_the_last_axis_of_any_array() -> None:
    logits = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    np.testing.assert_array_equal(softmax(logits)[1, 2], softmax(logits[1, 2]))


def test_row_log_loss_takes_soft_labels_clips_and_keeps_nan() -> None:
    labels = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1], [1, 0, 0]], dtype=float)
    probabilities = np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [1, 0, 0], [np.nan] * 3])
    expected = [-np.log(0.2), -0.5 * np.log(0.06), -np.log(1e-15), np.nan]
    np.testing.assert_allclose(row_log_loss(labels, probabilities), expected)


def test_bootstrap_agrees_with_scipy_where_each_row_is_a_cluster() -> None:
    losses = np.random.default_rng(0).exponential(size=400)
    ours = interval(bootstrap_means(losses[:, None], np.arange(400), resamples=4000)[:, 0])
    theirs = stats.bootstrap(
        (losses,), np.mean, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    np.testing.assert_allclose(ours, (theirs.low, theirs.high), atol=0.01)


def test_bootstrap_has_the_analytic_spread_of_a_mean_of_clusters() -> None:
    values = np.random.default_rng(1).normal(size=300)
    losses, clusters = np.repeat(values, 4)[:, None], np.repeat(np.arange(300), 4)
    spread = bootstrap_means(losses, clusters, resamples=5000).std()
    assert spread == pytest.approx(values.std() / np.sqrt(300), rel=0.05)


def test_bootstrap_weighs_clusters_by_their_rows() -> None:
    losses = np.array([0.0, 3.0, 3.0, 3.0])[:, None]
    found = bootstrap_means(losses, np.array([5, 9, 9, 9]), resamples=2000)[:, 0]
    np.testing.assert_allclose(np.unique(found), [0.0, 2.25, 3.0])
    assert np.mean(found == 2.25) == pytest.approx(0.5, abs=0.05)


def test_bootstrap_draws_the_same_clusters_for_every_column() -> None:
    losses = np.random.default_rng(2).exponential(size=(200, 1))
    paired = np.column_stack([losses, losses + 1])
    found = bootstrap_means(paired, np.arange(200) // 2, resamples=500)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], 1)


def test_bootstrap_depends_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, clusters = np.random.default_rng(3).random((90, 2)), np.arange(90) // 3
    first = bootstrap_means(losses, clusters, resamples=100, seed=4)
    relabeled = bootstrap_means(losses, clusters * 7 + 2, resamples=100, seed=4)
    np.testing.assert_array_equal(first, relabeled)
    assert (first != bootstrap_means(losses, clusters, resamples=100, seed=5)).any()
    monkeypatch.setattr("ensemble.evaluation.bootstrap._CHUNK_CELLS", 64)
    chunked = bootstrap_means(losses, clusters, resamples=100, seed=4)
    np.testing.assert_allclose(first, chunked)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for trial in range(300):
        sizes = rng.integers(1, 5, 120)
        clusters = np.repeat(np.arange(120), sizes)
        losses = rng.normal(size=120)[clusters] + rng.normal(size=len(clusters)) + 1.0
        low, high = interval(bootstrap_means(losses[:, None], clusters, resamples=400, seed=trial))
        hits += low <= 1.0 <= high
    assert 0.90 <= hits / 300 <= 0.985


@pytest.mark.parametrize(
    ("losses", "clusters", "message"),
    [
        (np.zeros((0, 1)), np.zeros(0, int), "n > 0"),
        (np.zeros((3, 1)), np.zeros(2, int), "losses must be"),
        (np.zeros(3), np.zeros(3, int), "losses must be"),
        (np.array([[np.nan], [0.0]]), np.arange(2), "not finite"),
    ],
)
def test_bootstrap_refuses_what_it_cannot_average(
    losses: np.ndarray, clusters: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_means(losses, clusters)


def test_estimate_is_the_mean_of_the_rows_and_is_json() -> None:
    found = estimate(np.array([1.0, 3.0]), np.linspace(0, 4, 401), level=0.5)
    assert found == Estimate(2.0, 1.0, 3.0)
    assert found.to_json() == {"mean": 2.0, "low": 1.0, "high": 3.0}


def test_many_clusters_have_the_percentile_interval_and_few_a_wider_one_or_none() -> None:
    values = np.random.default_rng(0).normal(size=200)
    samples = bootstrap_means(values[:, None], np.arange(200), resamples=4000)[:, 0]
    low, high = interval(samples)
    many, few, fewer = (estimate(values, samples, n) for n in (1e6, 25.0, 19.9))
    assert (many.low, many.high) == pytest.approx((low, high), abs=1e-4)
    assert few.low is not None and few.high is not None
    assert few.low < low - 0.002 and few.high > high + 0.002
    assert (fewer.mean, fewer.low, fewer.high) == (few.mean, None, None)
    assert not (fewer.is_above or fewer.is_below)


def test_effective_clusters_are_those_of_equal_size() -> None:
    assert effective_clusters(np.arange(30)) == pytest.approx(30)
    assert effective_clusters(np.repeat(np.arange(10), 7)) == pytest.approx(10)
    assert effective_clusters(np.array([0] * 90 + list(range(1, 11)))) < 1.3


@pytest.mark.slow
def test_intervals_of_twenty_clusters_cover_nearly_what_they_promise() -> None:
    rng = np.random.default_rng(1)
    inside, narrow = 0, 0
    for seed in range(600):
        values = rng.normal(size=20)
        samples = bootstrap_means(values[:, None], np.arange(20), resamples=1000, seed=seed)[:, 0]
        own, (low, high) = estimate(values, samples, 20.0), interval(samples)
        assert own.low is not None and own.high is not None
        inside += own.low <= 0 <= own.high
        narrow += low <= 0 <= high
    assert narrow < inside
    assert inside / 600 > 0.93
