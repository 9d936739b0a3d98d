"""Honesty rules 1 and 2 through scikit-learn's own cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)

import ensemble
from ensemble import CLASSES, BattleClassifier, ExternalRows, SourceAwareGroupKFold
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.errors import DataError, FoldError
from ensemble.plugin.base import LEARNER_COLUMNS
from tests.ensemble.estimators.spies import PretrainedSpy, Spy

NAMES = np.array(CLASSES)
ROLES = ["target", "target", "train", "pseudo", "pretrain", "ignore"]


@st.composite
def tables(draw: st.DrawFn) -> tuple[pl.DataFrame, np.ndarray]:
    """Battles of all roles in few clusters, with at least four clusters of the target."""
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 8), st.sampled_from(ROLES), st.integers(0, 2)),
            min_size=4,
            max_size=40,
        )
    )
    rows += [(cluster, "target", cluster % 3) for cluster in range(4)]
    clusters, roles, labels = zip(*rows, strict=True)
    table = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(len(rows))],
            **{name: [[f"{name} {i}"] for i in range(len(rows))] for name in TEXT_COLUMNS},
            "role": roles,
            "cluster": clusters,
        }
    )
    return table, NAMES[list(labels)]


def clusters_by_id(table: pl.DataFrame) -> dict[str, int]:
    return dict(table.select("id", "cluster").iter_rows())


def check_fits(table: pl.DataFrame, fits: list[dict[str, Any]], splitter: Any, y: Any) -> None:
    """See that each fit has seen no cluster of the rows that are predicted after it."""
    cluster, role = clusters_by_id(table), dict(table.select("id", "role").iter_rows())
    ids = table["id"].to_numpy()
    for fit, (_, test) in zip(fits, splitter.split(table, y), strict=True):
        held_out = {cluster[one] for one in ids[test]}
        assert {role[one] for one in ids[test]} == {"target"}
        learned = [*fit["ids"], *fit["pretrained"]]
        assert not held_out & {cluster[one] for one in learned}
        allowed = [
            one
            for one in ids
            if role[one] in ("target", "train", "pseudo") and cluster[one] not in held_out
        ]
        assert fit["ids"] == allowed  # and nothing is left out without need


@pytest.mark.filterwarnings("ignore:.*rows of role pretrain are left out")
@settings(deadline=None, max_examples=25)
@given(tables())
def test_no_cluster_of_a_test_fold_is_learned_from_in_a_grid_search(drawn: Any) -> None:
    table, y = drawn
    splitter = SourceAwareGroupKFold(3, seed=1)
    Spy.fits.clear()
    GridSearchCV(
        BattleClassifier(Spy), {"learner__rate": [1.0]}, cv=splitter, error_score="raise"
    ).fit(table, y)
    check_fits(table, Spy.fits[:-1], splitter, y)
    used = table.filter(pl.col("role").is_in(["target", "train", "pseudo"]))
    assert Spy.fits[-1]["ids"] == used["id"].to_list()  # the refit, on all rows


@settings(deadline=None, max_examples=25)
@given(tables())
def test_roles_and_groups_are_routed_to_the_splitter_and_to_the_fit(drawn: Any) -> None:
    table, y = drawn
    splitter = SourceAwareGroupKFold(3, seed=1)
    told = {"roles": table["role"].to_list(), "groups": table["cluster"].to_numpy()}
    Spy.fits.clear()
    with sklearn.config_context(enable_metadata_routing=True):
        cross_validate(
            BattleClassifier(Spy),
            table.drop("role", "cluster"),
            y,
            cv=splitter,
            params=told,
            error_score="raise",
        )
    check_fits(table, Spy.fits, splitter, y)


@settings(deadline=None, max_examples=25)
@given(tables())
def test_rows_for_pretraining_are_cut_too(drawn: Any) -> None:
    table, y = drawn
    splitter = SourceAwareGroupKFold(
        3, seed=1, training_roles=("target", "train", "pseudo", "pretrain")
    )
    Spy.fits.clear()
    cross_validate(BattleClassifier(PretrainedSpy), table, y, cv=splitter, error_score="raise")
    check_fits(table, Spy.fits, splitter, y)
    # A cluster is held out in one fold at most: its external rows are used in the others.
    used = {one for fit in Spy.fits for one in fit["pretrained"]}
    assert used == set(table.filter(pl.col("role") == "pretrain")["id"])


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_external_rows_come_with_the_fit_and_are_cut_there(drawn: Any) -> None:
    """What ``cross_val_predict`` learns from is what a table with roles is learned from."""
    table, y = drawn
    is_target = (table["role"] == "target").to_numpy()
    extern = table["role"].is_in(["train", "pseudo", "pretrain"]).to_numpy()
    if not extern.any():
        return
    target, splitter = table.filter(pl.Series(is_target)), SourceAwareGroupKFold(3, seed=1)
    others = table.filter(pl.Series(extern))
    external = ExternalRows(target, others, y[extern], weight=0.5)
    learner = BattleClassifier(PretrainedSpy)
    Spy.fits.clear()
    found = cross_val_predict(
        learner, target, y[is_target], cv=splitter, params={"external": external}
    )
    assert len(found) == len(target)
    cluster = clusters_by_id(table)
    for fit, (train, test) in zip(Spy.fits, splitter.split(target, y[is_target]), strict=True):
        held_out = set(target["cluster"].to_numpy()[test])
        kept = others.filter(~pl.col("cluster").is_in(list(held_out)))
        expected = [*target["id"].to_numpy()[train]]
        expected += kept.filter(pl.col("role") != "pretrain")["id"].to_list()
        assert fit["ids"] == expected
        assert fit["pretrained"] == kept.filter(pl.col("role") == "pretrain")["id"].to_list()
        assert fit["weight"].tolist() == [1.0] * len(train) + [0.5] * (len(expected) - len(train))
        assert fit["groups"].tolist() == [cluster[one] for one in expected]


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    made = ensemble.make_battles(target_rows=200, external_rows=120, test_rows=0)
    tables = {}
    for name in ("target", "external"):
        frame: pl.DataFrame = getattr(made, name)
        role = "train" if name == "external" else name
        tables[name] = frame.select(LEARNER_COLUMNS).with_columns(
            role=pl.lit(role), source=pl.lit(name)
        )
        tables[f"{name} labels"] = NAMES[frame.select(CLASSES).to_numpy().argmax(axis=1)]
    return tables


def test_near_duplicates_are_found_and_never_cross(world: dict[str, Any]) -> None:
    table = pl.concat([world["target"], world["external"]])
    y = np.concatenate([world["target labels"], world["external labels"]])
    cluster = dict(ensemble.find_duplicates(table).clusters.iter_rows())
    assert len(set(cluster.values())) < len(table)
    splitter = SourceAwareGroupKFold(3)
    for train, test in splitter.split(table, y):
        sides = [{cluster[one] for one in table["id"].to_numpy()[rows]} for rows in (train, test)]
        assert not sides[0] & sides[1]
        assert set(table["role"].to_numpy()[test]) == {"target"}


@pytest.mark.slow
def test_oof_predictions_with_external_rows_are_those_of_a_table_with_roles(
    world: dict[str, Any],
) -> None:
    target, y = world["target"], world["target labels"]
    table = pl.concat([target, world["external"]])
    labels = np.concatenate([y, world["external labels"]])
    learner, splitter = BattleClassifier("tfidf"), SourceAwareGroupKFold(3)
    external = ExternalRows(target, world["external"], world["external labels"])
    groups = ensemble.find_duplicates(table).clusters["cluster"].to_numpy()
    oof = cross_val_predict(
        learner,
        target,
        y,
        groups=groups[: len(target)],
        cv=splitter,
        method="decision_function",
        params={"external": external},
    )
    for train, test in splitter.split(table, labels, groups):
        whole = learner.fit(table[train], labels[train])
        np.testing.assert_allclose(whole.decision_function(table[test]), oof[test], atol=1e-5)
    alone = cross_val_predict(
        learner, target, y, groups=groups[: len(target)], cv=splitter, method="decision_function"
    )
    assert not np.allclose(alone, oof, atol=0.01)


def test_folds_that_split_clusters_are_refused_where_that_can_be_seen(
    world: dict[str, Any],
) -> None:
    target, y = world["target"], world["target labels"]
    external = ExternalRows(target, world["external"], world["external labels"])
    folds = KFold(3, shuffle=True, random_state=0)
    with pytest.raises(FoldError, match=r"near duplicates of rows(.|\n)*SourceAwareGroupKFold"):
        cross_val_predict(BattleClassifier(Spy), target, y, cv=folds, params={"external": external})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.with_columns(role=pl.lit("target")), 'cannot be "target"'),
        (lambda t: t.drop("id"), "joined by id"),
        (lambda t: t.with_columns(id=pl.lit("30000000")).head(1), "is in the target and among"),
    ],
)
def test_impossible_external_rows_are_refused(
    change: Any, message: str, world: dict[str, Any]
) -> None:
    changed = change(world["external"])
    labels = world["external labels"][: len(changed)]
    with pytest.raises((DataError, FoldError), match=message):
        ExternalRows(world["target"], changed, labels)


def test_rows_that_external_rows_do_not_know_are_refused(world: dict[str, Any]) -> None:
    external = ExternalRows(world["target"][:100], world["external"], world["external labels"])
    with pytest.raises(FoldError, match=r"100 rows are none of the target(.|\n)*all battles"):
        BattleClassifier(Spy).fit(world["target"], world["target labels"], external=external)


def test_as_many_external_rows_as_target_rows_are_no_metadata_by_row(world: Any) -> None:
    """Scikit-learn would index an array of the same length by the rows of a fold."""
    target = world["target"].head(120)
    external = ExternalRows(target, world["external"], world["external labels"])
    assert not any(hasattr(external, name) for name in ("__len__", "shape", "__array__"))
    assert "120 rows beside 120" in repr(external)


def test_scores_are_of_the_target_alone(world: dict[str, Any]) -> None:
    target, y = world["target"], world["target labels"]
    table = pl.concat([target, world["external"]])
    labels = np.concatenate([y, np.full(120, "winner_tie")])
    splitter = SourceAwareGroupKFold(2)
    scores = cross_val_score(
        BattleClassifier(Spy), table, labels, cv=splitter, scoring="accuracy", error_score="raise"
    )
    # All predictions are ties, of which the external rows alone are full.
    shares = [(labels[test] == "winner_tie").mean() for _, test in splitter.split(table, labels)]
    np.testing.assert_allclose(scores, shares)


@pytest.mark.slow
def test_several_processes_give_the_same(world: dict[str, Any]) -> None:
    target, y = world["target"][:80], world["target labels"][:80]
    learner = BattleClassifier("tfidf", parameters={"max_features": 300})
    folds = SourceAwareGroupKFold(2)
    options: dict[str, Any] = {"cv": folds, "method": "predict_proba"}
    one, two = (cross_val_predict(learner, target, y, n_jobs=n, **options) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_a_splitter_says_what_it_is() -> None:
    splitter = SourceAwareGroupKFold(4, seed=9)
    assert repr(splitter) == "SourceAwareGroupKFold(n_splits=4, seed=9)"
    assert splitter.get_n_splits(roles=["target"], groups=[1]) == 4
    with pytest.raises(FoldError, match=r"split needs groups(.|\n)*table of battles"):
        next(splitter.split(np.zeros((5, 2))))
