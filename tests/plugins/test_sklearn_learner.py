from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble.battles.swap import swap_battles, swap_classes
from ensemble.errors import LearnerError
from ensemble.plugin.base import FitContext
from ensemble_plugins.sklearn_learner import SklearnLearner
from tests.plugins.sklearn_pipelines import LINEAR, TREES, fit, loss


@pytest.mark.parametrize("settings", [TREES, LINEAR], ids=["trees", "linear"])
def test_it_beats_the_class_prior(settings: Any, world: Any) -> None:
    battles, labels = world
    learner = fit(world, slice(350), **settings | {"features": ["length", "markdown", "lexical"]})
    prior = loss(np.log(labels[:350].mean(axis=0)) + np.zeros((150, 3)), labels[350:])
    assert loss(learner.predict_logits(battles[350:]), labels[350:]) < prior - 0.01


@pytest.mark.parametrize(("name", "inputs"), [("make", "text"), ("columns", "columns")])
def test_pipelines_of_texts_beat_the_class_prior(
    name: str, inputs: Any, pipelines: Path, world: Any
) -> None:
    battles, labels = world
    parts = {"make": "model__C", "columns": "logisticregression__C"}
    learner = fit(
        world,
        slice(350),
        estimator=f"{pipelines}:{name}",
        parameters={parts[name]: 0.1},
        inputs=inputs,
    )
    prior = loss(np.log(labels[:350].mean(axis=0)) + np.zeros((150, 3)), labels[350:])
    assert loss(learner.predict_logits(battles[350:]), labels[350:]) < prior


def test_exchanging_sides_exchanges_logits_exactly(trees: SklearnLearner, world: Any) -> None:
    logits = trees.predict_logits(world[0][:80])
    assert logits.dtype == np.float32
    assert logits.shape == (80, 3)
    np.testing.assert_array_equal(
        trees.predict_logits(swap_battles(world[0][:80])), swap_classes(logits)
    )


def test_one_order_alone_is_not_symmetric(world: Any) -> None:
    learner = fit(world, **TREES, swap_augmentation=False, swap_tta=False)
    logits = learner.predict_logits(world[0][:80])
    swapped = learner.predict_logits(swap_battles(world[0][:80]))
    assert not np.allclose(swapped, swap_classes(logits), atol=0.01)


def test_a_row_alone_is_predicted_as_in_a_batch(trees: SklearnLearner, world: Any) -> None:
    logits = trees.predict_logits(world[0][:10])
    alone = np.concatenate([trees.predict_logits(world[0][[row]]) for row in range(10)])
    np.testing.assert_allclose(alone, logits, atol=1e-6)
    assert trees.predict_logits(world[0][:0]).shape == (0, 3)


def test_the_seed_alone_decides_and_threads_do_not(world: Any) -> None:
    battles, labels = world
    one, same, other = (
        SklearnLearner(**TREES)
        .fit(battles, labels, context=FitContext(seed=seed, threads=threads))
        .predict_logits(battles[:50])
        for seed, threads in ((3, 1), (3, 2), (4, 1))
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_random_state_of_the_config_stays() -> None:
    learner = SklearnLearner(estimator="sklearn.tree.DecisionTreeClassifier", features=["length"])
    assert learner._made(FitContext(seed=2**40 + 5)).random_state == 5
    learner = SklearnLearner(
        estimator="sklearn.tree.DecisionTreeClassifier", parameters={"random_state": 9}
    )
    assert learner._made(FitContext(seed=5)).random_state == 9


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shares=st.lists(
        st.sampled_from([(4, 0, 0), (2, 1, 1), (1, 3, 0), (0, 2, 2)]), min_size=40, max_size=40
    )
)
def test_a_soft_label_is_as_many_rows_as_its_shares(shares: Any, world: Any) -> None:
    battles, counts = world[0][:40], np.array(shares, dtype=np.int64)
    tree: dict[str, Any] = {"estimator": "sklearn.tree.DecisionTreeClassifier"}
    tree |= {"features": ["length"], "parameters": {"max_depth": 3}}
    soft = SklearnLearner(**tree).fit(battles, counts / 4, context=FitContext())
    rows = np.repeat(np.arange(40), 4)
    hard = np.concatenate([np.repeat(np.eye(3), own, axis=0) for own in counts])
    copies = SklearnLearner(**tree).fit(battles[rows], hard, context=FitContext())
    np.testing.assert_allclose(
        soft.predict_logits(battles), copies.predict_logits(battles), atol=1e-4
    )


