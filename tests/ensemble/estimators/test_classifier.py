from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import ensemble
from ensemble import CLASSES, BattleClassifier, SourceAwareGroupKFold
from ensemble.battles.swap import swap_battles
from ensemble.errors import ConfigError, DataError, FoldError, InputError, LearnerError
from ensemble.plugin.base import LEARNER_COLUMNS, FitContext
from ensemble_plugins.tfidf import Tfidf
from tests.ensemble.estimators.spies import PretrainedSpy, Spy

NAMES = np.array(CLASSES)


@pytest.fixture(scope="module")
def world() -> tuple[pl.DataFrame, np.ndarray]:
    made = ensemble.make_battles(target_rows=120, external_rows=0, test_rows=0).target
    numbers = made.select(CLASSES).to_numpy().argmax(axis=1)
    frame = made.select(LEARNER_COLUMNS)
    clusters = ensemble.find_duplicates(frame).clusters
    return frame.join(clusters, on="id", maintain_order="left"), numbers


@pytest.fixture(autouse=True)
def _forget() -> None:
    Spy.fits.clear()


def test_it_is_the_learner_that_a_run_fits(world: Any) -> None:
    battles, numbers = world
    made = BattleClassifier("tfidf", parameters={"ridge": 2.0}, random_state=3)
    made.fit(battles, NAMES[numbers])
    learner = Tfidf(ridge=2.0).fit(
        battles.select(LEARNER_COLUMNS),
        np.eye(3)[numbers],
        groups=battles["cluster"].to_numpy(),
        context=FitContext(seed=3),
    )
    logits = learner.predict_logits(battles)
    np.testing.assert_array_equal(made.decision_function(battles), logits)
    probability = made.predict_proba(battles)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    np.testing.assert_allclose(np.log(probability), made.predict_log_proba(battles))
    assert (made.predict(battles) == NAMES[probability.argmax(axis=1)]).all()
    assert made.score(battles, NAMES[numbers]) == (made.predict(battles) == NAMES[numbers]).mean()
    swapped = made.predict_proba(swap_battles(battles))
    np.testing.assert_allclose(swapped, probability[:, [1, 0, 2]], atol=1e-6)


def test_classes_follow_the_spelling_of_y(world: Any) -> None:
    battles, numbers = world
    named = BattleClassifier(Spy).fit(battles, NAMES[numbers])
    numbered = BattleClassifier(Spy).fit(battles, numbers)
    assert named.classes_.tolist() == list(CLASSES)
    assert numbered.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(named.predict_proba(battles), numbered.predict_proba(battles))
    assert named.predict(battles)[0] == CLASSES[numbered.predict(battles)[0]]
    np.testing.assert_array_equal(Spy.fits[0]["labels"], np.eye(3)[numbers])


def test_a_class_that_y_lacks_has_no_column(world: Any) -> None:
    battles, numbers = world
    few, labels = battles.filter(pl.Series(numbers != 0)), NAMES[numbers[numbers != 0]]
    made = BattleClassifier(Spy).fit(few, labels)
    assert made.classes_.tolist() == ["winner_model_b", "winner_tie"]
    shares = [(labels == name).mean() for name in made.classes_]
    np.testing.assert_allclose(made.predict_proba(few)[0], shares, atol=1e-2)
    margin = made.decision_function(few)
    assert margin.shape == (len(few),)
    np.testing.assert_allclose(1 / (1 + np.exp(-margin)), made.predict_proba(few)[:, 1], atol=1e-6)
    one = BattleClassifier(Spy).fit(few[:5], ["winner_tie"] * 5)
    assert set(one.predict(few)) == {"winner_tie"}


