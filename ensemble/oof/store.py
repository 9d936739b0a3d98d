"""Where folds of learners are kept, and how they are read back.

A fold is good only under the key that made it. Everything is read by id, and rows that no fold has
predicted come back as NaN.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.held_out import HeldOut, fold_pairs, model_fits
from ensemble.battles.schema import LOGIT_COLUMNS, PREDICTION_SCHEMA
from ensemble.config.plugin_files import short_name
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.evaluation.ties import leave_out_tie
from ensemble.oof.fold_key import fold_name
from ensemble.oof.models import load_model
from ensemble.plugin.code import as_known, told_difference
from ensemble.plugin.contract import dependencies_of
from ensemble.plugin.kept_sources import kept_plugin
from ensemble.redact import without_secrets
from ensemble.run_dir.layout import LEARNERS, MODEL, OOF, OOF_SEEDS, TEST
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.run_dir.tables import read_table
from ensemble.storage.directories import MANIFEST, read_manifest
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.eval_set import EvalSet
    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import BaseLearner, LogitArray


_ANEW = "delete it and run the same command again"


def is_complete(directory: Path, key: str) -> bool:
    """Say whether a fold is there, whole, and made under this key."""
    return complete_origin(directory, key) is not None


def complete_origin(directory: Path, key: str) -> dict[str, str] | None:
    """Give the origin of a fold that is there, whole, and made under this key; else None.

    A soup is no longer whole where a fold that it is the mean of is not there, or another one.
    """
    try:
        manifest = read_manifest(directory)
    except ArtifactError:
        return None
    is_current = manifest.get("key") == key and not list(other_models(directory, manifest))
    return origin_of(manifest) if is_current else None


def origin_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Name a fold for what is made from it: ``key``, and ``oof``, the hash of its OOF logits.

    The key alone does not name the logits: not every learner gives the same ones twice.
    """
    return {"key": manifest["key"], "oof": manifest["files"][OOF]}