def test_weights_count_as_copies_and_only_by_their_ratios(world: Any) -> None:
    battles, labels = world[0][:120], world[1][:120]
    weight = np.where(np.arange(120) % 3 == 0, 2.0, 1.0)
    settings = {"estimator": "sklearn.tree.DecisionTreeClassifier", "features": ["length"]}
    settings["parameters"] = {"max_depth": 3}  # type: ignore[assignment]
    fits = [
        SklearnLearner(**settings)  # type: ignore[arg-type]
        .fit(battles, labels, sample_weight=given, context=FitContext())
        .predict_logits(battles)
        for given in (weight, 7 * weight, None)
    ]
    np.testing.assert_allclose(fits[0], fits[1], atol=1e-6)
    assert not np.allclose(fits[0], fits[2])
    rows = np.repeat(np.arange(120), weight.astype(int))
    copies = SklearnLearner(**settings)  # type: ignore[arg-type]
    copies.fit(battles[rows], labels[rows], context=FitContext())
    np.testing.assert_allclose(copies.predict_logits(battles), fits[0], atol=1e-5)


@pytest.mark.parametrize("name", ["neighbors", None])
def test_weights_that_would_be_ignored_are_refused(
    name: str | None, pipelines: Path, world: Any
) -> None:
    """Also those of a part of the estimator, of which scikit-learn only warns."""
    estimator = f"{pipelines}:{name}" if name else "sklearn.neighbors.KNeighborsClassifier"
    learner = SklearnLearner(estimator=estimator, features=["length"], impute="median")
    equal, weight = np.full(100, 3.0), np.arange(1.0, 101)
    learner.fit(world[0][:100], world[1][:100], sample_weight=equal, context=FitContext())
    with pytest.raises(LearnerError, match=r"takes no weights of rows(.|\n)*sample_weight"):
        learner.fit(world[0][:100], world[1][:100], sample_weight=weight, context=FitContext())


def test_weights_reach_the_last_step_of_a_pipeline(world: Any) -> None:
    battles, labels = world[0][:120], world[1][:120]
    ties = np.where(labels[:, 2] == 1, 9.0, 1.0)
    learners = [
        SklearnLearner(**LINEAR, features=["length"]).fit(
            battles, labels, sample_weight=weight, context=FitContext()
        )
        for weight in (None, ties)
    ]
    plain, tied = (learner.predict_logits(battles)[:, 2].mean() for learner in learners)
    assert tied > plain + 0.5


def test_classes_that_no_row_has_are_improbable(world: Any) -> None:
    battles, labels = world
    decided = labels[:, 2] == 0
    learner = SklearnLearner(**TREES)
    learner.fit(battles.filter(decided), labels[decided], context=FitContext())
    np.testing.assert_allclose(learner.predict_logits(battles)[:, 2], np.log(1e-6), rtol=1e-5)
    tied = SklearnLearner(**LINEAR, features=["length"])
    tied.fit(battles.filter(~decided), labels[~decided], context=FitContext())
    np.testing.assert_allclose(tied.predict_logits(battles)[:, 2], 0)


def test_undefined_features_are_never_filled_unasked(world: Any) -> None:
    nothing = pl.lit([None], dtype=pl.List(pl.String))
    some = pl.int_range(pl.len()) % 3 == 0
    undefined = world[0].with_columns(
        response_a=pl.when(some).then(nothing).otherwise("response_a")
    )
    settings = LINEAR | {"impute": "none", "features": ["length", "markdown", "lexical"]}
    with pytest.raises(LearnerError, match=r"takes no NaN, and \d+ features(.|\n)*impute = \"med"):
        fit((undefined, world[1]), **settings)
    with pytest.raises(LearnerError, match="takes no NaN"):
        SklearnLearner(**settings).preflight(undefined[:6], context=FitContext())
    filled = fit((undefined, world[1]), **settings | {"impute": "median"})
    assert np.isfinite(filled.predict_logits(undefined)).all()
    takes_nan = fit((undefined, world[1]), **TREES | {"features": settings["features"]})
    assert np.isfinite(takes_nan.predict_logits(undefined)).all()