def test_soft_labels_are_taken_as_an_array_or_by_the_names_of_columns(world: Any) -> None:
    battles, numbers = world
    shares = np.eye(3)[numbers] * 0.8 + 0.2 / 3
    table = pl.DataFrame(shares[:, [2, 0, 1]], schema=["winner_tie", *CLASSES[:2]])
    for y in (shares, table, pd.DataFrame(table.to_dict(as_series=False))):
        made = BattleClassifier(Spy).fit(battles, y)
        np.testing.assert_allclose(Spy.fits[-1]["labels"], shares)
        assert made.classes_.tolist() == list(CLASSES)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["model_a"] * 120, "'model_a' in y is no class"),
        ([3] * 120, "3 in y is no class"),
        ([True] * 120, "True in y is no class"),
        ([0.5] * 120, "0.5 in y is no class"),
        ([0] * 119, "y has 119 rows, and X has 120"),
        (np.full((120, 3), 0.5), "no distributions"),
        (np.zeros((120, 2)), "no distributions"),
        ([None, *["winner_tie"] * 119], "mixes names with numbers, or has gaps"),
        (None, "y is None"),
    ],
)
def test_wrong_labels_are_refused(y: Any, message: str, world: Any) -> None:
    with pytest.raises(DataError, match=message):
        BattleClassifier(Spy).fit(world[0], y)


def test_parameters_of_the_learner_are_nested(world: Any) -> None:
    made = BattleClassifier(Spy(rate=2.0))
    assert made.get_params()["learner__rate"] == 2.0
    assert "learner__rate" not in made.get_params(deep=False)
    assert made.set_params(learner__kept="few", random_state=4) is made
    copy = clone(made).set_params(learner__rate=np.float64(3.0))
    assert (copy.get_params()["learner__rate"], made.get_params()["learner__rate"]) == (3.0, 2.0)
    assert copy.get_params()["learner__kept"] == "few"
    copy.fit(*world)
    assert (Spy.fits[0]["rate"], Spy.fits[0]["context"].seed) == (3.0, 4)
    named = BattleClassifier().set_params(learner="tfidf", learner__min_df=2)
    assert named.get_params()["learner__min_df"] == 2
    with pytest.raises(ValueError, match='no parameter "rte": did you mean "rate"'):
        made.set_params(learner__rte=1.0)
    with pytest.raises(ValueError, match="Invalid parameter 'rate'"):
        made.set_params(rate=1.0)
    with pytest.raises(ConfigError, match='unknown parameter "rat"'):
        BattleClassifier(Spy, parameters={"rat": 1}).fit(*world)


def test_what_is_no_learner_is_refused(world: Any) -> None:
    with pytest.raises(InputError, match="int is no base learner"):
        BattleClassifier(3).fit(*world)  # type: ignore[arg-type]
    with pytest.raises(InputError, match='unknown base learner "tfid"'):
        BattleClassifier("tfid").fit(*world)


@pytest.mark.parametrize("columns", [("prompt", "response_a"), ("id",)])
def test_a_table_without_texts_is_refused(columns: Any, world: Any) -> None:
    with pytest.raises(DataError, match="column"):
        BattleClassifier(Spy).fit(world[0].select(columns), world[1])
    with pytest.raises(InputError, match="a path or a table"):
        BattleClassifier(Spy).fit(np.zeros((3, 2)), [0, 1, 2])


def test_plain_texts_without_ids_in_pandas(world: Any) -> None:
    table = pd.DataFrame(
        {"prompt": ["Hi [you]", "b"], "response_a": ["c", "d"], "response_b": ["e", "f"]}
    )
    made = BattleClassifier(Spy, text_format="plain").fit(table, [0, 1])
    assert Spy.fits[0]["ids"] == ["0", "1"]
    assert made.predict_proba(table).shape == (2, 2)
    with pytest.raises(DataError, match='text_format = "plain"'):
        BattleClassifier(Spy).fit(table, [0, 1])


