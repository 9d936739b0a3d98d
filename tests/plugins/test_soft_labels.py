"""Teachers as one voice, and as soft labels of learners that learn from labels alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from ensemble import FitContext, errors
from ensemble.plugin.manager import get_manager
from ensemble_plugins.soft_labels import Teachers, soft_labels

RNG = np.random.default_rng(3)
ONE, TWO = (RNG.normal(size=(5, 3)).astype(np.float32) * 3 for _ in range(2))
SAID = {"one": ONE, "two": TWO}


def _voice(**options: Any) -> Any:
    return Teachers.of(("one", "two"), options.pop("mean", "logits"), options.pop("weights", ()))


def test_logits_or_probabilities_are_averaged_with_weights() -> None:
    np.testing.assert_allclose(_voice().logits(SAID), (ONE + TWO) / 2, rtol=1e-6)
    weighted = _voice(weights=(3.0, 1.0)).logits(SAID)
    np.testing.assert_allclose(weighted, (3 * ONE + TWO) / 4, rtol=1e-5)
    mixed = _voice(mean="probabilities", weights=(3.0, 1.0)).logits(SAID)
    expected = (3 * softmax(ONE, axis=1) + softmax(TWO, axis=1)) / 4
    np.testing.assert_allclose(softmax(mixed, axis=1), expected, rtol=1e-5)


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
def test_a_row_of_which_one_says_nothing_has_no_voice_and_a_left_out_class_stays_out(
    mean: str,
) -> None:
    gap, without = ONE.copy(), TWO.copy()
    gap[1] = np.nan
    gap[:, 2], without[:, 2] = np.where(np.isnan(gap[:, 2]), np.nan, -np.inf), -np.inf
    found = _voice(mean=mean).logits({"one": gap, "two": without})
    assert np.isnan(found).any(axis=1).tolist() == [False, True, False, False, False]
    assert np.isneginf(found[[0, 2, 3, 4], 2]).all()
    labels = soft_labels(np.eye(3)[[0, 1, 0, 1, 0]], found, 0.5)
    assert (labels[:, 2] == 0).all()
    np.testing.assert_array_equal(labels[1], [0, 1, 0])


@pytest.mark.parametrize(
    ("mean", "weights", "message"),
    [
        ("median", (), "teacher_mean must be one of logits, probabilities"),
        ("logits", (1.0,), "one for each of 2 teachers, got 1"),
        ("logits", (1.0, 0.0), "finite and above 0"),
        ("logits", (1.0, float("nan")), "finite and above 0"),
    ],
)
def test_what_is_no_mean_is_refused(mean: Any, weights: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Teachers.of(("one", "two"), mean, weights)


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
def test_without_ties_theirs_is_left_out_before_any_softmax(mean: str) -> None:
    improbable = {name: said.copy() for name, said in SAID.items()}
    for said in improbable.values():
        said[:, 2] = said[:, :2].min(axis=1) - 100
    found = _voice(mean=mean).logits(improbable, ties=False)
    assert np.isneginf(found[:, 2]).all()
    # At any temperature: 100 below the others is not nothing at 50.
    assert (softmax(found / 50, axis=1)[:, 2] == 0).all()
    assert (soft_labels(np.eye(3)[[0, 1, 0, 1, 0]], found, 0.5)[:, 2] == 0).all()


def test_a_teacher_that_is_not_there_is_named() -> None:
    with pytest.raises(errors.LearnerError, match="no logits of the teachers two"):
        _voice().logits({"one": ONE})
    assert Teachers.of((), "logits", ()).logits({}) is None


@given(st.floats(0, 1))
def test_soft_labels_are_distributions_between_label_and_teacher(share: float) -> None:
    labels = np.eye(3)[[0, 1, 2, 0, 1]]
    mixed = soft_labels(labels, ONE, share)
    np.testing.assert_allclose(mixed.sum(axis=1), 1.0)
    said = softmax(ONE.astype(np.float64), axis=1)
    np.testing.assert_allclose(mixed, (1 - share) * labels + share * said)
    # Cross-entropy with the mix is the mix of both.
    logits = log_softmax(TWO.astype(np.float64), axis=1)
    both = -(labels * logits).sum(1) * (1 - share) - (said * logits).sum(1) * share
    np.testing.assert_allclose(-(mixed * logits).sum(1), both)
    np.testing.assert_array_equal(soft_labels(labels, None, share), labels)


FAST: dict[str, dict[str, Any]] = {
    "handcrafted": {"features": ["length"], "n_models": 2, "n_estimators": 20},
    "tfidf": {"min_df": 1},
    "sklearn": {
        "estimator": "sklearn.linear_model.LogisticRegression",
        "features": ["length"],
        "scale": True,
    },
}


def _battles(rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    words = ["yes", "no", "long", "short", "good", "bad"]

    def text() -> list[str]:
        return [" ".join(rng.choice(words, rng.integers(1, 9)))]

    every = [(f"b{i}", text(), text(), text()) for i in range(rows)]
    return pl.DataFrame(every, ["id", "prompt", "response_a", "response_b"], orient="row")


@pytest.mark.parametrize("plugin", FAST)
def test_learners_follow_their_teacher_and_labels_where_it_is_silent(plugin: str) -> None:
    battles, labels = _battles(60), np.tile(np.eye(3)[0], (60, 1))
    labels[::3] = np.eye(3)[1]
    sure = np.tile(np.array([0.0, 0.0, 8.0], dtype=np.float32), (60, 1))
    silent = np.full((60, 3), np.nan, dtype=np.float32)

    def predicted(said: Any, **options: Any) -> Any:
        kind: Any = get_manager().base_learners.get(plugin)
        learner = kind(**FAST[plugin], **options)
        context = FitContext(teachers={} if said is None else {"t": said})
        return softmax(learner.fit(battles, labels, context=context).predict_logits(battles), 1)

    alone = predicted(None)
    taught = predicted(sure, teachers=["t"], distillation=0.9)
    assert taught[:, 2].mean() > 0.6 > alone[:, 2].mean()
    unheard = predicted(silent, teachers=["t"], distillation=0.9)
    np.testing.assert_allclose(unheard, alone, atol=1e-6)


@pytest.mark.parametrize("plugin", FAST)
def test_a_share_that_is_none_is_refused(plugin: str) -> None:
    kind: Any = get_manager().base_learners.get(plugin)
    with pytest.raises(ValueError, match=r"distillation must be in \[0, 1\]"):
        kind(**FAST[plugin], teachers=["t"], distillation=1.5)
