"""Cross-fitting: one learner, one fold, and nothing of the held-out rows on the training side."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.artifacts import atomic_directory, fingerprint
from ensemble.battles.held_out import HeldOut
from ensemble.oof.guarded import check_same, guarded, predict_checked
from ensemble.oof.lineage import check_offset, own_uses
from ensemble.oof.rows import FoldRows
from ensemble.oof.spec import fold_key
from ensemble.oof.store import (
    MODEL,
    OOF,
    TEST,
    TRAIN_IDS,
    is_complete,
    load_model,
    prediction_frame,
)
from ensemble.oof.teaching import Teaching, check_fitted
from ensemble.plugin.base import FitContext
from ensemble.plugin.manager import get_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.rows import TrainingRows
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import BaseLearner, LogitArray

_PROBED = 4
"""Battles predicted once more after a fit: in another order, and by the model as it was saved."""


def fit_fold(
    workspace: Workspace,
    spec: LearnerSpec,
    fold: FoldLike,
    progress: Callable[..., None] | None = None,
) -> bool:
    """Fit a learner without a fold, predict that fold and the test set, and store it all.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    spec
        The learner.
    fold
        What is held out: a fold; a pair of folds, for their rows alone; nothing (None), for test
        logits alone.
    progress
        ``progress(done, message)``.

    Returns
    -------
    bool
        False where the fold was complete already.

    Raises
    ------
    ConfigError
        A source has an offset, and the learner takes none.
    LearnerError
        The learner raised, returned what the contract forbids, gives other logits in another order,
        or does not come back from its own files as it was.
    """
    held_out = HeldOut.of(fold)
    key, parts = fold_key(spec, held_out, workspace.shared_key())
    directory = workspace.store.directory(spec.name, held_out)
    if is_complete(directory, key):
        return False
    check_offset(spec, workspace.uses)
    check_fitted(workspace, spec, held_out, parts["teachers"], "teaches")
    for source, keys in parts["labellers"].items():
        check_fitted(workspace, spec, held_out, keys, f'labels source "{source}" for')
    own = replace(workspace, uses=own_uses(spec, workspace.uses))
    _FoldJob(own, spec, held_out, key, parts).run(directory, progress)
    return True


@dataclass(frozen=True)
class _FoldJob:
    workspace: Workspace
    spec: LearnerSpec
    held_out: HeldOut
    key: str
    parts: dict[str, Any]

    @property
    def where(self) -> str:
        what = self.held_out.label
        return f'learner "{self.spec.name}" (plugin "{self.spec.plugin}"), {what}'

    def run(self, directory: Path, progress: Callable[..., None] | None) -> None:
        checkpoint = self._checkpoint_directory()
        teaching = Teaching(self.workspace, self.spec, self.held_out, checkpoint)
        manifest: dict[str, Any] = {}
        with atomic_directory(directory, manifest) as place:
            rows = FoldRows.of(teaching.label(), self.held_out)
            context = self._context(checkpoint, progress, teaching.teach(rows.train.battles))
            # The learner lives in there alone: a large model must not be in memory twice.
            probe = self._fit_and_save(rows, context, place, manifest)
            self._check_saved(place / MODEL, probe)
        shutil.rmtree(checkpoint, ignore_errors=True)

    def _fit_and_save(
        self, rows: FoldRows, context: FitContext, place: Path, manifest: dict[str, Any]
    ) -> _Probe:
        learner = self.spec.make()
        self._check_ids(learner, rows)
        clock = time.perf_counter()
        pretrained = self._fit(learner, rows, context)
        fitted = time.perf_counter()
        oof = predict_checked(learner, rows.held_out, self.where)
        test = predict_checked(learner, rows.test, self.where)
        seconds = {"fit": fitted - clock, "predict": time.perf_counter() - fitted}
        manifest.update(self._manifest(learner, rows, pretrained), seconds=seconds)
        prediction_frame(rows.held_out["id"], oof).write_parquet(place / OOF)
        prediction_frame(rows.test["id"], test).write_parquet(place / TEST)
        _used_ids(rows, pretrained).write_parquet(place / TRAIN_IDS)
        (place / MODEL).mkdir()
        guarded("save", self.where, lambda: learner.save(place / MODEL))
        battles, logits = (rows.held_out, oof) if len(oof) else (rows.test, test)
        probe = _Probe.of(battles, logits, learner.batch_tolerance)
        self._check_order(learner, probe)
        return probe

    def _check_ids(self, learner: BaseLearner, rows: FoldRows) -> None:
        """Let a learner that brings its own predictions refuse foreign ids."""
        target = self.workspace.battles.filter(pl.col("role") == "target")["id"].to_list()
        if hasattr(learner, "check_ids") and len(rows.held_out):
            learner.check_ids(target)
        if hasattr(learner, "check_test_ids") and len(rows.test):
            learner.check_test_ids(rows.test["id"].to_list())

    def _checkpoint_directory(self) -> Path:
        # The key is part of the place: a checkpoint of other parameters is never resumed.
        name = f"{self.held_out.name}-{self.key[:16]}"
        return self.workspace.run / "checkpoints" / self.spec.name / name

    def _context(
        self,
        checkpoint: Path,
        progress: Callable[..., None] | None,
        teachers: dict[str, LogitArray],
    ) -> FitContext:
        cache = self.workspace.cache_directory / self.spec.plugin
        for directory in (checkpoint, cache):
            directory.mkdir(parents=True, exist_ok=True)
        seed = fingerprint([self.workspace.seed, self.spec.name, self.held_out.to_json()])
        context = FitContext(
            seed=int(seed[:8], 16) % 2**31,
            checkpoint_directory=checkpoint,
            cache_directory=cache,
            device=self.workspace.device,
            threads=self.workspace.threads,
            teachers=teachers,
        )
        return replace(context, progress=progress) if progress else context

    def _fit(self, learner: BaseLearner, rows: FoldRows, context: FitContext) -> str:
        """Pre-train where there are rows and a way to, then fit; says what became of the former."""
        pretrain = getattr(learner, "pretrain", None)
        if not len(rows.pretrain.battles):
            pretrained = "none"
        elif pretrain is None:
            pretrained = "unsupported"
        else:
            # What teachers say is about the rows of `fit`.
            self._learn("pretrain", pretrain, rows.pretrain, replace(context, teachers={}))
            pretrained = "used"
        self._learn("fit", learner.fit, rows.train, context)
        return pretrained

    def _learn(
        self, verb: str, method: Callable[..., Any], rows: TrainingRows, context: FitContext
    ) -> None:
        context = replace(context, offset=rows.offset, judged=rows.judged)
        options = {"sample_weight": rows.weight, "groups": rows.groups, "context": context}
        guarded(verb, self.where, lambda: method(rows.battles, rows.labels, **options))

    def _check_order(self, learner: BaseLearner, probe: _Probe) -> None:
        """Predict a few battles in another order: sorted or batch-dependent logits show."""
        again = predict_checked(learner, probe.battles, self.where)
        what = "for the same battles in another order or batch"
        check_same(probe.logits, again, probe.tolerance, what, self.where)

    def _check_saved(self, model: Path, probe: _Probe) -> None:
        """Predict them with the model as it comes back from its files: a lost head shows."""
        loaded = load_model(self.spec, model, self.where)
        again = predict_checked(loaded, probe.battles, self.where)
        check_same(probe.logits, again, probe.tolerance, "after save and load", self.where)

    def _manifest(self, learner: BaseLearner, rows: FoldRows, pretrained: str) -> dict[str, Any]:
        entry = get_manager().base_learners.entry(self.spec.plugin)
        return {
            "learner": self.spec.name,
            "plugin": self.spec.plugin,
            "plugin_version": type(learner).version,
            "distribution": entry.distribution,
            "parameters": self.parts["parameters"],
            "fold": self.held_out.to_json(),
            "seed": self.workspace.seed,
            "plan": self.workspace.plan.fingerprint,
            "data": self.workspace.data_key,
            "key": self.key,
            "key_parts": self.parts,
            "training_rows": "recorded" if type(learner).trains else "unknown",
            "rows": {
                "train": len(rows.train.battles),
                "pretrain": len(rows.pretrain.battles) if pretrained == "used" else 0,
                "held_out": len(rows.held_out),
                "test": len(rows.test),
            },
            "pretrain": pretrained,
            "sources": _used_sources(rows, pretrained, self.parts["labellers"]),
        }


@dataclass(frozen=True)
class _Probe:
    """A few battles in an order of their own, and the logits that they got."""

    battles: pl.DataFrame
    logits: LogitArray
    tolerance: float

    @classmethod
    def of(cls, battles: pl.DataFrame, logits: LogitArray, tolerance: float) -> _Probe:
        spread = np.linspace(0, max(len(battles) - 1, 0), min(_PROBED, len(battles)))
        rows = np.unique(spread.astype(int))[::-1]
        return cls(battles[rows], logits[rows], tolerance)


def _used_sources(
    rows: FoldRows, pretrained: str, labelled_by: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Say of each source that was learned from how its rows counted, and who labelled them."""
    used = {**rows.train.sources, **(rows.pretrain.sources if pretrained == "used" else {})}
    return {
        source: {**facts, "labelled_by": labelled_by[source]} if source in labelled_by else facts
        for source, facts in used.items()
    }


def _used_ids(rows: FoldRows, pretrained: str) -> pl.DataFrame:
    """Ids of the rows that were learned from, sorted, with the stage that used them."""
    used = {"train": rows.train}
    if pretrained == "used":
        used["pretrain"] = rows.pretrain
    parts = [part.battles.select("id", stage=pl.lit(stage)) for stage, part in used.items()]
    return pl.concat(parts).sort("stage", "id")
