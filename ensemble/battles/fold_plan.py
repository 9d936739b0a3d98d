"""The fold plan: who is held out when, and what each fold may train on.

Honesty rules 1 and 2 live here and nowhere else: validation rows are target rows; what a fit may
learn from is what ``FoldPlan.training`` says.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from ensemble.battles.held_out import HeldOut
from ensemble.battles.schema import HOLDOUT_ROLE, TEST_ROLE
from ensemble.battles.training_cut import cut_from_training
from ensemble.errors import ArtifactError, FoldError
from ensemble.run_dir.tables import read_table
from ensemble.storage.hashing import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ensemble.battles.held_out import FoldLike
    from ensemble.plugin.base import BoolArray

TRAINING_ROLES = ("target", "train", "pseudo")
"""Roles whose rows reach a learner's ``fit``."""
CUT_ROLES = ("train", "pseudo", "pretrain")
"""Roles whose rows a fold may have to leave out."""

PLAN_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "source": pl.String(),
    "role": pl.String(),
    "cluster": pl.Int64(),
    "fold": pl.Int32(),
}
TIME = "time"
"""Column of a plan whose folds are blocks of time, float64: when each row was made, or null."""


@dataclass(frozen=True)
class PlanRules:
    """What a plan allows beyond the usual; the usual is said by the defaults.

    Parameters
    ----------
    split_clusters
        Whether target rows are trained on whose cluster is held out in part: what a user's own
        folds may ask for, and no score is proven then.
    undated
        Whether rows without a time are cut from the training of folds that are blocks of time, or
        trained on in all of them.
    """

    split_clusters: bool = False
    undated: Literal["cut", "train"] = "cut"