def test_shares_of_two_classes_are_a_task_without_ties(world: Any) -> None:
    battles, _ = world
    shares = np.column_stack([np.linspace(0, 1, 120), np.linspace(1, 0, 120)])
    made = BattleClassifier(Spy).fit(battles, shares)
    np.testing.assert_allclose(Spy.fits[0]["labels"], np.column_stack([shares, np.zeros(120)]))
    assert made.classes_.tolist() == ["winner_model_a", "winner_model_b"]
    found = made.predict_proba(battles)
    assert found.shape == (120, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    with pytest.raises(DataError, match="no distributions"):
        BattleClassifier(Spy).fit(battles, shares * 0.9)


def test_a_learner_sees_texts_alone(world: Any) -> None:
    battles = world[0].with_columns(model_a=pl.lit("gpt"), role=pl.lit("target"), winner=1)
    BattleClassifier(Spy, threads=2, cache_directory=None).fit(battles, world[1])
    assert Spy.fits[0]["columns"] == list(LEARNER_COLUMNS)
    assert Spy.fits[0]["context"].threads == 2


def test_roles_decide_what_is_learned_and_watched(world: Any) -> None:
    battles, numbers = world
    roles = np.array(["target", "train", "pretrain", "ignore", "test"])[np.arange(120) % 5]
    y = NAMES[numbers].astype(object)
    y[np.isin(roles, ["ignore", "test"])] = None
    weight = np.arange(1.0, 121)
    table = battles.with_columns(role=pl.Series(roles))
    BattleClassifier(PretrainedSpy).fit(table, y, sample_weight=weight)
    (seen,) = Spy.fits
    ids = battles["id"].to_numpy()
    assert seen["ids"] == ids[np.isin(roles, ["target", "train"])].tolist()
    assert seen["pretrained"] == ids[roles == "pretrain"].tolist()
    np.testing.assert_array_equal(seen["weight"], weight[np.isin(roles, ["target", "train"])])
    watched = seen["context"].eval_mask
    assert set(np.array(seen["ids"])[watched]) <= set(ids[roles == "target"])
    with pytest.warns(UserWarning, match="24 rows of role pretrain are left out"):
        BattleClassifier(Spy).fit(table, y)
    assert Spy.fits[-1]["ids"] == seen["ids"]
    with pytest.raises(DataError, match="of the target"):
        BattleClassifier(Spy).fit(table.with_columns(role=pl.lit("train")), y)
    with pytest.raises(FoldError, match='unknown role "targt"'):
        BattleClassifier(Spy).fit(table.with_columns(role=pl.lit("targt")), y)


def test_roles_that_no_splitter_would_see_are_refused(world: Any) -> None:
    roles = ["target"] * 60 + ["train"] * 60
    with pytest.raises(InputError, match=r"would be validated(.|\n)*column `role`"):
        BattleClassifier(Spy).fit(*world, roles=roles)
    BattleClassifier(Spy).fit(*world, roles=["target"] * 120)


def test_groups_are_given_or_found(world: Any) -> None:
    battles, numbers = world
    BattleClassifier(Spy).fit(battles, numbers)
    BattleClassifier(Spy).fit(battles.drop("cluster"), numbers)
    BattleClassifier(Spy).fit(battles, numbers, groups=[f"g{i // 2}" for i in range(120)])
    found = [one["groups"] for one in Spy.fits]
    np.testing.assert_array_equal(found[0], found[1])
    assert len(np.unique(found[2])) == 60


@pytest.mark.parametrize("weight", [np.full(120, -1.0), np.zeros(120), np.full(120, np.nan)])
def test_impossible_weights_are_refused(weight: Any, world: Any) -> None:
    with pytest.raises(DataError, match="sample_weight must be"):
        BattleClassifier(Spy).fit(*world, sample_weight=weight)


def test_what_a_learner_raises_has_its_name(world: Any) -> None:
    class Broken(Spy):
        def fit(self, *given: Any, **named: Any) -> Any:
            raise RuntimeError("no luck")

    with pytest.raises(LearnerError, match=r"no luck(.|\n)*learner \"Broken\""):
        BattleClassifier(Broken).fit(*world)


def test_it_stands_in_a_pipeline(world: Any) -> None:
    first = FunctionTransformer(lambda battles: battles.head(100_000))
    made = make_pipeline(first, BattleClassifier(Spy))
    probability = cross_val_predict(
        made, *world, cv=SourceAwareGroupKFold(3), method="predict_proba"
    )
    assert probability.shape == (120, 3)
    made.set_params(battleclassifier__learner__rate=0.5).fit(*world)
    assert Spy.fits[-1]["rate"] == 0.5


def test_a_fitted_learner_is_saved_as_learners_are(world: Any, tmp_path: Any) -> None:
    made = BattleClassifier("tfidf").fit(*world)
    made.learner_.save(tmp_path)
    again = Tfidf().load(tmp_path).predict_logits(world[0])
    np.testing.assert_array_equal(again, made.decision_function(world[0]))
