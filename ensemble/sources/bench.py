"""Fits with and without a source, through the same door as a run's own, and what they score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.schema import labels_of
from ensemble.errors import ArtifactError
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.store import OOF, read_logits
from ensemble.sources.evidence import Arm
from ensemble.stacking.scoring import row_log_loss, softmax

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import FloatArray, IntArray
    from ensemble.sources.material import Material
    from ensemble.sources.trials import Trial

_ALONE = "_target"
"""Directory of the baseline's fits; no source can be called so."""


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
    alone: Material

    @property
    def scored(self) -> pl.DataFrame:
        """Rows of the plan that are scored, in the target's order."""
        return self.alone.workspace.plan.frame.filter(pl.col("fold").is_in(list(self.folds)))

    def baseline(self, seeds: Sequence[int], tell: Callable[[str], None]) -> Arm:
        """Fit and score the target alone."""
        place = self.directory / _ALONE
        return self._arm(self.alone.workspace, place, seeds, tell)

    def treated(
        self, material: Material, trial: Trial, seeds: Sequence[int], tell: Callable[[str], None]
    ) -> Arm:
        """Fit and score the target with a source.

        Raises
        ------
        EnsembleError
            As ``fit_fold`` does.
        """
        source = str(material.source)
        place = self.directory / source / trial.folder
        workspace = material.workspace.with_uses({source: trial.use}, run=place)
        return self._arm(workspace, place, seeds, tell)

    def _arm(
        self,
        workspace: Workspace,
        place: Path,
        seeds: Sequence[int],
        tell: Callable[[str], None],
    ) -> Arm:
        scored = self.scored
        losses = [
            self._losses(_seeded(workspace, place, seed), scored, seed, tell) for seed in seeds
        ]
        return Arm(np.stack(losses), scored["fold"].to_numpy())

    def _losses(
        self, workspace: Workspace, scored: pl.DataFrame, seed: int, tell: Callable[[str], None]
    ) -> FloatArray:
        logits = np.full((len(scored), 3), np.nan)
        for fold in self.folds:
            tell(f"seed {seed}, fold {fold}")
            fit_fold(workspace, self.spec, fold)
            rows = (scored["fold"] == fold).to_numpy()
            path = workspace.store.directory(self.spec.name, fold) / OOF
            logits[rows] = read_logits(path, scored["id"].filter(pl.Series(rows)))
        if np.isnan(logits).any():
            raise ArtifactError("scored rows have no prediction", where=str(workspace.run))
        return row_log_loss(self._labels(scored), softmax(logits))

    def _labels(self, scored: pl.DataFrame) -> FloatArray:
        battles = self.alone.workspace.battles
        joined = scored.select("id").join(battles, on="id", how="left", maintain_order="left")
        return labels_of(joined)

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


def _seeded(workspace: Workspace, place: Path, seed: int) -> Workspace:
    """Give a workspace whose learner draws other numbers; rows, plan and cache stay."""
    return replace(
        workspace,
        run=place / f"seed-{seed}",
        seed=workspace.seed + seed,
        cache=workspace.cache_directory,
    )
