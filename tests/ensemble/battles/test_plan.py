"""Property tests of plans beyond the usual: groups, own folds, blocks of time, the hold-out."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ensemble import errors
from ensemble.battles.fold_plan import TRAINING_ROLES, FoldPlan
from ensemble.battles.plan import make_plan
from ensemble.battles.schema import BATTLE_SCHEMA
from ensemble.config.settings import Folds

_EXTERNAL = ["train", "pretrain", "pseudo", "ignore", "test"]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Battles of all roles, clusters, and metadata: a judge, a session, a time, a fold."""
    names = st.sampled_from(["", "x", "y", "z", None])
    row = st.tuples(
        st.integers(0, 25),
        st.sampled_from(["target", "target", "target", *_EXTERNAL]),
        names,
        names,
        st.integers(0, 30),
        st.integers(0, 2),
    )
    rows = draw(st.lists(row, min_size=8, max_size=60))
    # Eight target rows that stand alone, with a time of their own, keep every fold possible.
    rows += [(100 + i, "target", None, None, 3 * i, i % 3) for i in range(12)]
    clusters, roles, judges, sessions, times, folds = zip(*rows, strict=True)
    ids = [f"r{i}" for i in range(len(rows))]
    labels = np.eye(3)[np.arange(len(rows)) % 3]
    battles = pl.DataFrame(
        {
            "id": ids,
            "source": ["arena" if role == "target" else role for role in roles],
            "role": list(roles),
            **{name: [["text"]] * len(rows) for name in ("prompt", "response_a", "response_b")},
            **{name: labels[:, k] for k, name in enumerate(("label_a", "label_b", "label_tie"))},
            "is_test": [role == "test" for role in roles],
            "model_a": [None] * len(rows),
            "model_b": [None] * len(rows),
        },
        schema=BATTLE_SCHEMA,
    )
    said = {"judge": list(judges), "session": list(sessions), "tstamp": list(times)}
    metadata = pl.DataFrame({"id": ids, **said, "own": list(folds)})
    dated = draw(st.booleans())
    if not dated:
        late = pl.when(battles["role"] == "target").then("tstamp").alias("tstamp")
        metadata = metadata.with_columns(late)
    return battles, pl.DataFrame({"id": ids, "cluster": list(clusters)}), metadata


def _planned(world: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame], **folds: Any) -> FoldPlan:
    battles, clusters, metadata = world
    return make_plan(battles, clusters, Folds(**folds), seed=3, metadata=metadata).plan


def _fits(plan: FoldPlan) -> list[tuple[Any, pl.DataFrame, pl.DataFrame]]:
    """Give each fold, and the refit, with what it learns from and what it may not have seen."""
    kept = pl.Series(plan.kept_to_the_end())
    found = []
    for fold in (*range(plan.n_splits), None):
        learned = plan.training(fold) | plan.training(fold, ("pretrain",))
        scored = plan.held_out(fold) | kept
        found.append((fold, plan.frame.filter(learned), plan.frame.filter(scored)))
    return found


def test_a_fold_without_training_rows_is_refused() -> None:
    count = 12
    ids = [f"r{i}" for i in range(count)]
    labels = np.eye(3)[np.arange(count) % 3]
    battles = pl.DataFrame(
        {
            "id": ids,
            "source": ["arena"] * count,
            "role": ["target"] * count,
            **{name: labels[:, k] for k, name in enumerate(("label_a", "label_b", "label_tie"))},
        }
    )
    clusters = pl.DataFrame({"id": ids, "cluster": [i % 2 for i in range(count)]})
    metadata = pl.DataFrame({"id": ids, "tstamp": range(count), "judge": ["x"] * count})
    time = {"n_splits": 2, "scheme": "time", "time_column": "tstamp"}
    with pytest.raises(errors.FoldError, match="no row is left to train on without fold 0"):
        _planned((battles, clusters, metadata), **time, group_columns=["judge"])


@given(worlds())
def test_columns_join_clusters_transitively_and_no_group_is_torn(world: Any) -> None:
    try:
        plan = _planned(world, n_splits=2, group_columns=["judge", "session"])
    except errors.FoldError:
        assume(False)
    _, clusters, metadata = world
    frame = plan.frame.join(metadata, on="id").join(clusters, on="id", suffix="_text")
    for column in ("judge", "session", "cluster_text"):
        said = frame.filter(pl.col(column).cast(pl.String) != "")
        assert (said.group_by(column).agg(pl.col("cluster").n_unique())["cluster"] == 1).all()
    # And nothing else is joined: walking from row to row by shared values reaches a whole cluster.
    for rows in frame.partition_by("cluster"):
        reached, size = {rows["id"][0]}, 0
        while len(reached) > size:
            size = len(reached)
            for column in ("judge", "session", "cluster_text"):
                mine = rows.filter(pl.col("id").is_in(reached))[column].drop_nulls()
                near = rows.filter(
                    pl.col(column).is_in(mine.implode()) & (pl.col(column).cast(pl.String) != "")
                )
                reached |= set(near["id"])
        assert reached == set(rows["id"])
    for _, learned, scored in _fits(plan):
        assert not set(learned["cluster"]) & set(scored["cluster"])