def model_origin(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Name a fold's model for what is made from it: its origin, and ``model``, of all its files."""
    files = {name: digest for name, digest in manifest["files"].items() if _is_of_model(name)}
    return origin_of(manifest) | {"model": fingerprint(files)}


def _is_of_model(name: str) -> bool:
    return name.partition("/")[0] == MODEL


def other_models(
    directory: Path, manifest: Mapping[str, Any], *, may_lack: bool = False
) -> Iterator[str]:
    """Name the folds of a soup whose models are not those that it is the mean of.

    Parameters
    ----------
    directory
        Of the soup, beside those of the folds; of other fits nothing is named.
    manifest
        Its manifest.
    may_lack
        Whether folds that are not there are passed over.
    """
    for name, origin in manifest.get("models", {}).items():
        try:
            if model_origin(peek_manifest(directory.parent / name)) != origin:
                yield name
        except (ArtifactError, LookupError, TypeError, AttributeError):
            if not may_lack or (directory.parent / name).exists():
                yield name


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
            raise ArtifactError("a manifest does not hold its own key", where=str(directory))
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
            spec = _by_its_source(self.run, manifest, spec)
            _check_code(manifest["key_parts"], spec, directory)
        if difference := _difference(manifest["key_parts"], spec):
            raise ArtifactError(
                f"the model {difference}",
                where=str(directory),
                hint=f"install {manifest['distribution']} and what it depends on as they were, or "
                "run `ensemble run CONFIG` again",
            )
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
                raise ArtifactError("it does not predict the rows of its folds", where=str(path))
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
                raise ArtifactError("test rows are missing", where=str(path))
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


def _by_its_source(run: Path, manifest: Mapping[str, Any], spec: LearnerSpec) -> LearnerSpec:
    """Give a learner whose plugin is a file with the source that made the model, as it is kept."""
    kept, made_by = kept_plugin(run, manifest.get("plugin_source")), manifest["key_parts"]
    if kept is None or short_name(kept) != spec.plugin_name:
        return spec
    try:
        now = spec.settings()["code"]
    except EnsembleError:  # the file is gone, or faulty by now
        now = None
    is_current = now is not None and made_by.get("code") == as_known(now, made_by.get("code"))
    return spec if is_current else replace(spec, plugin=kept)


def _check_code(made_by: Mapping[str, Any], spec: LearnerSpec, directory: Path) -> None:
    """Refuse a model that other code has made: what it predicts now may be something else."""
    stored, now = made_by.get("code"), spec.settings()["code"]
    if stored != as_known(now, stored):
        raise ArtifactError(
            f"other code than that of now has made the model: {told_difference(stored, now)}",
            where=str(directory),
            hint=f"put that code back; add `--keep {spec.name}` where the change does not matter; "
            f"or fit anew: `ensemble run CONFIG --refit {spec.name}`",
        )


def _difference(made_by: Mapping[str, Any], spec: LearnerSpec) -> str | None:
    """Say in what a stored model differs from what the config and the plugin would make now.

    Files are not looked at: a model goes where they do not.
    """
    for name, value in spec.settings().items():
        if name != "code" and made_by.get(name) != value:
            return (
                f"was made with {name} {made_by.get(name)}, and the config or the installed plugin "
                f"says {value}"
            )
    found = dependencies_of(spec.prototype, spec.where)
    stored, now = made_by["dependencies"], without_secrets(found)
    for name in sorted({*stored, *now}):
        value = now.get(name)
        if not isinstance(value, Path) and fingerprint(value) != fingerprint(stored.get(name)):
            return f"depends on {name}, which has changed since it was made"
    return None


def count_missing(path: Path) -> int:
    """Count the rows of a table of predictions that have none.

    Parameters
    ----------
    path
        ``PREDICTION_SCHEMA``; such rows are NaN.
    """
    return int(read_table(path, [LOGIT_COLUMNS[0]])[LOGIT_COLUMNS[0]].is_nan().sum())


def read_held_out(path: Path, fold: int, eval_set: EvalSet) -> LogitArray:
    """Read what a fold's file predicts of its rows; the result and errors are ``fold_logits``'."""
    logits = read_logits(path, eval_set.ids)
    odd = int((~np.isnan(logits).any(axis=1) & (eval_set.folds != fold)).sum())
    if odd:
        raise ArtifactError(
            f"it predicts {odd:,} rows that the plan holds out in another fold",
            where=str(path),
            hint="run `ensemble audit RUN`, and `ensemble fit CONFIG` after deleting it",
        )
    if np.isinf(logits).any():
        raise ArtifactError("logits are infinite", where=str(path), hint=_ANEW)
    return logits


def read_logits(path: Path, ids: pl.Series, seed: int | None = None) -> LogitArray:
    """Read predictions and put them in the order of ``ids``.

    Parameters
    ----------
    path
        A table of predictions.
    ids
        The rows wanted.
    seed
        Of a table with several seeds, the one wanted.

    Returns
    -------
    LogitArray
        ``(len(ids), 3)`` float32; NaN for ids that are not in the file.
    """
    table = read_table(path, hint=None)
    try:
        chosen = table if seed is None else table.filter(pl.col("seed") == seed)
        stored = chosen.select(*PREDICTION_SCHEMA)
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(
            f"predictions cannot be read: {error}", where=str(path), hint=_ANEW
        ) from error
    if dict(stored.schema) != PREDICTION_SCHEMA:
        raise ArtifactError(
            "predictions are no table of ids and numbers", where=str(path), hint=_ANEW
        )
    if stored["id"].is_duplicated().any():
        raise ArtifactError("a battle is predicted more than once", where=str(path), hint=_ANEW)
    wanted = pl.DataFrame({"id": ids}, schema={"id": pl.String})
    joined = wanted.join(stored, on="id", how="left", maintain_order="left")
    filled = joined.select(pl.col(LOGIT_COLUMNS).fill_null(float("nan")))
    return filled.to_numpy().astype(np.float32)


def prediction_frame(ids: pl.Series, logits: LogitArray) -> pl.DataFrame:
    """Put logits beside their ids: ``PREDICTION_SCHEMA``."""
    columns = {name: logits[:, i] for i, name in enumerate(LOGIT_COLUMNS)}
    return pl.DataFrame({"id": ids, **columns}, schema=PREDICTION_SCHEMA)
