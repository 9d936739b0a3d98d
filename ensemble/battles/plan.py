"""The fold plan of a run, from its battles, its clusters and what the config says of folds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.fold_plan import PLAN_SCHEMA, TIME, FoldPlan, PlanRules
from ensemble.battles.folds import SourceAwareGroupKFold
from ensemble.battles.given_folds import GivenFolds, given_folds, refuse_split
from ensemble.battles.group_columns import join_groups
from ensemble.battles.holdout import choose_holdout
from ensemble.battles.schema import HOLDOUT_ROLE, LABEL_COLUMNS, TARGET_ROLE
from ensemble.battles.times import time_blocks, times_of
from ensemble.errors import FoldError

if TYPE_CHECKING:
    from ensemble.config.settings import Folds
    from ensemble.plugin.base import BoolArray, IntArray

NO_METADATA = pl.DataFrame({"id": []}, schema={"id": pl.String})


@dataclass(frozen=True)
class Planned:
    """A fold plan, and what the user calls its folds.

    Parameters
    ----------
    plan
        The plan.
    names
        Fold ``k`` is ``names[k]`` in the user's own assignment; none without one.
    """

    plan: FoldPlan
    names: tuple[str, ...] = field(default=())


def make_plan(
    battles: pl.DataFrame,
    clusters: pl.DataFrame,
    settings: Folds,
    *,
    seed: int,
    metadata: pl.DataFrame = NO_METADATA,
) -> Planned:
    """Make the fold plan of a run.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``; all sources and the test rows.
    clusters
        ``id``, ``cluster`` of every battle, as their texts make them.
    settings
        What the config says of folds.
    seed
        Of the splitter and the hold-out.
    metadata
        ``id`` and what files say beside their battles.

    Raises
    ------
    FoldError
        No target rows, or fewer clusters of them than folds; an assignment, a column of times or of
        groups, or the hold-out cannot be had; nothing is left to train on without some fold.
    """
    columns = ["id", "source", "role", *LABEL_COLUMNS]
    table = battles.select(columns).join(clusters, on="id", how="left", maintain_order="left")
    groups = join_groups(table["id"], table["cluster"].to_numpy(), metadata, settings.group_columns)
    table = table.with_columns(cluster=pl.Series(groups))
    if settings.scheme == "time":
        times = times_of(table["id"], table["role"], metadata, str(settings.time_column))
        table = table.with_columns(times.alias(TIME))
    table = _with_holdout(table, settings, seed)
    try:
        names, folds = _assigned(table, settings, seed, metadata)
    except FoldError as error:
        error.hint = _with_holdout_hint(error.hint, table)
        raise
    fold = pl.select(pl.when(pl.Series(folds) >= 0).then(pl.Series(folds))).to_series()
    schema = {**PLAN_SCHEMA, **({TIME: pl.Float64()} if TIME in table.columns else {})}
    frame = table.with_columns(fold=fold).select(*schema).cast(schema)  # type: ignore[arg-type]
    rules = PlanRules(settings.allow_split_clusters, settings.undated)
    plan = FoldPlan(frame, len(names) or settings.n_splits, rules)
    _refuse_unlearnable(plan)
    return Planned(plan, names)


def _refuse_unlearnable(plan: FoldPlan) -> None:
    """Refuse folds that nothing is left to train on: a model of no rows is no model."""
    for fold in range(plan.n_splits):
        if not plan.training(fold).any():
            raise FoldError(
                f"no row is left to train on without fold {fold}: all that could be share a "
                "cluster with it, or are not earlier",
                where="folds",
                hint="set n_splits lower, or leave out the group column that joins nearly all rows",
            )


def _with_holdout_hint(hint: str | None, table: pl.DataFrame) -> str | None:
    """Say what the hold-out has left, where it may be why there are too few rows for folds."""
    kept = table["role"] == HOLDOUT_ROLE
    linked = table["cluster"].is_in(table["cluster"].filter(kept).implode())
    out = int((linked & (kept | (table["role"] == TARGET_ROLE))).sum())
    if not out:
        return hint
    told = f"the hold-out and its clusters are {out:,} of {_targets(table):,} target rows"
    return f"{hint}; {told}" if hint else told


def _targets(table: pl.DataFrame) -> int:
    return int(table["role"].is_in([TARGET_ROLE, HOLDOUT_ROLE]).sum())


def _with_holdout(table: pl.DataFrame, settings: Folds, seed: int) -> pl.DataFrame:
    """Give the rows that are kept to the end a role of their own."""
    target = (table["role"] == "target").to_numpy()
    rows = np.flatnonzero(target)
    times = table[TIME].to_numpy()[rows] if TIME in table.columns else None
    chosen = np.zeros(len(table), dtype=bool)
    chosen[rows] = choose_holdout(table["cluster"].to_numpy()[rows], settings.holdout, seed, times)
    role = pl.when(pl.Series(chosen)).then(pl.lit(HOLDOUT_ROLE)).otherwise("role")
    return table.with_columns(role=role)


def _assigned(
    table: pl.DataFrame, settings: Folds, seed: int, metadata: pl.DataFrame
) -> tuple[tuple[str, ...], IntArray]:
    """Give the names of the user's folds, and the fold of each row: ``(n,)``, -1 for none."""
    folds = np.full(len(table), -1, dtype=np.int64)
    clusters = table["cluster"].to_numpy()
    kept = (table["role"] == HOLDOUT_ROLE).to_numpy()
    target = (table["role"] == "target").to_numpy() & ~np.isin(clusters, clusters[kept])
    own = table.filter(pl.Series(target))
    if settings.are_given:
        given = _given(table, settings, metadata, target | kept)
        folds[target | kept] = given.folds
        folds[~target] = -1
        _refuse_empty(given, folds)
        return given.names, folds
    if settings.scheme == "time":
        # Block 0 is before the first fold: there is nothing earlier to learn from.
        folds[target] = time_blocks(own[TIME].to_numpy(), settings.n_splits + 1) - 1
        return (), folds
    splitter = SourceAwareGroupKFold(settings.n_splits, seed=seed)
    folds[target] = splitter.assign(
        own["cluster"].to_numpy(), own.select(LABEL_COLUMNS).to_numpy(), own["source"].to_numpy()
    )
    return (), folds


def _given(
    table: pl.DataFrame, settings: Folds, metadata: pl.DataFrame, wanted: BoolArray
) -> GivenFolds:
    """Read the user's folds of the target, the hold-out among it, and refuse torn clusters."""
    target, mask = table.filter(pl.Series(wanted)), pl.Series(wanted)
    given = given_folds(settings, target["id"], table.filter(~mask)["id"], metadata)
    if not settings.allow_split_clusters:
        ids, clusters = target["id"].to_list(), target["cluster"].to_numpy()
        refuse_split(ids, clusters, given, settings.group_columns)
    return given


def _refuse_empty(given: GivenFolds, folds: IntArray) -> None:
    """Refuse folds that the hold-out has emptied."""
    empty = [name for k, name in enumerate(given.names) if not (folds == k).any()]
    if empty:
        raise FoldError(
            f"the hold-out takes all rows of fold {empty[0]}",
            where="folds.holdout",
            hint="set holdout lower, or give larger folds",
        )