@given(worlds())
def test_blocks_of_time_learn_from_earlier_rows_of_other_clusters_alone(world: Any) -> None:
    plan = _planned(world, n_splits=3, scheme="time", time_column="tstamp")
    starts: list[Any] = [plan.frame.filter(plan.held_out(k))["time"].min() for k in range(3)]
    assert starts == sorted(starts)
    assert plan.unscored().any()
    for fold, learned, scored in _fits(plan):
        assert not set(learned["cluster"]) & set(scored["cluster"])
        if fold is None:
            continue
        assert learned["time"].is_not_null().all()
        assert (learned["time"] < starts[fold]).all()
        # Nothing is left out without need.
        may = plan.frame.filter(
            pl.col("role").is_in([*TRAINING_ROLES, "pretrain"])
            & (pl.col("time") < starts[fold])
            & ~pl.col("cluster").is_in(scored["cluster"].implode())
        )
        assert set(may["id"]) == set(learned["id"])


@given(worlds(), st.sampled_from([0.1, 0.25, 0.5]), st.sampled_from(["clusters", "time", "given"]))
def test_no_fit_sees_a_cluster_of_the_hold_out(world: Any, share: float, scheme: str) -> None:
    schemes: dict[str, dict[str, Any]] = {
        "clusters": {"n_splits": 2},
        "time": {"n_splits": 2, "scheme": "time", "time_column": "tstamp"},
        "given": {"column": "own", "allow_split_clusters": True},
    }
    how = schemes[scheme]
    try:
        plan = _planned(world, holdout=share, **how)
    except errors.FoldError:
        assume(False)
    kept = plan.frame.filter(pl.Series(plan.kept_to_the_end()))
    target = plan.frame.filter(pl.col("role").is_in(["target", "holdout"]))
    assert 0 < len(kept) <= share * len(target)
    assert set(kept["source"]) == {"arena"}
    assert kept["fold"].is_null().all()
    in_folds = plan.frame.drop_nulls("fold")
    assert not set(in_folds["cluster"]) & set(kept["cluster"])
    for _, learned, _ in _fits(plan):
        assert not set(learned["cluster"]) & set(kept["cluster"])
        if scheme == "time":
            assert (learned["time"].drop_nulls() < kept["time"].min()).all()
    if scheme == "time":
        assert (in_folds["time"] < kept["time"].min()).all()


@given(worlds())
def test_own_folds_are_kept_and_split_a_cluster_only_where_allowed(world: Any) -> None:
    plan = _planned(world, column="own", allow_split_clusters=True)
    joined = plan.frame.join(world[2], on="id").filter(pl.col("role") == "target")
    assert joined["fold"].cast(pl.Int64).equals(joined["own"], check_names=False)
    torn = joined.group_by("cluster").agg(pl.col("fold").n_unique())["fold"].max()
    for _, learned, scored in _fits(plan):
        assert not set(learned["id"]) & set(scored["id"])
        external = learned.filter(pl.col("role") != "target")
        assert not set(external["cluster"]) & set(scored["cluster"])
    if torn == 1:
        assert _planned(world, column="own").frame.equals(plan.frame)
    else:
        with pytest.raises(errors.FoldError, match="splits .* clusters"):
            _planned(world, column="own")


def test_what_a_hold_out_leaves_is_said_where_folds_cannot_be_filled() -> None:
    rows = 10
    battles = pl.DataFrame(
        {"id": [f"r{i}" for i in range(rows)], "source": "arena", "role": "target"}
        | {name: [1 / 3] * rows for name in ("label_a", "label_b", "label_tie")}
    )
    clusters = pl.DataFrame({"id": battles["id"], "cluster": [i // 2 for i in range(rows)]})
    with pytest.raises(errors.FoldError, match="3 clusters of target rows cannot fill 4") as caught:
        make_plan(battles, clusters, Folds(n_splits=4, holdout=0.4), seed=0)
    assert "the hold-out and its clusters are 4 of 10 target rows" in str(caught.value.hint)