@dataclass(frozen=True)
class FoldPlan:
    """Who is held out when, and what each fold may train on.

    Parameters
    ----------
    frame
        ``PLAN_SCHEMA``, one row a battle, in the order of the battles; and ``TIME`` where folds are
        blocks of time. Rows of role ``holdout`` are kept for the last score: no fit sees them, nor
        any row of their clusters.
    n_splits
        Number of folds.
    rules
        What it allows beyond the usual.
    """

    frame: pl.DataFrame
    n_splits: int
    rules: PlanRules = PlanRules()

    @property
    def is_ordered(self) -> bool:
        """Whether folds are blocks of time, each trained on earlier rows alone."""
        return TIME in self.frame.columns

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the plan's rows in order of id, each as a line of JSON: 64 hex digits."""
        digest = hashlib.sha256(f"{self.n_splits}\n".encode())
        if self.rules != PlanRules():
            digest.update((canonical_json(asdict(self.rules)) + "\n").encode())
        columns = [*PLAN_SCHEMA, *([TIME] if self.is_ordered else [])]
        for row in self.frame.sort("id").select(columns).iter_rows():
            # Ids may hold any character; JSON quotes those that end a field or a line.
            digest.update((canonical_json(row) + "\n").encode())
        return digest.hexdigest()

    def held_out(self, fold: FoldLike) -> pl.Series:
        """Mask of the rows that are held out: by a fold, by either of a pair, or none."""
        folds = list(HeldOut.of(fold).folds)
        return self.frame.select(pl.col("fold").is_in(folds).fill_null(value=False)).to_series()

    def unscored(self) -> pl.Series:
        """Mask of the target rows that are in no fold: the first of time, or near the hold-out."""
        return (self.frame["role"] == "target") & self.frame["fold"].is_null()

    def cut(self, fold: FoldLike) -> pl.Series:
        """Mask of the rows, of whatever role, that a fit may not learn from."""
        held_out = self.held_out(fold).to_numpy()
        cut = self.linked(held_out)
        if self.rules.split_clusters:
            cut = held_out | (cut & (self.frame["role"] != "target").to_numpy())
        kept = self.kept_to_the_end()
        cut |= self.linked(kept) | self.not_before(held_out | kept)
        return pl.Series(cut)

    def linked(self, rows: BoolArray) -> BoolArray:
        """Mask of the rows that share a cluster with any of these."""
        return cut_from_training(self.frame["cluster"].to_numpy(), rows)

    def kept_to_the_end(self) -> BoolArray:
        """Mask of the final hold-out."""
        return (self.frame["role"] == HOLDOUT_ROLE).to_numpy()

    def not_before(self, rows: BoolArray) -> BoolArray:
        """Mask of the rows that were not made before the first of these, as far as folds ask."""
        if not self.is_ordered or not rows.any():
            return np.zeros(len(self.frame), dtype=bool)
        times = self.frame[TIME].to_numpy()
        late = ~(times < np.nanmin(times[rows]))  # also where there is no time
        if self.rules.undated == "train":
            late &= ~np.isnan(times)
        return np.asarray(late)

    def training(self, fold: FoldLike, roles: Sequence[str] = TRAINING_ROLES) -> pl.Series:
        """Mask of the rows that a fit may learn from.

        Parameters
        ----------
        fold
            What is held out: a fold, a pair of folds, or nothing (a refit on everything).
        roles
            Roles wanted, ``TRAINING_ROLES`` or ``("pretrain",)``.
        """
        return self.frame["role"].is_in(list(roles)) & ~self.cut(fold)

    def with_roles(self, roles: Mapping[str, str]) -> FoldPlan:
        """Give a plan whose sources have other roles; clusters and folds stay as they are.

        Parameters
        ----------
        roles
            New role of each source that is named; the others keep theirs.

        Raises
        ------
        FoldError
            A source becomes the target or is it no more: folds are made on the target.
        """
        new = pl.col("source").replace_strict(dict(roles), default=pl.col("role")).cast(pl.String)
        was_target = pl.col("role").is_in(["target", HOLDOUT_ROLE])
        moved = self.frame.filter(was_target != new.is_in(["target", HOLDOUT_ROLE]))
        role = pl.when(pl.col("role") == HOLDOUT_ROLE).then("role").otherwise(new)
        frame = self.frame.with_columns(role=role)
        if len(moved):
            raise FoldError(
                f'source "{moved["source"][0]}" cannot change between target and another role: '
                "folds are made on the target",
                hint="change the role in the config, and run `ensemble split CONFIG`",
            )
        return replace(self, frame=frame)

    def cut_rows(self, fold: int) -> pl.DataFrame:
        """Rows of the plan that this fold leaves out of training and pre-training.

        Target rows are among them where they could have been trained on but for their cluster: the
        earlier rows of time, and those near the hold-out.
        """
        held_out = self.held_out(fold).to_numpy()
        is_target = (self.frame["role"] == "target").to_numpy() & ~held_out
        external = self.frame["role"].is_in(list(CUT_ROLES)).to_numpy()
        wanted = external | (is_target & ~self.not_before(held_out))
        return self.frame.filter(self.cut(fold) & pl.Series(wanted))


def read_plan(
    path: Path,
    n_splits: int,
    fingerprint: str,
    rules: PlanRules = PlanRules(),
    *,
    is_ordered: bool = False,
) -> FoldPlan:
    """Read ``folds.parquet`` and check that it is the plan that was recorded.

    Raises
    ------
    ArtifactError
        The file is missing, damaged, or another plan.
    """
    again = "run `ensemble split CONFIG` again"
    columns = PLAN_SCHEMA | ({TIME: pl.Float64()} if is_ordered else {})
    plan = FoldPlan(read_table(path, columns, hint=again), n_splits, rules)
    if plan.fingerprint != fingerprint:
        raise ArtifactError(
            "the fold plan is not the one that was recorded beside it",
            where=str(path),
            hint=again,
        )
    return plan


def overlap_with_test(plan: FoldPlan) -> pl.DataFrame:
    """Labeled rows of the plan whose cluster has a test row: no leak into OOF, but worth knowing.

    Scores on such a test set flatter.
    """
    test = plan.frame.filter(pl.col("role") == TEST_ROLE)["cluster"].unique().to_list()
    return plan.frame.filter((pl.col("role") != TEST_ROLE) & pl.col("cluster").is_in(test))
