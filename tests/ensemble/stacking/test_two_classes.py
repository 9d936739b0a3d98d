"""Stacks of a task without ties: two classes, whatever learners say of ties."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

from ensemble import CLASSES, FitContext, MetaFeatures, MetaLearner
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.evaluation.ties import leave_out_tie, neutral_tie
from ensemble.stacking import fitting
from ensemble.stacking.calls import predict_validated
from ensemble.stacking.candidates import Blend, VectorScaling, simple_candidates
from ensemble.stacking.listed import load_stack
from ensemble.stacking.logits import logits_of
from ensemble.stacking.sanity import doubts_about
from ensemble_plugins.lightgbm_stacker import LightGBMStacker
from tests.ensemble.stacking.drawn_stacks import draw_data, small_stacker, stack_data

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.stacking.data import StackData

CONTEXT = FitContext(seed=1)
MAKERS: list[Any] = [*(one.make for one in simple_candidates(3)), small_stacker]


def two_classes(data: StackData, tie: float = 0.0) -> StackData:
    """Make a task without ties of drawn rows; ``tie`` is what learners say of ties."""
    logits = data.meta.logits.copy()
    logits[..., 2] += np.float32(tie)
    meta = replace(data.meta, logits=neutral_tie(logits, ties=False), ties=False)
    sides = (softmax(data.meta.logits[:, 0])[:, 1] > 0.5).astype(int)
    labels = np.where(data.labels[:, 2:] > 0, np.eye(3)[sides], data.labels)
    return replace(data, meta=meta, labels=labels)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: getattr(make, "__name__", "best_single"))
def test_every_candidate_predicts_two_classes(make: Any, tmp_path: Path) -> None:
    data = two_classes(draw_data(600))
    model = make().fit(data.meta, data.labels, groups=data.clusters, context=CONTEXT)
    found = model.predict_proba(data.meta)
    assert found.shape == (600, 3)
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found[:, :2].sum(axis=1), 1.0, rtol=1e-9)
    assert row_log_loss(data.labels, found).mean() < np.log(2)
    model.save(tmp_path)
    np.testing.assert_allclose(make().load(tmp_path).predict_proba(data.meta), found, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(tie=st.floats(-40, 40))
def test_what_learners_say_of_ties_changes_no_prediction(tie: float) -> None:
    plain, other = (two_classes(draw_data(240), said) for said in (0.0, tie))
    for make in MAKERS[:4]:
        one, two = (
            make().fit(d.meta, d.labels, context=CONTEXT).predict_proba(d.meta)
            for d in (plain, other)
        )
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_the_blend_of_two_classes_is_the_best_one() -> None:
    data = two_classes(draw_data(500, kind="by length"))
    logits = logits_of(data.meta, data.meta.learners)
    assert logits.shape == (500, 2, 2)
    weights = Blend().fit(data.meta, data.labels, context=CONTEXT).weights_
    grid = np.linspace(0, 1, 201)
    odds = data.meta.logits[:, :, 0] - data.meta.logits[:, :, 1]
    signs = data.labels[:, 0] - data.labels[:, 1]
    losses = [np.logaddexp(0, -signs * (odds @ [w, 1 - w])).mean() for w in grid]
    assert weights[0] == pytest.approx(grid[int(np.argmin(losses))], abs=0.01)


def test_vector_scaling_has_two_scales_and_a_true_gradient() -> None:
    data = two_classes(draw_data(300))
    told = VectorScaling().fit(data.meta, data.labels, context=CONTEXT).describe()
    assert list(told["scale"]) == list(told["bias"]) == list(CLASSES[:2])
    weight = np.full(300, 1 / 300)
    labels = data.labels[:, :2]

    def loss(flat: np.ndarray) -> float:
        return fitting._log_loss(flat.reshape(-1, 2), labels, weight)[0]

    def slope(flat: np.ndarray) -> np.ndarray:
        return fitting._log_loss(flat.reshape(-1, 2), labels, weight)[1].ravel()

    start = np.random.default_rng(0).normal(size=600)
    assert check_grad(loss, slope, start) < 1e-5


def test_the_stacker_exchanges_sides_and_sees_one_column_a_learner() -> None:
    data = two_classes(draw_data(900, kind="by length"))
    stacker = LightGBMStacker(n_estimators=30, min_child_samples=20, seeds=1, learning_rate=0.2)
    stacker.fit(data.meta, data.labels, groups=data.clusters, context=CONTEXT)
    told = stacker.describe()
    assert list(told["importance"]) == [
        *("first: A - B", "second: A - B", "mean of learners: A - B", "length")
    ]
    assert sum(told["rounds"]) > 0
    swapped = stacker.predict_proba(data.meta.swapped())[:, [1, 0, 2]]
    np.testing.assert_array_equal(swapped, stacker.predict_proba(data.meta))


class Thirds(MetaLearner):
    """Someone's meta-learner that knows of no task without ties."""

    def fit(self, meta: MetaFeatures, labels: Any, **_: Any) -> Self:
        assert np.isfinite(meta.logits).all()
        return self

    def predict_proba(self, meta: MetaFeatures) -> Any:
        return np.tile([0.3, 0.1, 0.6], (len(meta), 1))

    def save(self, directory: Path) -> None:
        (directory / "nothing").touch()

    def load(self, directory: Path) -> Self:
        return self


def test_a_share_that_anyone_gives_to_ties_is_left_out() -> None:
    data = two_classes(draw_data(30))
    np.testing.assert_allclose(
        predict_validated(Thirds(), data.meta, "thirds")[0], [0.75, 0.25, 0.0]
    )
    with_ties = replace(data.meta, ties=True)
    np.testing.assert_allclose(predict_validated(Thirds(), with_ties, "thirds")[0], [0.3, 0.1, 0.6])


def test_a_task_goes_with_its_logits() -> None:
    meta = two_classes(draw_data(30)).meta
    assert not meta.swapped().ties
    assert not meta.take(np.arange(3)).ties


@pytest.mark.parametrize("make", [small_stacker, Thirds])
def test_a_whole_stack_of_two_classes(tmp_path: Path, make: Any) -> None:
    data = two_classes(draw_data(600))
    verdict = stack_data(tmp_path / "stack", data, meta_learner=make, meta_learner_name="own")
    losses = {one["name"]: one["log_loss"] for one in verdict["candidates"]}
    assert all(loss < np.log(2) + 0.3 for loss in losses.values())
    single = softmax(leave_out_tie(data.meta.logits, ties=False))
    own = min(row_log_loss(data.labels, single[:, i]).mean() for i in range(2))
    assert losses["best_single"] == pytest.approx(own, abs=0.02)
    model = load_stack(tmp_path / "stack", make, "own")
    found = predict_validated(model, data.meta, "own")
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_a_doubt_about_the_order_of_columns_is_of_the_two_sides_alone() -> None:
    data = two_classes(draw_data(400))
    exchanged = leave_out_tie(data.meta.logits[:, 0, [1, 0, 2]] * 0.5, ties=False)
    (doubt,) = doubts_about("x", exchanged, data.labels, np.log(2))
    assert "in the order winner_model_b, winner_model_a, winner_tie" in doubt
