from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble import SourceAwareGroupKFold, errors
from ensemble.battles.fold_plan import PLAN_SCHEMA, FoldPlan, overlap_with_test
from ensemble.battles.plan import make_plan
from ensemble.config.settings import Folds

if TYPE_CHECKING:
    from random import Random

    from tests.fixture_types import MakeBattles

ROLES = ["target", "train", "pretrain", "pseudo", "ignore"]


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Rows of all roles over few clusters, with at least as many target clusters as folds."""
    n_splits = draw(st.integers(2, 5))
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 12), st.sampled_from(ROLES), st.integers(0, 2)), max_size=60
        )
    )
    rows += [(cluster, "target", cluster % 3) for cluster in range(n_splits)]
    clusters, roles, labels = zip(*rows, strict=True)
    return {
        "n_splits": n_splits,
        "groups": np.array(clusters),
        "roles": list(roles),
        "y": np.array(labels),
        "seed": draw(st.integers(0, 3)),
    }


@given(tables())
def test_no_group_stands_on_both_sides_and_every_target_row_is_validated_once(
    table: dict[str, Any],
) -> None:
    splitter = SourceAwareGroupKFold(table["n_splits"], seed=table["seed"])
    groups, roles = table["groups"], np.array(table["roles"])
    validated = np.zeros(len(groups), dtype=int)
    for train, valid in splitter.split(None, table["y"], groups, roles=table["roles"]):
        assert len(valid)
        assert not set(groups[train]) & set(groups[valid])
        assert set(roles[valid]) == {"target"}
        assert set(roles[train]) <= {"target", "train", "pseudo"}
        trainable = np.isin(roles, ["target", "train", "pseudo"])
        # Nothing is left out without need.
        left_out = np.setdiff1d(np.flatnonzero(trainable), np.concatenate([train, valid]))
        assert set(groups[left_out]) <= set(groups[valid])
        validated[valid] += 1
    assert (validated == (roles == "target")).all()


@given(tables(), st.randoms(use_true_random=False))
def test_names_of_groups_do_not_matter(table: dict[str, Any], random: Random) -> None:
    names = list(range(100, 113))
    random.shuffle(names)
    renamed = np.array([f"g{group:02d}" for group in table["groups"]])
    splitter = SourceAwareGroupKFold(table["n_splits"], seed=1)
    plain = list(splitter.split(None, table["y"], table["groups"], roles=table["roles"]))
    other = list(splitter.split(None, table["y"], renamed, roles=table["roles"]))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(plain, other, strict=True))


def test_folds_have_about_the_same_size_and_label_shares() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(2_000), rng.integers(1, 6, size=2_000))
    labels = np.eye(3)[rng.choice(3, size=len(groups), p=[0.5, 0.3, 0.2])]
    folds = SourceAwareGroupKFold(5).assign(groups, labels)
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 5
    shares = np.array([labels[folds == fold].mean(axis=0) for fold in range(5)])
    assert np.ptp(shares, axis=0).max() < 0.005


def test_each_target_source_is_stratified() -> None:
    rng = np.random.default_rng(0)
    sources = np.array(["big"] * 900 + ["small"] * 100)
    labels = np.eye(3)[rng.integers(3, size=1_000)]
    folds = SourceAwareGroupKFold(5).assign(np.arange(1_000), labels, sources)
    assert np.bincount(folds[sources == "small"]).tolist() == pytest.approx([20] * 5, abs=2)


def test_soft_labels_are_taken() -> None:
    labels = np.random.default_rng(0).dirichlet([1, 1, 1], size=300)
    folds = SourceAwareGroupKFold(3).assign(np.arange(300), labels)
    means = np.array([labels[folds == fold].mean(axis=0) for fold in range(3)])
    assert np.ptp(means, axis=0).max() < 0.01


@pytest.mark.parametrize("clusters", [1, 2, 3])
def test_fewer_clusters_than_folds_is_an_error_that_says_how_many(clusters: int) -> None:
    groups = np.arange(20) % clusters
    with pytest.raises(
        errors.FoldError, match=f"{clusters} clusters of target rows cannot fill 4 folds"
    ):
        list(SourceAwareGroupKFold(4).split(groups=groups))


def test_groups_are_required() -> None:
    with pytest.raises(errors.FoldError, match="needs groups"):
        list(SourceAwareGroupKFold(2).split(np.zeros(4)))


def test_one_fold_is_refused() -> None:
    with pytest.raises(errors.FoldError, match="at least 2"):
        SourceAwareGroupKFold(1)


def test_y_of_another_length_is_refused() -> None:
    with pytest.raises(errors.FoldError, match="y has 3 rows and groups 4"):
        list(SourceAwareGroupKFold(2).split(y=[0, 1, 2], groups=[0, 1, 2, 3]))


@pytest.mark.parametrize("name", ["roles", "sources"])
def test_columns_of_another_length_are_refused(name: str) -> None:
    for length in (3, 5):
        with pytest.raises(errors.FoldError, match=f"{name} has {length} rows and groups 4"):
            list(SourceAwareGroupKFold(2).split(groups=[0, 1, 2, 3], **{name: ["target"] * length}))


def test_an_unknown_role_is_refused() -> None:
    roles = ["target", "Target", "test", "ignore"]
    with pytest.raises(errors.FoldError, match='unknown role "Target"(.|\n)*did you mean "target"'):
        list(SourceAwareGroupKFold(2).split(groups=[0, 1, 2, 3], roles=roles))


def test_test_rows_are_on_neither_side() -> None:
    roles = ["target", "target", "test", "train"]
    for train, valid in SourceAwareGroupKFold(2).split(groups=[0, 1, 2, 3], roles=roles):
        assert 2 not in [*train, *valid]


def test_it_is_used_by_scikit_learn() -> None:
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import cross_val_score

    scores = cross_val_score(
        DummyClassifier(),
        np.zeros((12, 1)),
        np.arange(12) % 2,
        groups=np.arange(12) // 2,
        cv=SourceAwareGroupKFold(3),
    )
    assert scores.shape == (3,)


def _plan(rows: list[tuple[str, str, int, int | None]]) -> FoldPlan:
    frame = pl.DataFrame(
        [{"id": i, "source": r, "role": r, "cluster": c, "fold": f} for i, r, c, f in rows],
        schema=PLAN_SCHEMA,
    )
    return FoldPlan(frame, 2)


def test_a_plan_cuts_what_shares_a_cluster_with_the_held_out_fold() -> None:
    plan = _plan(
        [
            ("a", "target", 0, 0),
            ("b", "target", 1, 1),
            ("c", "train", 0, None),
            ("d", "train", 2, None),
            ("e", "pretrain", 0, None),
            ("f", "pretrain", 1, None),
            ("g", "ignore", 1, None),
            ("h", "test", 0, None),
        ]
    )

    def ids(mask: pl.Series) -> list[str]:
        return plan.frame.filter(mask)["id"].to_list()

    assert ids(plan.held_out(0)) == ["a"]
    assert ids(plan.training(0)) == ["b", "d"]
    assert ids(plan.training(1)) == ["a", "c", "d"]
    assert ids(plan.training(0, ("pretrain",))) == ["f"]
    assert ids(plan.training(None)) == ["a", "b", "c", "d"]
    assert plan.cut_rows(0)["id"].to_list() == ["c", "e"]
    assert plan.cut_rows(1)["id"].to_list() == ["f"]
    assert overlap_with_test(plan)["id"].to_list() == ["a", "c", "e"]


def test_the_fingerprint_ignores_the_order_of_rows_and_nothing_else() -> None:
    rows: list[tuple[str, str, int, int | None]] = [
        ("a", "target", 0, 0),
        ("b", "target", 1, 1),
        ("c", "train", 0, None),
    ]
    base = _plan(rows).fingerprint
    assert _plan(rows[::-1]).fingerprint == base
    for changed in (
        [("z", "target", 0, 0), *rows[1:]],
        [("a", "target", 5, 0), *rows[1:]],
        [("a", "target", 0, 1), *rows[1:]],
        [*rows[:2], ("c", "pretrain", 0, None)],
        rows[:2],
    ):
        assert _plan(changed).fingerprint != base


def test_the_fingerprint_sees_where_an_id_ends() -> None:
    # One plan's second row, written out, inside the other's only id.
    inside = "a\x1fs\x1ftrain\x1f0\x1fNone\nb"
    first = pl.DataFrame([(inside, "s", "train", 0, None)], schema=PLAN_SCHEMA, orient="row")
    rows = [("a", "s", "train", 0, None), ("b", "s", "train", 0, None)]
    second = pl.DataFrame(rows, schema=PLAN_SCHEMA, orient="row")
    assert FoldPlan(first, 2).fingerprint != FoldPlan(second, 2).fingerprint


def test_make_plan_gives_folds_to_target_rows_alone(make_battles: MakeBattles) -> None:
    battles = pl.concat(
        [
            make_battles(30, prompts=10),
            make_battles(10, source="extra", role="train"),
            make_battles(5, source="test", role="test"),
        ]
    )
    clusters = battles.select("id", cluster=pl.int_range(pl.len()))
    plan = make_plan(battles, clusters, Folds(n_splits=3), seed=0).plan
    assert plan.frame["id"].equals(battles["id"])
    by_role = plan.frame.group_by("role").agg(pl.col("fold").null_count(), rows=pl.len())
    counts = {row["role"]: (row["fold"], row["rows"]) for row in by_role.to_dicts()}
    assert counts == {"target": (0, 30), "train": (10, 10), "test": (5, 5)}
