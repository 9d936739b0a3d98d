"""What every fold of every learner of a run shares: battles, plan, seed, machine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.corrections import excluded
from ensemble.battles.fold_plan import TRAINING_ROLES
from ensemble.battles.label_leaks import LabelLeak, label_leaks
from ensemble.battles.prepared import read_battles, read_metadata, read_stored_corrections
from ensemble.battles.privileged import PrivilegedColumns, read_columns
from ensemble.battles.schema import HOLDOUT_ROLE, LABEL_COLUMNS, PSEUDO_ROLE, learner_view
from ensemble.battles.source_rows import used_rows
from ensemble.battles.split import read_current_split
from ensemble.battles.staleness import check_settings
from ensemble.errors import ConfigError, EnsembleError, nearest
from ensemble.once import once
from ensemble.oof.eval_set import EvalSet
from ensemble.oof.fold_key import FitKeys, shared_parts
from ensemble.oof.store import FoldStore
from ensemble.oof.teaching import PlanShape
from ensemble.run_dir.layout import (
    BATTLES,
    BATTLES_RECORD,
    CACHE,
    FOLDS,
    FOLDS_RECORD,
    METADATA,
)
from ensemble.storage.hashing import FileVersion, settled_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.battles.held_out import FoldLike
    from ensemble.config.settings import Config, Execution
    from ensemble.config.source_settings import SourceSettings


@dataclass(frozen=True)
class Workspace:
    """What all folds of all learners of a run share.

    Parameters
    ----------
    run
        The run directory.
    battles
        ``BATTLE_SCHEMA``, in the order of the plan.
    plan
        The fold plan.
    data_key
        Names the prepared battles.
    uses
        How the rows of each source are used; their roles are those of the plan, or ``ignore``.
    seed
        Of the run.
    execution
        How many threads a fit has, and on which device.
    cache
        Where values of single rows are kept between fits; None is a directory of the run.
    corrections
        ``CORRECTION_SCHEMA``: labels that training takes in place of others; None where there are
        none.
    ties
        Whether the task has ties.
    privileged
        The columns that some learner sees and that do not exist at test time; None where no learner
        has any.
    only
        Of learners that are not fitted on all folds, the folds that count.
    """

    run: Path
    battles: pl.DataFrame
    plan: FoldPlan
    data_key: str
    uses: Mapping[str, SourceSettings]
    seed: int
    execution: Execution
    cache: Path | None = None
    corrections: pl.DataFrame | None = None
    ties: bool = True
    privileged: PrivilegedColumns | None = None
    only: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # The plan's masks select battles by position; this is what makes that sound.
        if not self.battles["id"].equals(self.plan.frame["id"]):
            raise EnsembleError("the battles and the fold plan do not have the same rows")

    @property
    def threads(self) -> int:
        """CPU threads for a fit."""
        return self.execution.threads_per_fit()

    @property
    def device(self) -> str:
        """As in ``FitContext``."""
        return self.execution.device

    def with_threads(self, threads: int) -> Workspace:
        """Give the workspace with so many CPU threads for a fit."""
        return replace(self, execution=self.execution.model_copy(update={"threads": threads}))

    @cached_property
    def eval_set(self) -> EvalSet:
        """The rows that scores are made on."""
        return EvalSet.of(self.battles, self.plan)

    @property
    def store(self) -> FoldStore:
        """The folds of this run's learners."""
        plan = self.plan
        return FoldStore(
            self.run, plan.fingerprint, self.data_key, plan.n_splits, self.ties, self.only
        )

    def with_folds(self, only: Mapping[str, frozenset[int]]) -> Workspace:
        """Give the workspace in which of some learners these folds alone count."""
        return replace(self, only={**self.only, **only})

    def shared_key(self) -> dict[str, Any]:
        """Parts of the key that every learner of the run shares."""
        return shared_parts(
            self.data_key,
            self.plan.fingerprint,
            self.uses,
            self.seed,
            shape=self.shape,
            columns={} if self.privileged is None else self.privileged.digests,
        )

    def fit_keys(self) -> FitKeys:
        """Give the keys of fits as they are now, for one look at many of them."""
        return FitKeys(self.shared_key())

    @property
    def shape(self) -> PlanShape:
        """How many folds there are, and whether they are blocks of time."""
        return PlanShape(self.plan.n_splits, self.plan.is_ordered)

    def view(self, battles: pl.DataFrame, columns: Sequence[str] = ()) -> pl.DataFrame:
        """Give what a learner sees of battles.

        Parameters
        ----------
        battles
            Rows of ``battles``.
        columns
            The learner's privileged columns.
        """
        if not columns:
            return learner_view(battles)
        assert self.privileged is not None  # noqa: S101 - read for whoever names columns
        return self.privileged.view(battles, columns)

    @property
    def cache_directory(self) -> Path:
        """Where values of single rows are kept between fits."""
        return self.cache or self.run / CACHE

    def training(self, fold: FoldLike, roles: Sequence[str] = TRAINING_ROLES) -> pl.Series:
        """Mask of the rows that a fit learns from: those that it may, and that are used.

        Parameters
        ----------
        fold, roles
            As in ``FoldPlan.training``.
        """
        may = self.plan.training(fold, roles) & used_rows(self.plan.frame, self.uses)
        return may & ~excluded(self.battles["id"], self.corrections)

    def with_uses(self, uses: Mapping[str, SourceSettings], *, run: Path) -> Workspace:
        """Give a workspace whose sources are used otherwise, to measure what comes of it.

        Clusters and folds stay as they are, and so do the values of single rows that are kept.

        Parameters
        ----------
        uses
            New use of each source that is named, roles included; the others keep theirs.
        run
            Where its folds are stored: another directory than this run's.

        Raises
        ------
        ConfigError
            There is no such source, or it has rows without a label and a role that needs them.
        FoldError
            A source becomes the target or is it no more.
        """
        for name in sorted(set(uses) - set(self.uses)):
            raise ConfigError(f'no source is called "{name}"', hint=nearest(name, self.uses))
        merged = {**self.uses, **uses}
        roles = {name: use.role for name, use in merged.items()}
        plan = self.plan.with_roles(roles)
        battles = self.battles.with_columns(plan.frame["role"])
        _check_labels(battles)
        return replace(
            self, run=run, battles=battles, plan=plan, uses=merged, cache=self.cache_directory
        )

    def with_pseudo_labels(self, labels: pl.DataFrame) -> Workspace:
        """Give a workspace in which rows of role ``pseudo`` have these labels, or none.

        Parameters
        ----------
        labels
            ``id`` and ``LABEL_COLUMNS``. Whatever the rows had before is gone.
        """
        joined = self.battles.join(
            labels, on="id", how="left", maintain_order="left", suffix="_said"
        )
        is_pseudo = pl.col("role") == PSEUDO_ROLE
        said = [
            pl.when(is_pseudo).then(f"{name}_said").otherwise(name).alias(name)
            for name in LABEL_COLUMNS
        ]
        return replace(self, battles=joined.with_columns(said).select(self.battles.columns))

    def label_leaks(self, columns: Sequence[str]) -> list[LabelLeak]:
        """Find privileged columns of a learner that tell the label of target rows."""
        if self.privileged is None or not columns:
            return []
        return label_leaks(self.battles, self.privileged.table, columns)

    def test_rows(self) -> pl.DataFrame:
        """Battles of the test set."""
        return self.battles.filter(pl.col("is_test"))

    def target_ids(self) -> list[str]:
        """Ids of all rows of the target, those that are kept for the last score among them."""
        own = pl.col("role").is_in(["target", HOLDOUT_ROLE])
        return self.battles.filter(own)["id"].to_list()

    def holdout_rows(self) -> pl.DataFrame:
        """Battles that are kept for the last score, without their labels."""
        return self.battles.filter(pl.col("role") == HOLDOUT_ROLE)


