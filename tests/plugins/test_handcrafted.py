from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import Feature, FeatureSet, FitContext, errors
from ensemble.battles.swap import swap_battles, swap_classes
from ensemble.plugin.manager import Manager
from ensemble.plugin.parameters import plain_parameters
from ensemble_plugins import handcrafted
from ensemble_plugins.handcrafted import Handcrafted
from tests.plugins.handcrafted_rows import FAST, log_loss, make_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.plugin.base import Register

DATA = Path(__file__).parents[3] / "shared" / "data" / "arena" / "train.csv"


@pytest.fixture(scope="module")
def fitted() -> Handcrafted:
    battles, labels, groups = make_rows(240)
    return Handcrafted(**FAST).fit(battles, labels, groups=groups, context=FitContext(seed=1))


def test_it_learns_what_there_is_to_learn(fitted: Handcrafted) -> None:
    battles, labels, _ = make_rows(200, seed=5)
    prior = log_loss(np.zeros((200, 3)), labels)
    assert log_loss(fitted.predict_logits(battles), labels) < 0.6 * prior


def test_exchanging_sides_exchanges_logits_exactly(fitted: Handcrafted) -> None:
    battles, _, _ = make_rows(60, seed=6)
    logits = fitted.predict_logits(battles)
    assert logits.dtype == np.float32
    assert logits.shape == (60, 3)
    np.testing.assert_array_equal(
        fitted.predict_logits(swap_battles(battles)), swap_classes(logits)
    )


def test_a_row_alone_is_predicted_as_in_a_batch(fitted: Handcrafted) -> None:
    battles, _, _ = make_rows(20, seed=7)
    logits = fitted.predict_logits(battles)
    for row in range(20):
        np.testing.assert_array_equal(fitted.predict_logits(battles[row])[0], logits[row])


def test_the_same_seed_gives_the_same_logits_and_another_does_not() -> None:
    battles, labels, groups = make_rows(120)
    one, same, other = (
        Handcrafted(**FAST)
        .fit(battles, labels, groups=groups, context=FitContext(seed=seed, threads=threads))
        .predict_logits(battles)
        for seed, threads in ((3, 1), (3, 2), (4, 1))
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_what_is_saved_predicts_the_same(fitted: Handcrafted, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "handcrafted.json",
        "model-0.txt",
        "model-1.txt",
    ]
    battles, _, _ = make_rows(30, seed=8)
    loaded = Handcrafted(**plain_parameters(fitted)).load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_logits(battles), fitted.predict_logits(battles))


@pytest.mark.parametrize("damage", [lambda text: text[:-200], lambda _: "tree", None])
def test_a_damaged_model_is_never_handed_to_lightgbm(
    damage: Callable[[str], str] | None, fitted: Handcrafted, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    path = tmp_path / "model-1.txt"
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage(path.read_text()))
    with pytest.raises(
        errors.ArtifactError, match=r"stored model (is not|cannot)(.|\n)*model-1\.txt"
    ):
        Handcrafted(**FAST).load(tmp_path)


