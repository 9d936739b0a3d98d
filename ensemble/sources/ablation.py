"""Fits with and without a source, through the same door as a run's own, and what they score."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.held_out import HeldOut
from ensemble.battles.schema import labels_of
from ensemble.errors import ArtifactError, DataError, LearnerError
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.executors import is_light, share_out
from ensemble.oof.fold_key import fold_key
from ensemble.oof.origins import is_complete
from ensemble.oof.worker_process import Variant
from ensemble.oof.workers import Task
from ensemble.sources.evidence import Arm
from ensemble.sources.rows import take_rows
from ensemble.sources.variants import BASELINE, variant_called

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workers import Outcome
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import FloatArray, IntArray
    from ensemble.sources.rows import SourceRows
    from ensemble.sources.variants import SourceVariant

_OPENER = f"{__name__}:Variants"


@dataclass(frozen=True)
class Bench:
    """Fits one learner on some folds, with a source used in one way or another.

    Parameters
    ----------
    directory
        Where fits are kept.
    spec
        The learner.
    folds
        The folds that are scored.
    alone
        The target's rows.
    """

    directory: Path
    spec: LearnerSpec
    folds: tuple[int, ...]
    alone: SourceRows

    @property
    def scored(self) -> pl.DataFrame:
        """Rows of the plan that are scored, in the target's order."""
        return self.alone.workspace.plan.frame.filter(pl.col("fold").is_in(list(self.folds)))

    def baseline(self, seeds: Sequence[int], tell: Callable[[str], None]) -> Arm:
        """Fit and score the target alone."""
        return self._arm(self.alone, None, seeds, tell)

    def treated(
        self,
        material: SourceRows,
        variant: SourceVariant,
        seeds: Sequence[int],
        tell: Callable[[str], None],
    ) -> Arm:
        """Fit and score the target with a source.

        Raises
        ------
        EnsembleError
            As ``fit_fold`` does.
        """
        return self._arm(material, variant, seeds, tell)

    def fit_beside(
        self,
        config: Config,
        arms: Iterable[tuple[SourceRows, SourceVariant | None]],
        seeds: Sequence[int],
        tell: Callable[[str], None],
    ) -> None:
        """Fit on all cores what arms will read; what fails here fails again where it is read.

        Only learners that are cheap, and that a worker process can load.
        """
        if config.execution.executor != "auto" or not is_light(self.spec):
            return
        workspaces: dict[str, Workspace] = {}
        tasks = []
        for material, variant in arms:
            for seed in seeds:
                details = self._details(material, variant, seed)
                named = workspaces.setdefault(json.dumps(details), _workspace_of(material, details))
                tasks += [
                    Task(self.spec, HeldOut.of(fold), Variant(_OPENER, details))
                    for fold in self.folds
                    if not self._is_fitted(named, fold)
                ]

        def fit(task: Task, threads: int) -> None:
            details = task.variant.details if task.variant else {}
            tell(_in_words(details, task))
            workspace = workspaces[json.dumps(details)].with_threads(threads)
            with suppress(DataError, LearnerError):
                fit_fold(workspace, task.spec, task.held_out)

        def ended(outcome: Outcome) -> None:
            tell(f"beside, {outcome.held_out.label}")

        share_out(config, tasks, fit, ended, forgiving=True)

    def _is_fitted(self, workspace: Workspace, fold: int) -> bool:
        key, _ = fold_key(self.spec, HeldOut.of(fold), workspace.shared_key())
        return is_complete(workspace.store.directory(self.spec.name, fold), key)

    def _details(
        self, material: SourceRows, variant: SourceVariant | None, seed: int
    ) -> dict[str, Any]:
        return {
            "directory": str(self.directory),
            "source": material.source,
            "rows": material.budget,
            "sides": material.sides,
            "variant": variant.name if variant else None,
            "seed": seed,
        }

    def _arm(
        self,
        material: SourceRows,
        variant: SourceVariant | None,
        seeds: Sequence[int],
        tell: Callable[[str], None],
    ) -> Arm:
        scored = self.scored
        losses = [
            self._losses(
                _workspace_of(material, self._details(material, variant, seed)), scored, seed, tell
            )
            for seed in seeds
        ]
        return Arm(np.stack(losses), scored["fold"].to_numpy())

    def _losses(
        self, workspace: Workspace, scored: pl.DataFrame, seed: int, tell: Callable[[str], None]
    ) -> FloatArray:
        return fold_losses(
            lambda _: workspace, self.spec, scored, lambda text: tell(f"seed {seed}, {text}")
        )

    def clusters(self) -> IntArray:
        """Cluster of each scored row."""
        return self.scored["cluster"].to_numpy()

    def facts(self) -> dict[str, Any]:
        """Say by which learner, on which folds and rows."""
        return {
            "learner": self.spec.name,
            **self.spec.settings(),
            "folds": list(self.folds),
            "all_folds": len(self.folds) == self.alone.workspace.plan.n_splits,
            "scored_rows": len(self.scored),
            "clusters": len(np.unique(self.clusters())),
            "target_rows": len(self.alone.workspace.battles),
        }


def fold_losses(
    workspace_of: Callable[[int], Workspace],
    spec: LearnerSpec,
    scored: pl.DataFrame,
    tell: Callable[[str], None],
) -> FloatArray:
    """Fit a learner on folds, and score what it predicts of the rows that each holds out.

    Parameters
    ----------
    workspace_of
        The workspace that a fold is fitted in.
    spec
        The learner.
    scored
        ``id`` and ``fold`` of the rows that are scored, by the labels that the workspaces have.
    tell
        Told which fold is fitted.

    Returns
    -------
    FloatArray
        ``(n,)`` log losses, in the order of ``scored``.
    """
    losses = np.full(len(scored), np.nan)
    for fold in scored["fold"].unique().sort().to_list():
        tell(f"fold {fold}")
        workspace = workspace_of(fold)
        fit_fold(workspace, spec, fold)
        rows = (scored["fold"] == fold).to_numpy()
        ids = scored.filter(pl.Series(rows)).select("id")
        logits = workspace.store.predicted(spec.name, fold, ids["id"])
        battles = ids.join(workspace.battles, on="id", how="left", maintain_order="left")
        losses[rows] = row_log_loss(labels_of(battles), softmax(logits))
    if np.isnan(losses).any():
        raise ArtifactError("scored rows have no prediction", where=f"learner {spec.name}")
    return losses


class Variants:
    """Workspaces of variants in a worker process, by what ``Bench`` says of them.

    Parameters
    ----------
    workspace
        Of the run.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._gather = cache(
            lambda source, rows, sides: take_rows(workspace, source, rows, sides=sides)
        )

    def __call__(self, details: dict[str, Any]) -> Workspace:
        """Give the workspace of one treatment and seed."""
        material = self._gather(details["source"], details["rows"], details["sides"])
        return _workspace_of(material, details)


def _in_words(details: dict[str, Any], task: Task) -> str:
    name = details["variant"] or BASELINE
    return f"{name}, seed {details['seed']}, {task.held_out.label}"


def _workspace_of(material: SourceRows, details: dict[str, Any]) -> Workspace:
    """Use a source as a treatment has it, and draw other numbers; rows, plan and cache stay."""
    place = Path(details["directory"]) / material.folder
    workspace, seed = material.workspace, details["seed"]
    if details["variant"] is not None:
        variant = variant_called(details["variant"])
        place = place / variant.folder
        workspace = workspace.with_uses({str(material.source): variant.use}, run=place)
    return replace(
        workspace,
        run=place / f"seed-{seed}",
        seed=workspace.seed + seed,
        cache=workspace.cache_directory,
    )
