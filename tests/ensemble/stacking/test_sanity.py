from __future__ import annotations

import numpy as np
import pytest

from ensemble import errors
from ensemble.evaluation.losses import class_prior_losses, row_log_loss, softmax
from ensemble.stacking.sanity import doubts_about, refuse_labels

RNG = np.random.default_rng(0)
LABELS = np.eye(3)[RNG.choice(3, 600, p=[0.5, 0.3, 0.2])]
LOGITS = (1.5 * LABELS + RNG.normal(0, 0.8, (600, 3))).astype(np.float32)
PRIOR = float(class_prior_losses(LABELS, np.arange(600) % 5).mean())


def _loss(logits: np.ndarray) -> float:
    return float(row_log_loss(LABELS, softmax(logits)).mean())


def test_the_prior_is_that_of_the_other_folds() -> None:
    shares = LABELS[np.arange(600) % 5 != 0].mean(axis=0)
    own = class_prior_losses(LABELS, np.arange(600) % 5)[:5]
    assert own[0] == pytest.approx(-np.log(shares[LABELS[0].argmax()]))
    assert np.isnan(class_prior_losses(LABELS, np.zeros(600, np.int64))).all()


def test_a_sound_learner_is_not_doubted() -> None:
    assert doubts_about("x", LOGITS, LABELS, PRIOR) == []
    refuse_labels("x", LOGITS, LABELS)


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 0, 1], [0, 2, 1]])
def test_the_order_of_classes_that_mends_a_learner_is_named(order: list[int]) -> None:
    (said,) = doubts_about("x", LOGITS[:, order], LABELS, PRIOR)
    classes = np.array(["winner_model_a", "winner_model_b", "winner_tie"])
    assert said.startswith("x is worse than the class prior")
    assert f"if its columns were in the order {', '.join(classes[order])}" in said
    assert f"it would have {_loss(LOGITS):.4f}" in said


def test_the_scale_that_mends_a_learner_is_named() -> None:
    (said,) = doubts_about("x", 30 * LOGITS, LABELS, PRIOR)
    assert "divided by" in said and "its logits would have" in said
    mended = float(said.rpartition(" ")[2])
    assert mended <= _loss(LOGITS) + 1e-3


def test_noise_is_worse_than_the_prior_and_nothing_mends_it() -> None:
    noise = np.random.default_rng(1).normal(0, 3, (600, 3)).astype(np.float32)
    (said,) = doubts_about("x", noise, LABELS, PRIOR)
    assert "worse than the class prior" in said and "order" not in said


@pytest.mark.parametrize("sure", [0.999, 1 - 1e-6])
def test_labels_are_no_predictions(sure: float) -> None:
    labels = np.log(np.where(LABELS > 0, sure, (1 - sure) / 2)).astype(np.float32)
    with pytest.raises(errors.DataError, match='equal the labels(.|\n)*learner "x"'):
        refuse_labels("x", labels, LABELS)
    (said,) = doubts_about("x", labels, LABELS, PRIOR)
    assert "too good to be true" in said


def test_a_few_rows_that_are_right_are_no_labels() -> None:
    refuse_labels("x", 20 * LABELS[:9].astype(np.float32), LABELS[:9])