def open_workspace(config: Config) -> Workspace:
    """Read what ``prepare`` and ``split`` wrote; the sources themselves are not needed.

    Raises
    ------
    ArtifactError
        One of them has not been run or ran with other settings, or its files are damaged.
    """
    check_settings(config)
    run = Path(config.run_dir)
    versions = _versions(run)
    key = None if versions is None else (Workspace, config.model_dump_json(), versions)
    return once(key, lambda: _read_workspace(config, run))


def _versions(run: Path) -> tuple[FileVersion, ...] | None:
    """Name battles and plan as they are now; None where they are not there or change just now."""
    names = (BATTLES, BATTLES_RECORD, FOLDS, FOLDS_RECORD, METADATA)
    try:
        versions = [settled_version(run / name) for name in names]
    except OSError:
        return None
    return None if None in versions else tuple(filter(None, versions))


def _read_workspace(config: Config, run: Path) -> Workspace:
    battles, data_key = read_battles(run)
    plan = read_current_split(config, data_key)
    return Workspace(
        run=run,
        battles=without_holdout_labels(battles, plan),
        plan=plan,
        data_key=data_key,
        uses=config.source_uses(),
        seed=config.seed,
        execution=config.execution,
        corrections=read_stored_corrections(run),
        ties=config.task.ties,
        privileged=read_privileged(config, battles),
        only=config.some_folds(plan.n_splits),
    )


def read_privileged(config: Config, battles: pl.DataFrame) -> PrivilegedColumns | None:
    """Read the columns that some learner of a config sees and that do not exist at test time.

    Raises
    ------
    ConfigError
        There is none of a name, or one of a side without that of the other.
    """
    columns = dict.fromkeys(name for one in config.learners for name in one.privileged)
    if not columns:
        return None
    return read_columns(battles, read_metadata(Path(config.run_dir)), [*columns])


def without_holdout_labels(battles: pl.DataFrame, plan: FoldPlan) -> pl.DataFrame:
    """Take from the rows of the hold-out their labels and their role: nothing may learn from them.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``, in the order of the plan.
    plan
        The fold plan.
    """
    kept = pl.Series(plan.kept_to_the_end())
    if not kept.any():
        return battles
    role = pl.when(kept).then(pl.lit(HOLDOUT_ROLE)).otherwise("role").alias("role")
    labels = [pl.when(~kept).then(name).alias(name) for name in LABEL_COLUMNS]
    return battles.with_columns(role, *labels)


def _check_labels(battles: pl.DataFrame) -> None:
    """Refuse rows without a label in roles that learn from labels."""
    without = battles.filter(
        pl.col("role").is_in(["train", "pretrain"])
        & pl.any_horizontal(pl.col(LABEL_COLUMNS).is_null())
    )
    if len(without):
        source, role = without["source"][0], without["role"][0]
        raise ConfigError(
            f'source "{source}" cannot have role "{role}": it has rows without a label',
            where=f"id {without['id'][0]}",
            hint='use role "pseudo", or give the rows labels',
        )
