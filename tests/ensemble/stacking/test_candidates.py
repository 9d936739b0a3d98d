from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

from ensemble import CLASSES, FitContext, MetaFeatures, MetaLearner, errors
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.plugin.base import SWAP
from ensemble.stacking import fitting
from ensemble.stacking.candidates import (
    BestSingle,
    Blend,
    Mean,
    VectorScaling,
    simple_candidates,
)
from ensemble.stacking.fitting import fit_simplex_weights
from ensemble.stacking.logits import logits_of

if TYPE_CHECKING:
    from pathlib import Path

CONTEXT = FitContext(seed=1)
ALL = [candidate.make for candidate in simple_candidates(3)]


def draw(rows: int = 400, learners: int = 3, seed: int = 0) -> tuple[MetaFeatures, np.ndarray]:
    """Draw learners of falling quality, the last pure noise, and hard labels."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(rows, 1, 3))
    noise = np.linspace(0.5, 2.0, learners)[:, None] * rng.normal(size=(rows, learners, 3))
    logits = np.where(np.arange(learners)[:, None] == learners - 1, noise, truth + noise)
    labels = np.eye(3)[[rng.choice(3, p=p) for p in softmax(truth[:, 0])]]
    return meta_of(logits), labels


def meta_of(logits: np.ndarray, names: tuple[str, ...] | None = None) -> MetaFeatures:
    learners = names or tuple(f"learner {i}" for i in range(logits.shape[1]))
    empty = np.zeros((len(logits), 0), np.float32)
    none = np.zeros(0, np.int64)
    return MetaFeatures(logits.astype(np.float32), learners, empty, (), none, empty[0])


def loss_of(model: MetaLearner, meta: MetaFeatures, labels: np.ndarray) -> float:
    return float(row_log_loss(labels, model.predict_proba(meta)).mean())


def test_candidates_come_simplest_first_and_one_learner_needs_no_blend() -> None:
    names = [(candidate.name, candidate.complexity) for candidate in simple_candidates(2)]
    assert names == [("best_single", 0), ("mean", 1), ("blend", 2), ("vector_scaling", 3)]
    assert [c.name for c in simple_candidates(1)] == ["best_single", "vector_scaling"]
    assert all(candidate.simple for candidate in simple_candidates(2))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0.01, 2))
def test_blend_weights_lie_on_the_simplex_and_beat_every_learner_and_the_mean(
    seed: int, learners: int, scale: float
) -> None:
    # Scales at which the log loss does not clip: the weights are found for the unclipped one.
    meta, labels = draw(60, learners, seed)
    meta = meta_of(meta.logits * scale)
    blend = Blend().fit(meta, labels, context=CONTEXT)
    assert (blend.weights_ >= 0).all()
    assert blend.weights_.sum() == pytest.approx(1)
    best = BestSingle().fit(meta, labels, context=CONTEXT)
    mean = Mean().fit(meta, labels, context=CONTEXT)
    loss = loss_of(blend, meta, labels)
    assert loss <= min(loss_of(best, meta, labels), loss_of(mean, meta, labels)) + 1e-12


def test_blend_finds_the_best_weights_of_a_fine_grid() -> None:
    meta, labels = draw(500, 2)
    blend = Blend().fit(meta, labels, context=CONTEXT)
    logits = logits_of(meta, meta.learners)
    grid = [
        row_log_loss(labels, softmax(w * logits[:, 0] + (1 - w) * logits[:, 1])).mean()
        for w in np.linspace(0, 1, 501)
    ]
    assert loss_of(blend, meta, labels) <= min(grid) + 1e-8
    assert blend.weights_[0] == pytest.approx(np.linspace(0, 1, 501)[np.argmin(grid)], abs=0.004)


def test_blend_is_no_worse_than_a_learner_when_the_solver_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meta, labels = draw()
    bad = type("Result", (), {"x": np.array([0.0, 0.0, 1.0])})()
    monkeypatch.setattr("scipy.optimize.minimize", lambda *args, **kwargs: bad)
    logits = logits_of(meta, meta.learners)
    weights = fit_simplex_weights(logits, labels, np.full(len(labels), 1 / len(labels)))
    np.testing.assert_array_equal(weights, [1, 0, 0])


def test_best_single_takes_the_learner_with_the_lowest_loss_as_it_is() -> None:
    meta, labels = draw()
    model = BestSingle().fit(meta, labels, context=CONTEXT)
    assert model.describe()["learner"] == "learner 0"
    np.testing.assert_allclose(model.predict_proba(meta), softmax(meta.logits[:, 0]), atol=1e-12)


def test_best_single_follows_the_sample_weights() -> None:
    rng = np.random.default_rng(0)
    labels = np.eye(3)[rng.integers(0, 3, 100)]
    right, wrong = labels * 4, np.roll(labels, 1, axis=1) * 4
    first = np.arange(100) < 50
    logits = np.stack([np.where(first[:, None], right, wrong), right * 0], axis=1)
    weight = np.where(first, 1.0, 1e-3)
    even = BestSingle().fit(meta_of(logits), labels, context=CONTEXT)
    uneven = BestSingle().fit(meta_of(logits), labels, sample_weight=weight, context=CONTEXT)
    assert even.describe()["learner"] == "learner 1"
    assert uneven.describe()["learner"] == "learner 0"


def test_mean_is_the_mean_of_logits() -> None:
    meta, labels = draw()
    model = Mean().fit(meta, labels, context=CONTEXT)
    np.testing.assert_allclose(model.predict_proba(meta), softmax(meta.logits.mean(axis=1)), 1e-5)


@pytest.mark.parametrize("make", ALL[:3])
def test_blends_exchange_probabilities_when_sides_are_exchanged(make: type[MetaLearner]) -> None:
    meta, labels = draw()
    model = make().fit(meta, labels, context=CONTEXT)
    swapped = model.predict_proba(meta.swapped())
    np.testing.assert_allclose(swapped, model.predict_proba(meta)[:, SWAP], atol=1e-15)


def test_vector_scaling_mends_scale_and_position_bias() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(20_000, 3))
    labels = np.eye(3)[(rng.random(20_000)[:, None] > softmax(truth).cumsum(1)[:, :2]).sum(1)]
    logits = 2.5 * truth + np.array([0.8, 0.0, -0.5])
    meta = meta_of(logits[:, None])
    model = VectorScaling().fit(meta, labels, context=CONTEXT)
    best = row_log_loss(labels, softmax(truth)).mean()
    assert loss_of(Mean().fit(meta, labels, context=CONTEXT), meta, labels) > best + 0.1
    assert loss_of(model, meta, labels) < best + 5e-4
    described = model.describe()
    assert described["scale"][CLASSES[0]] == pytest.approx(0.4, abs=0.03)
    assert described["bias"][CLASSES[0]] < described["bias"][CLASSES[1]]


def test_vector_scaling_with_few_rows_stays_near_the_blend() -> None:
    meta, labels = draw(4)
    free = VectorScaling(l2=1e-9).fit(meta, labels, context=CONTEXT)
    held = VectorScaling(l2=1e6).fit(meta, labels, context=CONTEXT)
    np.testing.assert_allclose(held.scale_, 1, atol=1e-3)
    np.testing.assert_allclose(held.bias_, 0, atol=1e-3)
    assert np.abs(free.scale_ - 1).max() > 0.1


def test_the_gradient_is_that_of_the_loss() -> None:
    meta, labels = draw(30)
    weight = np.random.default_rng(0).random(30)

    def parts(flat: np.ndarray) -> tuple[float, np.ndarray]:
        return fitting._log_loss(flat.reshape(-1, 3), labels, weight)

    start = meta.logits[:, 0].astype(float).ravel()
    assert check_grad(lambda x: parts(x)[0], lambda x: parts(x)[1].ravel(), start) < 1e-5


@pytest.mark.parametrize("make", ALL)
def test_soft_labels_count_as_their_classes_weighted(make: type[MetaLearner]) -> None:
    meta, _ = draw(90)
    soft = np.tile([[0.25, 0.6, 0.15]], (90, 1))
    doubled = meta_of(np.concatenate([meta.logits] * 3))
    hard = np.repeat(np.eye(3), 90, axis=0)
    weight = np.repeat([0.25, 0.6, 0.15], 90)
    first, second = make(), make()
    if isinstance(first, VectorScaling) and isinstance(second, VectorScaling):
        first.l2, second.l2 = 1.0, 3.0  # in units of rows, of which there are three times as many
    first.fit(meta, soft, context=CONTEXT)
    second.fit(doubled, hard, sample_weight=weight, context=CONTEXT)
    np.testing.assert_allclose(first.predict_proba(meta), second.predict_proba(meta), atol=1e-3)


@pytest.mark.parametrize("make", ALL)
def test_saved_and_loaded_models_predict_the_same(make: type[MetaLearner], tmp_path: Path) -> None:
    meta, labels = draw()
    model = make().fit(meta, labels, context=CONTEXT)
    model.save(tmp_path)
    loaded = make().load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(meta), model.predict_proba(meta))
    assert loaded.describe() == model.describe()


@pytest.mark.parametrize("make", ALL)
def test_a_row_alone_and_in_a_batch_get_the_same(make: type[MetaLearner]) -> None:
    meta, labels = draw()
    model = make().fit(meta, labels, context=CONTEXT)
    alone = [model.predict_proba(meta.take(np.array([i]))) for i in range(20)]
    np.testing.assert_array_equal(np.concatenate(alone), model.predict_proba(meta)[:20])


@pytest.mark.parametrize("make", ALL)
def test_learners_are_found_by_name(make: type[MetaLearner]) -> None:
    meta, labels = draw()
    model = make().fit(meta, labels, context=CONTEXT)
    turned = meta_of(meta.logits[:, ::-1], meta.learners[::-1])
    np.testing.assert_array_equal(model.predict_proba(turned), model.predict_proba(meta))
    with pytest.raises(errors.ArtifactError, match="not there: learner 0"):
        model.predict_proba(meta_of(meta.logits[:, 1:], meta.learners[1:]))


@pytest.mark.parametrize("make", ALL)
def test_a_constant_added_to_a_row_changes_nothing(make: type[MetaLearner]) -> None:
    meta, labels = draw()
    shift = np.random.default_rng(0).integers(-3, 4, (len(meta), 3, 1))
    first = make().fit(meta, labels, context=CONTEXT).predict_proba(meta)
    second = make().fit(meta_of(meta.logits + shift), labels, context=CONTEXT).predict_proba(meta)
    np.testing.assert_allclose(first, second, atol=1e-4)
