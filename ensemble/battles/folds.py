"""Source-aware, label-stratified group folds: which rows a fold may train on, and why not the rest.

Honesty rules 1 and 2 live here and nowhere else: validation rows are target rows; a fold trains on
the target rows of the other folds and on external rows whose cluster has no row in the held-out
fold.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from ensemble.battles.groups import assign_groups
from ensemble.battles.held_out import HeldOut
from ensemble.battles.schema import HOLDOUT_ROLE, TEST_ROLE
from ensemble.battles.split_inputs import of_length, read_roles, said_of_rows
from ensemble.battles.training_cut import cut_from_training
from ensemble.errors import ArtifactError, FoldError
from ensemble.run_dir.tables import read_table
from ensemble.storage.hashing import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from ensemble.battles.held_out import FoldLike
    from ensemble.battles.turns import TextFormat
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray

TRAINING_ROLES = ("target", "train", "pseudo")
"""Roles whose rows reach a learner's ``fit``."""
CUT_ROLES = ("train", "pseudo", "pretrain")
"""Roles whose rows a fold may have to leave out."""

_LEAST_MASS = 1e-12
"""Least label mass of a stratum: less is the rounding of soft labels, and counts as this much."""

PLAN_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "source": pl.String(),
    "role": pl.String(),
    "cluster": pl.Int64(),
    "fold": pl.Int32(),
}
TIME = "time"
"""Column of a plan whose folds are blocks of time, float64: when each row was made, or null."""