def test_other_columns_than_those_learned_from_are_refused(
    fitted: Handcrafted, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    other = Handcrafted(**(FAST | {"features": ["length"]})).load(tmp_path)
    with pytest.raises(
        errors.ArtifactError, match="other columns than those that were learned from"
    ):
        other.predict_logits(make_rows(3)[0])


def test_no_facts_means_no_model(tmp_path: Path) -> None:
    with pytest.raises(errors.ArtifactError, match="stored file is missing"):
        Handcrafted(**FAST).load(tmp_path)


def test_an_unknown_feature_set_is_named_with_the_nearest() -> None:
    battles, labels, _ = make_rows(20)
    learner = Handcrafted(**(FAST | {"features": ["lenght"]}))
    with pytest.raises(errors.UnknownNameError, match=r'"lenght"(.|\n)*did you mean "length"'):
        learner.fit(battles, labels, context=FitContext())


def test_feature_sets_of_other_plugins_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Third:
        @staticmethod
        def register_feature_sets(register: Register) -> None:
            turns = Feature("my_turns", pl.col("prompt").list.len(), "Turns; count.", "my_turns")
            register("mine", FeatureSet("mine", (turns,)))

    from ensemble import hookimpl

    Third.register_feature_sets = staticmethod(hookimpl(Third.register_feature_sets))  # type: ignore[method-assign]
    manager = Manager({"third": Third()})
    monkeypatch.setattr(handcrafted, "get_manager", lambda: manager)
    battles, labels, _ = make_rows(40)
    learner = Handcrafted(**(FAST | {"features": ["mine", "length"]}))
    learner.fit(battles, labels, context=FitContext())
    assert learner.columns_[0] == "my_turns"


def test_groups_are_dealt_whole_and_too_few_are_an_error() -> None:
    battles, labels, _ = make_rows(20)
    with pytest.raises(errors.LearnerError, match=r"2 models .* on 1 groups(.|\n)*n_models = 1"):
        Handcrafted(**FAST).fit(
            battles, labels, groups=np.zeros(20, dtype=np.int64), context=FitContext()
        )


def test_soft_labels_are_learned_as_shares() -> None:
    battles, _, groups = make_rows(200)
    soft = np.tile([0.5, 0.2, 0.3], (200, 1))
    learner = Handcrafted(**FAST).fit(battles, soft, groups=groups, context=FitContext())
    logits = learner.predict_logits(battles).astype(float)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    # Both orders are learned: the shares of A and B come out equal where the text tells nothing.
    np.testing.assert_allclose(probability.mean(axis=0), [0.35, 0.35, 0.3], atol=0.02)


def test_a_hard_label_is_a_one_hot_soft_label_and_weights_count_rows() -> None:
    battles, labels, groups = make_rows(100)
    context = FitContext(seed=2)
    plain = Handcrafted(**FAST).fit(battles, labels, groups=groups, context=context)
    scaled = Handcrafted(**FAST).fit(
        battles, labels, sample_weight=np.full(100, 7.0), groups=groups, context=context
    )
    np.testing.assert_array_equal(plain.predict_logits(battles), scaled.predict_logits(battles))
    uneven = np.where(labels[:, 2] == 1, 9.0, 1.0)
    tied = Handcrafted(**FAST).fit(
        battles, labels, sample_weight=uneven, groups=groups, context=context
    )
    gain = tied.predict_logits(battles)[:, 2] - plain.predict_logits(battles)[:, 2]
    assert gain.mean() > 0


def test_a_class_that_never_occurs_gets_a_finite_low_logit() -> None:
    battles, labels, groups = make_rows(120)
    decided = labels[:, 2] == 0
    learner = Handcrafted(**FAST).fit(
        battles.filter(decided), labels[decided], groups=groups[decided], context=FitContext()
    )
    logits = learner.predict_logits(battles)
    assert np.isfinite(logits).all()
    assert (logits[:, 2] < logits[:, :2].max(axis=1) - 3).all()


def test_a_class_that_one_group_holds_costs_about_its_prior() -> None:
    battles, labels, groups = make_rows(200)
    labels = np.eye(3)[np.where(np.arange(200) < 4, 2, labels[:, :2].argmax(axis=1))]
    groups = np.where(np.arange(200) < 4, groups.max() + 1, groups)
    learner = Handcrafted(**FAST).fit(battles, labels, groups=groups, context=FitContext())
    logits = learner.predict_logits(battles)
    # One of both models has not seen a tie: its start must not outvote the other.
    prior = np.log(4 / 200)
    gap = logits[:, 2] - np.log(np.exp(logits.astype(float)).sum(axis=1))
    assert gap.min() > prior - 2.5


def test_the_start_is_a_prior_that_treats_both_sides_alike_and_is_never_infinite() -> None:
    battles, labels, groups = make_rows(200)
    learner = Handcrafted(**FAST).fit(battles, labels, groups=groups, context=FitContext())
    counts = labels.sum(axis=0)
    sides = counts[:2].mean() + 1
    expected = np.log(np.array([sides, sides, counts[2] + 1]) / 203)
    np.testing.assert_allclose(learner.stages_["model"].start, expected)


def test_features_are_kept_in_the_cache_directory_for_fit_and_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    battles, labels, groups = make_rows(40)
    context = FitContext(cache_directory=tmp_path)
    cached = Handcrafted(**FAST).fit(battles, labels, groups=groups, context=context)
    files = sorted(tmp_path.rglob("*.parquet"))
    assert len(files) == len(FAST["features"])
    plain = Handcrafted(**FAST).fit(battles, labels, groups=groups, context=FitContext())
    np.testing.assert_array_equal(cached.predict_logits(battles), plain.predict_logits(battles))
    assert sorted(tmp_path.rglob("*.parquet")) == files


def test_progress_is_told_once_a_model() -> None:
    told: list[float] = []
    battles, labels, groups = make_rows(40)
    context = FitContext(progress=lambda done, _="": told.append(done))
    Handcrafted(**FAST).fit(battles, labels, groups=groups, context=context)
    assert told == [0.5, 1.0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_models": 1}, "n_models"),
        ({"features": []}, "features"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"feature_fraction": 1.5}, "feature_fraction"),
        ({"num_leaves": 1}, "num_leaves"),
        ({"lambda_l2": -1.0}, "lambda_l2"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Handcrafted(**(FAST | wrong))


def test_parameters_are_kept_as_given() -> None:
    names = ["length"]
    learner = Handcrafted(features=names)
    assert learner.features is names
    assert learner.n_models == 4


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_real_battles_are_predicted_clearly_better_than_by_the_prior() -> None:
    table = pl.read_csv(DATA, infer_schema=False)
    texts = {
        name: pl.Series([json.loads(cell) for cell in table[name]], dtype=pl.List(pl.String))
        for name in ("prompt", "response_a", "response_b")
    }
    battles = pl.DataFrame({"id": table["id"], **texts})
    winners = ("winner_model_a", "winner_model_b", "winner_tie")
    labels = table.select(pl.col(winners).cast(pl.Float64)).to_numpy()
    groups = battles["prompt"].list.first().rank("dense").to_numpy().astype(np.int64)
    held_out = groups % 5 == 0
    learner = Handcrafted().fit(
        battles.filter(~held_out),
        labels[~held_out],
        groups=groups[~held_out],
        context=FitContext(threads=2),
    )
    logits = learner.predict_logits(battles.filter(held_out))
    assert log_loss(logits, labels[held_out]) < 0.95
