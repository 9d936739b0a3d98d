from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble import FitContext, MetaFeatures, errors
from ensemble.battles.swap import stack_orders
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.plugin.base import SWAP
from ensemble.plugin.parameters import build, plain_parameters
from ensemble.stacking.candidates import Blend, VectorScaling
from ensemble.storage.hashing import canonical_json
from ensemble_plugins.lightgbm_stacker import LightGBMStacker
from ensemble_plugins.stacker_trees import (
    TrainingTable,
    both_orders,
    column_names,
    columns_of,
    fit_trees,
    holdout_split,
)

if TYPE_CHECKING:
    from pathlib import Path

CONTEXT = FitContext(seed=1)
SMALL: dict[str, Any] = {"n_estimators": 40, "learning_rate": 0.15, "min_child_samples": 30}


def draw(
    rows: int = 1500, *, useful: bool = True, seed: int = 0
) -> tuple[MetaFeatures, np.ndarray, np.ndarray]:
    """Two learners, one good on long battles and one on short ones (or both plain), and labels.

    Feature 0 is the length, 1 and 2 are a pair of sides, 3 changes its sign with the sides.
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(scale=1.5, size=(rows, 3))
    features = rng.normal(size=(rows, 4)).astype(np.float32)
    features[rng.random(features.shape) < 0.05] = np.nan
    long = np.nan_to_num(features[:, 0]) > 0
    noise = np.where(np.column_stack([long, ~long]), 0.3, 4.0) if useful else np.ones((rows, 2))
    logits = truth[:, None] + noise[:, :, None] * rng.normal(size=(rows, 2, 3))
    labels = np.eye(3)[(rng.random(rows)[:, None] > softmax(truth).cumsum(1)[:, :2]).sum(1)]
    names = ("length", "words a", "words b", "difference")
    swap, sign = np.array([0, 2, 1, 3]), np.array([1, 1, 1, -1], np.float32)
    meta = MetaFeatures(logits.astype(np.float32), ("x", "y"), features, names, swap, sign)
    return meta, labels, np.arange(rows) // 2


def without_features(meta: MetaFeatures, *, keep: int = 0) -> MetaFeatures:
    return replace(
        meta,
        features=meta.features[:, :keep],
        feature_names=meta.feature_names[:keep],
        feature_swap=meta.feature_swap[:keep],
        feature_sign=meta.feature_sign[:keep],
    )


@pytest.fixture(scope="module")
def fitted() -> tuple[LightGBMStacker, MetaFeatures]:
    meta, labels, groups = draw()
    return LightGBMStacker(**SMALL).fit(meta, labels, groups=groups, context=CONTEXT), meta


def loss_of(model: LightGBMStacker | VectorScaling, meta: MetaFeatures, labels: Any) -> float:
    return float(row_log_loss(labels, model.predict_proba(meta)).mean())


def test_it_beats_the_scaled_blend_where_the_best_learner_depends_on_a_feature(
    fitted: tuple[LightGBMStacker, MetaFeatures],
) -> None:
    model, _ = fitted
    fresh, labels, _ = draw(3000, seed=9)
    simple = VectorScaling().fit(*draw()[:2], context=CONTEXT)
    assert loss_of(model, fresh, labels) < loss_of(simple, fresh, labels) - 0.03
    assert min(model.describe()["rounds"]) > 0


def test_where_trees_find_nothing_the_scaled_blend_remains() -> None:
    meta, labels, groups = draw(useful=False)
    model = LightGBMStacker().fit(meta, labels, groups=groups, context=CONTEXT)
    simple = VectorScaling().fit(meta, labels, context=CONTEXT)
    fresh, fresh_labels, _ = draw(4000, useful=False, seed=9)
    assert loss_of(model, fresh, fresh_labels) < loss_of(simple, fresh, fresh_labels) + 0.003


def test_exchanging_sides_exchanges_probabilities_exactly(
    fitted: tuple[LightGBMStacker, MetaFeatures],
) -> None:
    model, meta = fitted
    np.testing.assert_array_equal(
        model.predict_proba(meta.swapped()), model.predict_proba(meta)[:, SWAP]
    )


def test_a_row_alone_and_in_a_batch_get_the_same(
    fitted: tuple[LightGBMStacker, MetaFeatures],
) -> None:
    model, meta = fitted
    alone = [model.predict_proba(meta.take(np.array([i]))) for i in range(20)]
    np.testing.assert_array_equal(np.concatenate(alone), model.predict_proba(meta)[:20])


def test_probabilities_are_distributions(fitted: tuple[LightGBMStacker, MetaFeatures]) -> None:
    model, meta = fitted
    found = model.predict_proba(meta)
    assert found.shape == (len(meta), 3)
    assert (found > 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_saved_and_loaded_models_predict_the_same(
    fitted: tuple[LightGBMStacker, MetaFeatures], tmp_path: Path
) -> None:
    model, meta = fitted
    model.save(tmp_path)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".txt", ".json"}
    loaded = LightGBMStacker(**SMALL).load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(meta), model.predict_proba(meta))
    assert loaded.describe() == model.describe()


def test_a_seed_without_trees_is_stored_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    meta, _, groups = draw(300)
    labels = np.eye(3)[rng.integers(0, 3, 300)]
    model = LightGBMStacker(seeds=2).fit(meta, labels, groups=groups, context=CONTEXT)
    assert 0 in model.describe()["rounds"]
    model.save(tmp_path)
    loaded = LightGBMStacker(seeds=2).load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(meta), model.predict_proba(meta))
    assert loaded.describe() == model.describe()


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    meta, labels, groups = draw(400)

    def predict(context: FitContext) -> np.ndarray:
        model = LightGBMStacker(**SMALL, seeds=1).fit(meta, labels, groups=groups, context=context)
        return model.predict_proba(meta)

    first = predict(CONTEXT)
    np.testing.assert_array_equal(first, predict(FitContext(seed=1, threads=2)))
    assert (first != predict(FitContext(seed=2))).any()


def test_soft_labels_count_as_their_classes_weighted() -> None:
    meta, labels, groups = draw(400)
    soft = 0.7 * labels + 0.1
    tripled = meta.take(np.tile(np.arange(400), 3))
    hard, weight = np.repeat(np.eye(3), 400, axis=0), soft.T.ravel()
    settings: dict[str, Any] = {
        "seeds": 1, "n_estimators": 10, "bagging_fraction": 1.0, "start": "mean", "lambda_l2": 0.0
    }  # fmt: skip
    first = LightGBMStacker(**settings).fit(meta, soft, groups=groups, context=CONTEXT)
    second = LightGBMStacker(**settings).fit(
        tripled, hard, sample_weight=weight, groups=np.tile(groups, 3), context=CONTEXT
    )
    np.testing.assert_allclose(first.predict_proba(meta), second.predict_proba(meta), atol=1e-6)


def test_sample_weights_decide_what_is_learned() -> None:
    meta, labels, groups = draw(800)
    wrong = np.roll(labels, 1, axis=1)
    both = meta.take(np.tile(np.arange(800), 2))
    weight = np.repeat([1.0, 0.01], 800)
    model = LightGBMStacker(**SMALL, seeds=1).fit(
        both,
        np.concatenate([labels, wrong]),
        sample_weight=weight,
        groups=np.tile(groups, 2),
        context=CONTEXT,
    )
    assert loss_of(model, meta, labels) < loss_of(model, meta, wrong) - 0.3


@given(st.integers(2, 40), st.floats(0.01, 0.99), st.integers(0, 99))
def test_inner_clusters_are_whole_and_leave_some_on_both_sides(
    clusters: int, fraction: float, seed: int
) -> None:
    numbers = np.random.default_rng(seed).integers(0, clusters, 200)
    numbers[:2] = [0, 1]
    inner = holdout_split(numbers, fraction, seed)
    assert inner.any()
    assert not inner.all()
    assert not set(numbers[inner]) & set(numbers[~inner])


def test_both_orders_of_a_battle_stay_on_one_side(monkeypatch: pytest.MonkeyPatch) -> None:
    meta, labels, _ = draw(60)
    seen = []

    def spy(clusters: np.ndarray, fraction: float, seed: int) -> np.ndarray:
        seen.append(clusters)
        return holdout_split(clusters, fraction, seed)

    monkeypatch.setattr("ensemble_plugins.stacker_trees.holdout_split", spy)
    LightGBMStacker(n_estimators=2, seeds=2).fit(meta, labels, context=CONTEXT)
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[0][:60], seen[0][60:])


def test_trees_correct_the_start_and_do_not_stand_beside_it() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(2000, 3))
    labels = np.eye(3)[(rng.random(2000)[:, None] > softmax(truth).cumsum(1)[:, :2]).sum(1)]
    table = TrainingTable(
        truth.astype(np.float32), labels, np.ones(2000), np.arange(2000), start=-truth
    )
    settings = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    trees = fit_trees(
        table, table.binned(settings), settings, rounds=60, patience=10, inner_fraction=0.2, seed=0
    )
    corrected = softmax(table.start + trees.corrections(table.columns))
    assert row_log_loss(labels, corrected).mean() < row_log_loss(labels, softmax(0 * truth)).mean()


def test_a_single_cluster_is_an_error() -> None:
    meta, labels, _ = draw(20)
    with pytest.raises(errors.LearnerError, match="there is only one"):
        LightGBMStacker().fit(meta, labels, groups=np.zeros(20, int), context=CONTEXT)


def test_columns_follow_names_and_sides() -> None:
    meta, _, _ = draw(5)
    names = column_names(meta.learners, meta.feature_names)
    columns = columns_of(meta, meta.learners, meta.feature_names)
    assert columns.shape == (5, len(names))
    first = dict(zip(names, columns.T, strict=True))
    swapped = columns_of(meta.swapped(), meta.learners, meta.feature_names)
    other = dict(zip(names, swapped.T, strict=True))
    np.testing.assert_array_equal(first["x: A"], other["x: B"])
    np.testing.assert_array_equal(
        first["mean of learners: A - B"], -other["mean of learners: A - B"]
    )
    np.testing.assert_array_equal(first["words a"], other["words b"])
    np.testing.assert_allclose(
        first["mean of learners: tie"],
        (first["x: tie"] + first["y: tie"]) / 2,
        rtol=1e-5,
        atol=1e-6,
    )


def test_both_orders_stack_the_swapped_battles_below() -> None:
    meta, _, _ = draw(5)
    doubled = both_orders(meta)
    assert len(doubled) == 10
    np.testing.assert_array_equal(doubled.take(np.arange(5, 10)).logits, meta.swapped().logits)
    np.testing.assert_array_equal(doubled.features[5:], meta.swapped().features)


def test_features_and_learners_are_found_by_name(
    fitted: tuple[LightGBMStacker, MetaFeatures],
) -> None:
    model, meta = fitted
    turned = MetaFeatures(
        meta.logits[:, ::-1],
        meta.learners[::-1],
        meta.features[:, ::-1],
        meta.feature_names[::-1],
        3 - meta.feature_swap[::-1],
        meta.feature_sign[::-1],
    )
    np.testing.assert_array_equal(model.predict_proba(turned), model.predict_proba(meta))
    fewer = without_features(meta, keep=1)
    with pytest.raises(
        errors.LearnerError, match="features are missing: words a, words b, difference"
    ):
        model.predict_proba(fewer)
    with pytest.raises(errors.ArtifactError, match="not there: y"):
        model.predict_proba(replace(meta, logits=meta.logits[:, :1], learners=("x",)))


def test_it_works_without_features() -> None:
    meta, labels, groups = draw(200)
    bare = without_features(meta)
    model = LightGBMStacker(**SMALL).fit(bare, labels, groups=groups, context=CONTEXT)
    assert np.isfinite(model.predict_proba(bare)).all()


def test_the_description_is_json_with_shares_of_the_gain(
    fitted: tuple[LightGBMStacker, MetaFeatures],
) -> None:
    model, _ = fitted
    described = model.describe()
    canonical_json(described)
    assert sum(described["importance"].values()) == pytest.approx(1)
    assert described["importance"]["length"] > described["importance"]["words a"]
    assert described["start"]["kind"] == "scaled"


def test_parameters_are_kept_as_given_and_checked() -> None:
    model = build(LightGBMStacker, {"start": "blend", "seeds": 1}, where="stack")
    assert plain_parameters(model)["start"] == "blend"
    with pytest.raises(errors.ConfigError, match='parameter "start"'):
        build(LightGBMStacker, {"start": "middle"}, where="stack")
    with pytest.raises(errors.ConfigError, match="inner_fraction must lie between 0 and 1"):
        build(LightGBMStacker, {"inner_fraction": 1.0}, where="stack")
    with pytest.raises(errors.ConfigError, match="seeds must be at least 1"):
        build(LightGBMStacker, {"seeds": 0}, where="stack")
    for name in ("seeds", "num_leaves", "n_estimators"):
        with pytest.raises(
            errors.ConfigError, match=f"{name} must be [0-9]+ or less, got 1000000000"
        ):
            build(LightGBMStacker, {name: 10**9}, where="stack")


def test_a_class_that_the_training_rows_lack_keeps_its_start() -> None:
    # LightGBM by itself starts such a class at log(1e-15), which would enter the seeds' mean.
    meta, labels, groups = draw(600)
    decided = labels[:, 2] == 0
    meta, labels, groups = meta.take(decided), labels[decided], groups[decided]
    columns = columns_of(meta, ("x", "y"), ())
    table = TrainingTable(
        columns, labels, np.ones(len(meta)), groups, np.tile([0.0, 0.0, -1.0], (len(meta), 1))
    )
    settings = {"objective": "multiclass", "num_class": 3, "num_leaves": 4, "verbosity": -1}
    trees = fit_trees(
        table, table.binned(settings), settings, rounds=20, patience=5, inner_fraction=0.2, seed=0
    )
    assert trees.rounds > 0
    np.testing.assert_array_equal(trees.corrections(columns)[:, 2], 0.0)


def test_a_class_of_one_cluster_is_never_ruled_out() -> None:
    meta, labels, groups = draw(600, useful=False)
    tied = np.arange(600) < 4
    labels = np.eye(3)[np.where(tied, 2, labels[:, :2].argmax(axis=1))]
    groups = np.where(tied, groups.max() + 1, groups)
    model = LightGBMStacker(**SMALL, seeds=6).fit(meta, labels, groups=groups, context=CONTEXT)
    assert model.predict_proba(meta)[:, 2].min() > 1e-5


def test_a_tree_sees_no_more_columns_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    module = "ensemble_plugins.lightgbm_stacker.fit_trees"
    monkeypatch.setattr(
        module, lambda _, __, settings, **___: seen.append(settings["feature_fraction"])
    )
    meta, labels, groups = draw(60)
    LightGBMStacker(seeds=1, max_columns=4).fit(meta, labels, groups=groups, context=CONTEXT)
    LightGBMStacker(seeds=1).fit(meta, labels, groups=groups, context=CONTEXT)
    columns = 4 * (len(meta.learners) + 1) + len(meta.feature_names)
    assert seen == [4 / columns, 0.5]
    with pytest.raises(ValueError, match="max_columns must be at least 1"):
        LightGBMStacker(max_columns=0)


@pytest.mark.parametrize("start", ["blend", "scaled"])
def test_one_order_settles_the_weights_of_both(start: Literal["blend", "scaled"]) -> None:
    meta, labels, _ = draw(300)
    weight = np.random.default_rng(2).uniform(0.5, 2.0, 300)
    stacker = LightGBMStacker(start=start, seeds=1, n_estimators=1)
    stacker.fit(meta, labels, sample_weight=weight, context=FitContext(seed=0, threads=1))
    both = Blend().fit(
        both_orders(meta),
        stack_orders(labels),
        sample_weight=np.tile(weight, 2),
        context=FitContext(seed=0, threads=1),
    )
    found = stacker.describe()["start"]["weights"]
    assert found == pytest.approx(both.describe()["weights"], abs=1e-3)
