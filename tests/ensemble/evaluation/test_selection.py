from __future__ import annotations

import numpy as np
import pytest

from ensemble.evaluation.intervals import Estimate
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.evaluation.selection import (
    correct_for_choice,
    corrected_gain,
    stratification_optimism,
)

CHANCE = float(np.log(3))


def noise_losses(seed: int, rows: int = 600, tries: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Losses of useless predictors on random labels, and their true log loss."""
    rng = np.random.default_rng(seed)
    labels = np.eye(3)[rng.integers(3, size=rows)]
    probabilities = [softmax(0.3 * rng.normal(size=(rows, 3))) for _ in range(tries)]
    even = np.full((rows, 3), 1 / 3)
    losses = np.column_stack([row_log_loss(labels, p) for p in probabilities])
    return losses, np.array([row_log_loss(even, p).mean() for p in probabilities])


def test_the_best_of_many_useless_predictors_is_corrected() -> None:
    measured, corrected = [], []
    for seed in range(20):
        losses, truth = noise_losses(seed)
        found = correct_for_choice(losses, np.arange(600), resamples=200, seed=seed)
        true = truth[losses.mean(axis=0).argmin()]
        measured.append(found.best - true)
        corrected.append(found.best + found.optimism - true)
    assert np.mean(measured) < -0.01, "uncorrected, the best of 16 is too good"
    error = np.std(corrected) / np.sqrt(20)
    assert abs(np.mean(corrected)) < 0.002 + 2 * error


def test_one_try_needs_no_correction() -> None:
    losses, _ = noise_losses(0, tries=1)
    found = correct_for_choice(losses, np.arange(600), resamples=500)
    assert found.best == pytest.approx(losses.mean())
    assert found.optimism < 0.002
    assert found.low is not None and found.high is not None
    assert found.low < found.best < found.high


def test_a_try_that_is_best_by_far_needs_none_either() -> None:
    losses, _ = noise_losses(1, tries=2)
    found = correct_for_choice(losses - [0.0, 0.5], np.arange(600), resamples=300)
    assert found.optimism < 0.002


def test_few_clusters_have_no_interval() -> None:
    losses, _ = noise_losses(2)
    found = correct_for_choice(losses, np.arange(600) % 12, resamples=50)
    assert found.low is found.high is None


def test_clusters_are_drawn_whole() -> None:
    """Copies of a row tell no more than the row: the correction is that of the rows."""
    losses, _ = noise_losses(3, rows=100)
    alone = correct_for_choice(losses, np.arange(100), resamples=100)
    copied = correct_for_choice(
        np.repeat(losses, 3, axis=0), np.repeat(np.arange(100), 3), resamples=100
    )
    assert copied == pytest.approx(alone)


@pytest.mark.parametrize("rows", [200, 2000])
def test_equal_class_shares_flatter_as_much_as_theory_says(rows: int) -> None:
    labels = np.eye(3)[np.arange(rows) % 3]
    folds = np.arange(rows) // 3 % 5
    found = stratification_optimism(labels, np.arange(rows), folds)
    assert found.optimism == pytest.approx(2 / rows * (1 + 1 / 8), rel=0.15)
    assert found.by_source == pytest.approx(found.optimism)


def test_equal_shares_in_every_source_flatter_what_tells_the_source() -> None:
    rows, sources = 1200, np.arange(1200) // 150
    labels = np.eye(3)[np.arange(rows) % 3]
    folds = np.arange(rows) % 150 // 3 % 5
    found = stratification_optimism(labels, np.arange(rows), folds, sources.astype(str).tolist())
    assert found.optimism == pytest.approx(2 / rows * (1 + 1 / 8), rel=0.15)
    assert found.by_source == pytest.approx(8 * 2 / rows * (1 + 1 / 8), rel=0.15)
    assert found.excess == pytest.approx(found.by_source - found.optimism)


def test_a_source_in_one_fold_alone_is_thought_to_be_like_the_others() -> None:
    labels = np.eye(3)[np.arange(300) % 3]
    folds, sources = np.arange(300) // 3 % 5, np.array(["many"] * 300)
    sources[folds == 0] = "one"
    found = stratification_optimism(labels, np.arange(300), folds, sources.tolist())
    assert np.isfinite(found).all() and found.by_source < 0.1


def test_random_folds_flatter_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    labels = np.eye(3)[rng.integers(3, size=500)]
    clusters = np.arange(500)
    folds = [rng.permutation(clusters % 5) for _ in range(20)]
    found = np.mean([stratification_optimism(labels, clusters, f).optimism for f in folds])
    assert found < 0.0022  # half of the deals are worse than the mean, and count as 0


def _gain(mean: float, error: float = 1.0) -> Estimate:
    return Estimate(mean, mean - 1.96 * error, mean + 1.96 * error)


def test_a_gain_that_just_passed_is_halved_and_a_large_one_is_left() -> None:
    assert corrected_gain(_gain(1.97), 0.95) == pytest.approx(1.97 / 2)
    assert corrected_gain(_gain(8.0), 0.95) == pytest.approx(8.0, abs=1e-6)
    assert corrected_gain(_gain(0.004, 0.001), 0.95) == pytest.approx(
        (corrected_gain(_gain(4.0), 0.95) or 0) / 1000
    )
    assert corrected_gain(_gain(1.9), 0.95) is None
    assert corrected_gain(Estimate(1.0, None, None), 0.95) is None


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.0, 3.0])
def test_gains_that_are_reported_because_they_passed_are_right_on_average(truth: float) -> None:
    drawn = truth + np.random.default_rng(1).normal(size=4_000)
    found = [(gain, corrected_gain(_gain(gain), 0.95)) for gain in drawn]
    passed = np.array([(gain, own) for gain, own in found if own is not None])
    share = len(passed) / len(drawn)
    measured, corrected = share * (passed.mean(axis=0) - truth)
    assert measured > 0.1
    assert abs(corrected) < 0.6 * measured