class SourceAwareGroupKFold:
    """Group folds for a target and its external sources.

    Target rows are assigned to folds by whole groups, so that every fold has about the same number
    of rows and the same label shares in each target source. External rows are never validated, and
    are left out of the training side of a fold that holds a row of their group.

    It is a splitter of scikit-learn (``cv=``). Of a table of battles it takes groups, roles and
    sources from the columns ``cluster``, ``role`` and ``source``, where they are not given, and
    finds the clusters of near duplicates itself where nobody says them. See `docs/sklearn.md`.

    Parameters
    ----------
    n_splits
        Number of folds, at least 2.
    seed
        Decides among groups of the same size.
    training_roles
        Roles whose rows are learned from; with ``"pretrain"`` too a learner that has a stage for
        them gets those rows.
    text_format
        What a string in a table's text column is: a JSON list of turns, or one plain turn.
    group_columns
        Columns of a table of battles whose equal values join groups, such as a session or a judge;
        empty values join nothing.

    Notes
    -----
    Groups are assigned greedily, as ``assign_groups`` says. Unlike scikit-learn's
    ``StratifiedGroupKFold`` it takes soft labels and never leaves a fold empty.

    Examples
    --------
    >>> splitter = SourceAwareGroupKFold(n_splits=2)
    >>> roles = ["target", "target", "train", "train"]
    >>> for train, valid in splitter.split(None, groups=[0, 1, 1, 2], roles=roles):
    ...     print(train.tolist(), valid.tolist())
    [0, 3] [1]
    [1, 2, 3] [0]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        seed: int = 42,
        training_roles: Sequence[str] = TRAINING_ROLES,
        text_format: TextFormat = "json",
        group_columns: Sequence[str] = (),
    ) -> None:
        if n_splits < 2:
            raise FoldError(f"n_splits must be at least 2, got {n_splits}")
        self.n_splits = n_splits
        self.seed = seed
        self.training_roles = training_roles
        self.text_format = text_format
        self.group_columns = group_columns

    def __repr__(self) -> str:
        return f"SourceAwareGroupKFold(n_splits={self.n_splits}, seed={self.seed})"

    def get_n_splits(
        self,
        X: object = None,  # noqa: N803, ARG002 - scikit-learn's signature
        y: object = None,  # noqa: ARG002
        groups: object = None,  # noqa: ARG002
        **others: object,  # noqa: ARG002
    ) -> int:
        """Give the number of folds, as scikit-learn's splitters do."""
        return self.n_splits

    def get_metadata_routing(self) -> Any:
        """Ask scikit-learn for ``groups``, ``roles`` and ``sources``, wherever they are given."""
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=self)
        for name in ("groups", "roles", "sources"):
            request.split.add_request(param=name, alias=True)
        return request

    def split(
        self,
        X: object = None,  # noqa: N803 - scikit-learn's signature
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        *,
        roles: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield training and validation row indices, one pair a fold.

        Parameters
        ----------
        X
            A table of battles, Polars or pandas, whose columns say what is not given; anything
            else is not looked at.
        y
            ``(n,)`` class numbers or ``(n, k)`` label distributions; None stratifies by size alone.
        groups
            ``(n,)`` group of each row. None takes the column ``cluster``, or the clusters of near
            duplicates that ``find_duplicates`` finds among the battles.
        roles
            ``(n,)`` role of each row; None means that all are ``target``. Rows of roles other than
            ``target`` and the training roles are on neither side.
        sources
            ``(n,)`` source of each row, for stratifying several target sources.

        Raises
        ------
        FoldError
            No groups and no battles, lengths that differ, an unknown role, a missing column, or
            fewer target groups than folds.
        """
        said = said_of_rows(X, groups, roles, sources, self.text_format, self.group_columns)
        group_numbers = np.unique(said.groups, return_inverse=True)[1].astype(np.int64)
        rows = len(group_numbers)
        role_array = read_roles(said.roles, rows)
        target = role_array == "target"
        folds = np.full(rows, -1)
        folds[target] = self.assign(
            group_numbers[target],
            _one_hot(y, rows, target),
            None if said.sources is None else of_length(said.sources, rows, "sources")[target],
        )
        trains = np.isin(role_array, list(self.training_roles))
        for fold in range(self.n_splits):
            held_out = folds == fold
            cut = cut_from_training(group_numbers, held_out)
            yield np.flatnonzero(trains & ~cut), np.flatnonzero(held_out)

    def assign(
        self, clusters: IntArray, labels: FloatArray, sources: NDArray[Any] | None = None
    ) -> NDArray[np.int32]:
        """Assign rows to folds by whole clusters.

        Parameters
        ----------
        clusters
            ``(n,)`` cluster of each target row.
        labels
            ``(n, k)`` label distributions.
        sources
            ``(n,)`` source of each row.

        Returns
        -------
        NDArray[np.int32]
            ``(n,)`` fold of each row, every fold with at least one row.

        Raises
        ------
        FoldError
            There are fewer clusters than folds.
        """
        numbers, inverse = np.unique(clusters, return_inverse=True)
        if len(numbers) < self.n_splits:
            raise FoldError(
                f"{len(numbers)} clusters of target rows cannot fill {self.n_splits} folds",
                hint=f"set n_splits to {len(numbers)} or less, or give more distinct prompts"
                if len(numbers) >= 2
                else "give more distinct prompts (group_columns, where given, join clusters)",
            )
        strata = _strata(labels, sources)
        totals = np.zeros((len(numbers), strata.shape[1]))
        np.add.at(totals, inverse, strata)
        folds = assign_groups(totals, self.n_splits, self.seed, least_total=_LEAST_MASS)
        return folds.astype(np.int32)[inverse]


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
    columns = [*PLAN_SCHEMA, *([TIME] if is_ordered else [])]
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


def _strata(labels: FloatArray, sources: NDArray[Any] | None) -> FloatArray:
    """``(n, 1 + k * sources)``: a row count, then label mass per source."""
    counts = np.ones((len(labels), 1))
    if sources is None:
        return np.hstack([counts, labels])
    parts = [labels * (sources == source)[:, None] for source in np.unique(sources)]
    return np.hstack([counts, *parts])


def _one_hot(y: ArrayLike | None, rows: int, kept: BoolArray) -> FloatArray:
    """Give the kept rows' label distributions; the others may have no label."""
    if y is None:
        return np.ones((int(kept.sum()), 1))
    values = of_length(y, rows, "y")[kept]
    if values.ndim == 2:
        return values.astype(np.float64)
    classes, numbers = np.unique(values, return_inverse=True)
    return np.eye(len(classes))[numbers]
