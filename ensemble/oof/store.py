"""Where folds of learners are kept, and how they are read back.

A fold is good only under the key that made it. Everything is read by id, and rows that no fold has
predicted come back as NaN.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.held_out import HeldOut, fold_pairs, model_fits
from ensemble.errors import ArtifactError
from ensemble.evaluation.ties import leave_out_tie
from ensemble.oof.fold_key import fold_name
from ensemble.oof.model_checks import by_its_source, check_code, check_settings
from ensemble.oof.models import load_model
from ensemble.oof.origins import origin_of, other_models
from ensemble.oof.predictions import ANEW, read_held_out, read_logits
from ensemble.run_dir.layout import LEARNERS, MODEL, OOF, OOF_SEEDS, TEST
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.storage.directories import MANIFEST, read_manifest
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.eval_set import EvalSet
    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import BaseLearner, LogitArray


@dataclass(frozen=True)
class FoldStore:
    """The folds of a run's learners, read under one fold plan and one set of battles.

    Parameters
    ----------
    run
        The run directory.
    plan
        Fingerprint of the fold plan.
    data
        Key of the prepared battles.
    n_splits
        Number of folds.
    ties
        Whether the task has ties. If not, the tie's logit is left out of all that is read here.
    only
        Of learners that are not read on all folds, the folds that count.
    """

    run: Path
    plan: str
    data: str
    n_splits: int
    ties: bool = True
    only: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def planned(self, learner: str) -> frozenset[int]:
        """Give the folds of a learner that count, fitted or not."""
        return self.only.get(learner, frozenset(range(self.n_splits)))

    def directory(self, learner: str, fold: FoldLike) -> Path:
        """Give the place of a learner's fold or pair, of its refit (``fold`` None) or its soup."""
        return self.run / LEARNERS / learner / fold_name(fold)

    def origins(self, learner: str) -> dict[str, dict[str, str]]:
        """Name the folds that a learner has, by their manifests alone: nothing is verified."""
        found = {}
        for fold in sorted(self.planned(learner)):
            with suppress(ArtifactError, KeyError, TypeError):  # not there, or none
                manifest = peek_manifest(self.directory(learner, fold))
                found[fold_name(fold)] = origin_of(manifest)
        return found

    def read(self, learner: str, fold: FoldLike) -> dict[str, Any]:
        """Read and verify a fold's manifest.

        Raises
        ------
        ArtifactError
            It is incomplete, damaged, of another plan or other battles, or of another learner or
            fold than its place says.
        """
        directory = self.directory(learner, fold)
        manifest = read_manifest(directory)
        held_out = HeldOut.of(fold).to_json()
        expected = {"plan": self.plan, "data": self.data, "learner": learner, "fold": held_out}
        names = {"plan": "fold plan", "data": "set of battles"}
        for name, value in expected.items():
            if manifest.get(name) != value:
                raise ArtifactError(
                    f"stored predictions belong to another {names.get(name, name)}",
                    where=str(directory),
                    hint="run `ensemble fit` again",
                )
        if fingerprint(manifest.get("key_parts")) != manifest.get("key"):
            raise ArtifactError(
                "a manifest does not hold its own key",
                where=str(directory),
                hint="run `ensemble fit` again",
            )
        if other := list(other_models(directory, manifest, may_lack=True)):
            raise ArtifactError(
                f"it is the mean of models that are others now: {', '.join(other)}",
                where=str(directory),
                hint="run `ensemble run CONFIG`: the soup is made anew",
            )
        return manifest

    def load(self, spec: LearnerSpec, fold: FoldLike, *, any_code: bool = False) -> BaseLearner:
        """Restore a fold's fitted learner.

        Parameters
        ----------
        spec, fold
            Of which learner, and what it held out.
        any_code
            Whether other code of the plugin than that which made the model may load it.

        Raises
        ------
        ArtifactError
            The fold is damaged, of another plan, or made with other parameters, by another version
            of the plugin or with other dependencies than those at hand.
        LearnerError
            The learner's ``load`` raised or returned no learner.
        """
        directory = self.directory(spec.name, fold)
        manifest = self.read(spec.name, fold)
        if not any_code:
            spec = by_its_source(self.run, manifest, spec)
            check_code(manifest, spec, directory)
        check_settings(manifest, spec, directory)
        return load_model(spec, directory / MODEL, f'learner "{spec.name}", {directory}')

    def fold_logits(self, learner: str, fold: int, eval_set: EvalSet) -> LogitArray:
        """Read what one fold predicted of the rows that it holds out.

        Returns
        -------
        LogitArray
            ``(n, 3)``; NaN for the other rows.

        Raises
        ------
        ArtifactError
            The fold is incomplete, damaged or of another plan; a logit is infinite; or it predicts
            a row that the plan holds out in another fold, which its model may have been fitted on.
        """
        self.read(learner, fold)
        logits = read_held_out(self.directory(learner, fold) / OOF, fold, eval_set)
        return self.task_logits(logits)

    def predicted(self, learner: str, fold: FoldLike, ids: pl.Series) -> LogitArray:
        """Read what a fold or pair predicted of some rows: ``(len(ids), 3)``, NaN where nothing."""
        logits = read_logits(self.directory(learner, fold) / OOF, ids)
        return self.task_logits(logits)

    def fitted_folds(self, learner: str) -> list[int]:
        """List the folds of a learner that have been fitted."""
        folds = sorted(self.planned(learner))
        return [k for k in folds if (self.directory(learner, k) / MANIFEST).exists()]

    def oof(self, learner: str, eval_set: EvalSet) -> LogitArray:
        """Put a learner's out-of-fold logits together.

        Returns
        -------
        LogitArray
            ``(n, 3)``; NaN where the row's fold has not been fitted.

        Raises
        ------
        ArtifactError
            As ``fold_logits``.
        """
        logits = np.full((len(eval_set), 3), np.nan, dtype=np.float32)
        for fold in self.fitted_folds(learner):
            held_out = eval_set.folds == fold
            logits[held_out] = self.fold_logits(learner, fold, eval_set)[held_out]
        return logits

    def nested_oof(self, learner: str, eval_set: EvalSet) -> dict[int, LogitArray]:
        """Put together, for each outer fold, the logits of models that saw no row of it.

        Parameters
        ----------
        learner
            Its name; it is fitted on all folds and pairs.
        eval_set
            ``n`` rows.

        Returns
        -------
        dict
            Outer fold ``k`` to ``(n, 3)``: rows of another fold ``j`` as the pair of ``j`` and
            ``k`` predicts them, rows of ``k`` as the fold does.

        Raises
        ------
        ArtifactError
            A pair is damaged, belongs to another plan, or does not predict just the rows of its
            folds.
        """
        plain, folds = self.oof(learner, eval_set), eval_set.folds
        nested = {fold: plain.copy() for fold in range(self.n_splits)}
        for pair in fold_pairs(self.n_splits):
            self.read(learner, pair)
            path = self.directory(learner, pair) / OOF
            part = self.predicted(learner, pair, eval_set.ids)
            if not np.array_equal(~np.isnan(part).any(axis=1), np.isin(folds, pair.folds)):
                raise ArtifactError(
                    "it does not predict the rows of its folds", where=str(path), hint=ANEW
                )
            for outer, other in (pair.folds, pair.folds[::-1]):
                nested[outer][folds == other] = part[folds == other]
        return nested

    def seed_oof(self, learner: str, eval_set: EvalSet, seeds: int) -> LogitArray:
        """Put the OOF logits of each seed together.

        Parameters
        ----------
        learner, eval_set
            As for ``oof``.
        seeds
            How many the learner has, 2 or more.

        Returns
        -------
        LogitArray
            ``(seeds, n, 3)``; NaN where the row's fold has not been fitted.
        """
        logits = np.full((seeds, len(eval_set), 3), np.nan, dtype=np.float32)
        for fold in self.fitted_folds(learner):
            self.read(learner, fold)
            held_out = eval_set.folds == fold
            for seed in range(seeds):
                path = self.directory(learner, fold) / OOF_SEEDS
                logits[seed, held_out] = read_logits(path, eval_set.ids, seed=seed)[held_out]
        return self.task_logits(logits)

    def test_logits(self, learner: str, models: str, ids: pl.Series) -> LogitArray:
        """Give a learner's test logits, ``(len(ids), 3)``, by id.

        Parameters
        ----------
        learner
            Its name.
        models
            ``"folds"``: averaged over the folds' models; ``"refit"``, ``"soup"``: of that model.
        ids
            The test rows wanted.

        Raises
        ------
        ArtifactError
            A fold is missing, damaged, of another plan, or lacks a test row.
        """
        folds = self.folds(models, learner)
        total = np.zeros((len(ids), 3))
        for fold in folds:
            self.read(learner, fold)
            path = self.directory(learner, fold) / TEST
            logits = read_logits(path, ids)
            if np.isnan(logits).any():
                raise ArtifactError("test rows are missing", where=str(path), hint=ANEW)
            total += logits
        mean: LogitArray = (total / len(folds)).astype(np.float32)
        return self.task_logits(mean)

    def task_logits(self, logits: LogitArray) -> LogitArray:
        """Leave the tie out of logits ``(..., 3)`` where the task has none."""
        return leave_out_tie(logits, ties=self.ties)

    def folds(self, models: str, learner: str) -> list[HeldOut]:
        """Say which models of a learner stand behind ``"folds"``, ``"refit"`` or ``"soup"``."""
        planned = self.planned(learner)
        fits = model_fits(models, self.n_splits)
        return [fit for fit in fits if not fit.folds or fit.folds[0] in planned]
