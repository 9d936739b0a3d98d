"""A task without ties, in numbers: what becomes of logits, probabilities and scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, log_loss

from ensemble.evaluation.accuracy import accuracy_estimates, as_accuracy
from ensemble.evaluation.intervals import Estimate
from ensemble.evaluation.losses import (
    class_prior_losses,
    row_errors,
    row_log_loss,
    softmax,
)
from ensemble.evaluation.selection import stratification_optimism
from ensemble.evaluation.ties import leave_out_tie, neutral_tie, renormalized, with_no_tie

LOGITS = arrays(np.float32, (7, 3), elements=st.floats(-30, 30, width=32))


@given(logits=LOGITS, seed=st.integers(0, 99))
def test_the_loss_over_two_classes_is_that_of_scikit_learn(logits: np.ndarray, seed: int) -> None:
    winner = np.random.default_rng(seed).integers(0, 2, len(logits))
    winner[:2] = 0, 1
    found = softmax(leave_out_tie(logits, ties=False))
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
    own = row_log_loss(np.eye(3)[winner], found).mean()
    clipped = np.clip(found[:, :2], 1e-15, 1)
    assert own == pytest.approx(log_loss(winner, clipped / clipped.sum(axis=1)[:, None]), abs=1e-9)


@given(logits=LOGITS, tie=st.floats(-50, 50, width=32), added=st.integers(-8, 8))
def test_what_is_said_of_ties_changes_nothing(logits: np.ndarray, tie: float, added: int) -> None:
    other = logits + np.float32(added)
    other[:, 2] = tie
    one, two = (softmax(leave_out_tie(each, ties=False)) for each in (logits, other))
    np.testing.assert_allclose(one, two, atol=1e-5)
    neutral = neutral_tie(logits, ties=False)
    assert (neutral[:, 2] == 0).all()
    np.testing.assert_array_equal(neutral[:, 0], -neutral[:, 1])
    np.testing.assert_allclose(neutral, neutral_tie(other, ties=False), atol=1e-4)


def test_rows_without_a_prediction_stay_without_one() -> None:
    logits = np.array([[np.nan] * 3, [1.0, 0.0, 9.0]], np.float32)
    for left in (leave_out_tie(logits, ties=False), neutral_tie(logits, ties=False)):
        assert np.isnan(left[0]).all()
        assert not np.isnan(left[1]).any()
    np.testing.assert_array_equal(logits[1], [1, 0, 9])  # a new array


def test_a_task_with_ties_takes_logits_as_they_are() -> None:
    logits = np.ones((2, 3), np.float32)
    assert leave_out_tie(logits, ties=True) is logits
    assert neutral_tie(logits, ties=True) is logits


def test_a_share_of_ties_is_divided_in_proportion() -> None:
    found = renormalized(np.array([[0.3, 0.1, 0.6], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(found, np.array([[0.75, 0.25, 0], [0.5, 0.5, 0], [1, 0, 0]]))
    np.testing.assert_array_equal(with_no_tie(np.array([[0.2, 0.8]])), [[0.2, 0.8, 0.0]])


@given(shares=arrays(np.float64, (9, 3), elements=st.floats(0.01, 1)), seed=st.integers(0, 9))
def test_errors_are_those_of_the_likeliest_class(shares: np.ndarray, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, len(shares))
    errors = row_errors(np.eye(3)[labels], shares / shares.sum(axis=1, keepdims=True))
    accuracy = accuracy_score(labels, shares.argmax(axis=1))
    assert 1.0 - errors.mean() == pytest.approx(accuracy)


def test_the_first_of_equally_likely_classes_counts_and_soft_labels_by_their_share() -> None:
    labels = np.array([[1.0, 0, 0], [0, 1, 0], [0.3, 0.7, 0], [0, 0, 1]])
    shares = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0.2, 0.8, 0], [np.nan] * 3])
    np.testing.assert_allclose(row_errors(labels, shares), [0, 1, 0.3, np.nan])


def test_an_accuracy_has_the_ends_of_its_error_the_other_way_round() -> None:
    assert as_accuracy(Estimate(0.4, 0.3, 0.6)) == Estimate(0.6, 0.4, 0.7)
    assert as_accuracy(Estimate(0.25, None, None)) == Estimate(0.75, None, None)
    errors = np.random.default_rng(0).integers(0, 2, (400, 2)).astype(float)
    first, second = accuracy_estimates(errors, np.arange(400), resamples=200, seed=0)
    assert first.mean == pytest.approx(1 - errors[:, 0].mean())
    for one in (first, second):
        assert one.low is not None
        assert one.high is not None
        assert one.low < one.mean < one.high
        assert one.high - one.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.2)


def test_class_shares_without_ties_are_scored_by_either_metric() -> None:
    labels, folds = np.eye(3)[[0, 0, 0, 1] * 10], np.arange(40) % 2
    losses, errors = (
        class_prior_losses(labels, folds, metric) for metric in ("log_loss", "accuracy")
    )
    assert np.isfinite(losses).all()
    assert set(errors) <= {0.0, 1.0}
    assert errors.mean() == pytest.approx(0.25)
    found = stratification_optimism(labels, np.arange(40), folds, metric="accuracy")
    assert np.isfinite(found.optimism)
