from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ensemble.evaluation.calibration import confusion, correlations, reliability
from ensemble.evaluation.losses import softmax
from ensemble.evaluation.scores import class_prior_loss, scores

LOGITS = arrays(np.float64, (40, 3), elements=st.floats(-4, 4))


def test_scores_leave_out_what_was_not_measured() -> None:
    losses = np.array([[1.0, np.nan], [3.0, 5.0], [2.0, np.nan], [np.nan, np.nan]] * 10)
    both = scores(losses, np.arange(40))
    assert [score.rows for score in both] == [30, 10]
    assert [score.log_loss for score in both] == [2.0, 5.0]
    assert both[0].low < 2.0 < both[0].high


def test_few_clusters_have_a_score_and_no_interval() -> None:
    score = scores(np.arange(40.0)[:, None], np.arange(40) % 19)[0]
    assert (score.rows, score.log_loss) == (40, 19.5)
    assert np.isnan([score.low, score.high]).all()


def test_scores_of_nothing_are_nan() -> None:
    score = scores(np.full((3, 1), np.nan), np.arange(3))[0]
    assert score.rows == 0
    assert np.isnan([score.log_loss, score.low, score.high]).all()


def test_one_cluster_has_no_interval() -> None:
    score = scores(np.array([[1.0], [2.0]]), np.array([7, 7]))[0]
    assert score.log_loss == 1.5
    assert np.isnan([score.low, score.high]).all()


def test_the_class_prior_never_sees_its_own_fold() -> None:
    labels = np.array([[1.0, 0, 0], [0, 1.0, 0], [1.0, 0, 0], [1.0, 0, 0]])
    # Fold 0 is predicted by (1, 0, 0), fold 1 by (1/2, 1/2, 0).
    loss = class_prior_loss(labels, np.array([0, 0, 1, 1]))
    assert loss == pytest.approx((0 - np.log(1e-15) + 2 * np.log(2)) / 4)


def test_one_fold_has_no_class_prior() -> None:
    assert np.isnan(class_prior_loss(np.eye(3), np.zeros(3, np.int64)))


def test_reliability_by_hand() -> None:
    probabilities = np.repeat([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], 5, axis=0)
    labels = np.eye(3)[[0, 1, 2, 2, 2, 0, 0, 0, 1, 1]]
    first = reliability(labels, probabilities, np.arange(10))[0]
    assert first.predicted == pytest.approx(0.4)
    assert first.observed == pytest.approx(0.4)
    assert [b.rows for b in first.bins] == [5, 5]
    assert [b.predicted for b in first.bins] == pytest.approx([0.2, 0.6])
    assert [b.observed for b in first.bins] == pytest.approx([0.2, 0.6])
    assert first.gap == pytest.approx(0.0)


def test_reliability_intervals_grow_with_clusters() -> None:
    rng = np.random.default_rng(0)
    probabilities = np.full((200, 3), 1 / 3)
    labels = np.eye(3)[np.repeat(rng.integers(0, 3, 20), 10)]
    alone = reliability(labels, probabilities, np.arange(200))[0].bins[0]
    grouped = reliability(labels, probabilities, np.repeat(np.arange(20), 10))[0].bins[0]
    assert alone.rows == grouped.rows == 200
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_a_share_of_zero_is_not_certain() -> None:
    probabilities = np.full((8, 3), 1 / 3)
    labels = np.tile([1.0, 0.0, 0.0], (8, 1))
    never = reliability(labels, probabilities, np.arange(8))[1].bins[0]
    # Wilson's interval of 0 out of 8 is 0 to z^2 / (8 + z^2).
    assert never.low == pytest.approx(0.0)
    assert never.high == pytest.approx(1.96**2 / (8 + 1.96**2))
    one = reliability(labels, probabilities, np.zeros(8, np.int64))[1].bins[0]
    assert np.isnan([one.low, one.high]).all()


@given(LOGITS, st.integers(0, 2**32 - 1))
def test_reliability_bins_cover_every_row(logits: np.ndarray, seed: int) -> None:
    labels = np.eye(3)[np.random.default_rng(seed).integers(0, 3, len(logits))]
    for curve in reliability(labels, softmax(logits), np.arange(len(logits))):
        rows = [b.rows for b in curve.bins]
        assert sum(rows) == len(logits)
        assert len(rows) <= 10
        assert (np.diff([b.predicted for b in curve.bins]) >= -1e-12).all()
        observed = np.average([b.observed for b in curve.bins], weights=rows)
        assert observed == pytest.approx(curve.observed)
        for b in curve.bins:
            # A single row is a single cluster, and has no interval.
            assert np.isnan(b.low) == np.isnan(b.high) == (b.rows == 1)
            assert b.rows == 1 or b.low - 1e-9 <= b.observed <= b.high + 1e-9


def test_reliability_of_nothing_is_empty() -> None:
    assert reliability(np.eye(3), np.full((3, 3), np.nan), np.arange(3)) == ()


def test_confusion_counts_soft_labels_by_their_share() -> None:
    labels = np.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    probabilities = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [np.nan, np.nan, np.nan]])
    expected = [[0, 0, 0.5], [1, 0, 0], [0, 0, 0.5]]
    assert confusion(labels, probabilities).tolist() == expected


def test_correlations_use_the_rows_that_both_have() -> None:
    columns = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 1.0], [3.0, np.nan, 1.0], [np.nan, 0.0, 1.0]])
    found = correlations(columns)
    assert found[0, 1] == found[1, 0] == pytest.approx(1.0)
    assert np.isnan(found[0, 2])
    assert found[0, 0] == pytest.approx(1.0)
