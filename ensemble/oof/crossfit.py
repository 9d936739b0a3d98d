"""Cross-fitting: one learner, one fold, and nothing of the held-out rows on the training side."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.held_out import HeldOut
from ensemble.battles.privileged import missing_by_source
from ensemble.errors import LearnerError
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.evaluation.ties import leave_out_tie
from ensemble.oof import clock
from ensemble.oof.checkpoints import checkpoint_directory
from ensemble.oof.dependencies import check_offset, resolve_sources
from ensemble.oof.fitting import SeedFit, pretraining
from ensemble.oof.fold_key import fold_key
from ensemble.oof.kept_fit import fit_key, forget_spare
from ensemble.oof.label_origins import count_kinds, hard_origins, label_origins
from ensemble.oof.origins import is_complete
from ensemble.oof.predictions import count_missing, read_logits
from ensemble.oof.provenance import describe_brought, judged_here, of_rows
from ensemble.oof.rows import FoldRows
from ensemble.oof.seeds import fit_seeds
from ensemble.oof.soup import make_soup
from ensemble.oof.teachers import SoftLabels, check_fitted, doubts_of
from ensemble.plugin.base import FitContext
from ensemble.plugin.files import source_place
from ensemble.plugin.manager import get_manager
from ensemble.run_dir.layout import LABELS, MODEL, OOF, PROVENANCE, TEST, TRAIN_IDS
from ensemble.run_dir.tables import write_table
from ensemble.storage.atomic import make_directory
from ensemble.storage.directories import atomic_directory
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.eval_set import EvalSet
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import LogitArray


def fit_fold(
    workspace: Workspace,
    spec: LearnerSpec,
    fold: FoldLike,
    progress: Callable[..., None] | None = None,
) -> bool:
    """Fit a learner without a fold, predict that fold and the test set, and store it all.

    A soup is not fitted: it is made of the folds, as ``make_soup`` says.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    spec
        The learner.
    fold
        What is held out: a fold; a pair of folds, for their rows alone; nothing (None), for test
        logits alone; or the soup of all folds.
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
    if held_out.is_soup:
        make_soup(workspace, spec, key, parts, progress)
        return True
    check_offset(spec, workspace.uses)
    taught = {
        (t, HeldOut.named(f)): k for t, keys in parts["teachers"].items() for f, k in keys.items()
    }
    check_fitted(workspace, spec, taught, "teaches")
    for source, keys in parts["labelers"].items():
        asked = {(name, held_out): key for name, key in keys.items()}
        check_fitted(workspace, spec, asked, f'labels source "{source}" for')
    own = replace(workspace, uses=resolve_sources(spec, workspace.uses))
    try:
        _FoldJob(own, spec, held_out, key, parts, workspace.eval_set).run(directory, progress)
    except LearnerError as error:
        if held_out.is_joint:
            plain = 'set nesting = "plain" under [stack]'
            error.hint = f"{error.hint}, or {plain}" if error.hint else plain
        raise
    return True


def fold_checkpoint(workspace: Workspace, spec: LearnerSpec, fold: FoldLike) -> Path:
    """Give the place of the checkpoint that a fit has until it is complete.

    Parameters
    ----------
    workspace, spec, fold
        As for ``fit_fold``.
    """
    held_out = HeldOut.of(fold)
    key, parts = fold_key(spec, held_out, workspace.shared_key())
    own = replace(workspace, uses=resolve_sources(spec, workspace.uses))
    return _FoldJob(own, spec, held_out, key, parts, workspace.eval_set).checkpoint()


@dataclass(frozen=True)
class _FoldJob:
    workspace: Workspace
    spec: LearnerSpec
    held_out: HeldOut
    key: str
    parts: dict[str, Any]
    target: EvalSet

    @property
    def where(self) -> str:
        what = self.held_out.label
        return f'learner "{self.spec.name}" (plugin "{self.spec.plugin_name}"), {what}'

    def run(self, directory: Path, progress: Callable[..., None] | None) -> None:
        made_by, began = self._fit_key(), clock.seconds()
        checkpoint = self.checkpoint()
        resumed = checkpoint.is_dir() and any(checkpoint.iterdir())
        make_directory(checkpoint)
        outside = self.spec.make()
        brought = judged_here(self.workspace, outside, self.where)
        described = describe_brought(self.workspace, outside, self.where)
        teaching = SoftLabels(self.workspace, self.spec, self.held_out, checkpoint)
        manifest: dict[str, Any] = {}
        with atomic_directory(directory, manifest) as place:
            rows = FoldRows.of(teaching.label(), self.held_out, self.spec.privileged)
            taught = teaching.teach(rows.train.battles)
            context = self._context(progress, taught)
            ids, stored = self.workspace.target_ids(), self._stored()
            fit = SeedFit(self.spec, self.where, rows, ids, self.key, stored, made_by)
            facts = fit_seeds(fit, place, context, self._seeds(), checkpoint)
            pretrained = pretraining(self.spec, rows)
            write_table(place / TRAIN_IDS, _used_ids(rows, pretrained))
            origins = self._origins(teaching, rows, taught, pretrained)
            write_table(place / LABELS, origins)
            manifest.update(self._manifest(rows, pretrained), **facts)
            manifest["labels"] = count_kinds(origins)
            if described is not None:
                manifest["brought"] = described
                manifest["rows"]["missing"] = count_missing(place / OOF)
            if brought is not None:
                table, told = brought
                write_table(place / PROVENANCE, of_rows(table, rows.held_out["id"]))
                manifest.update(told)
            manifest["doubts"] += self._doubts_of_others()
            if manifest["doubts"]:
                manifest["training_rows"] = "unknown"
            manifest["checkpoint"] = checkpoint.name
            manifest["score"] = self._score(place / OOF)
            # What a resumed fit took before, nobody knows: as a measure it is no good.
            job = None if resumed else clock.seconds() - began
            manifest["seconds"] = {**manifest["seconds"], "job": job}
        shutil.rmtree(checkpoint, ignore_errors=True)
        if made_by is not None:
            for seed in self._seeds():
                forget_spare(made_by, seed)

    def _doubts_of_others(self) -> list[str]:
        """Say what of teachers and labelers is in doubt: what they have seen reaches the fit."""
        taught = {(n, f) for n, keys in self.parts["teachers"].items() for f in keys}
        labeled = {(n, self.held_out.name) for ks in self.parts["labelers"].values() for n in ks}
        found = doubts_of(self.workspace.store, sorted(taught | labeled))
        return [f"it learned from {name}: {text}" for name, text in found]

    def _score(self, oof: Path) -> dict[str, Any] | None:
        """Score a fold's predictions on its labeled rows; None where it predicts none of them."""
        if self.held_out.is_joint or self.held_out.is_refit:
            return None
        rows = self.target.folds == self.held_out.folds[0]
        logits = read_logits(oof, self.target.ids.filter(pl.Series(rows)))
        logits = leave_out_tie(logits, ties=self.workspace.ties)
        known = ~np.isnan(logits).any(axis=1)
        losses = row_log_loss(self.target.labels[rows][known], softmax(logits[known]))
        return {"rows": len(losses), "log_loss": float(losses.mean())} if len(losses) else None

    def _stored(self) -> frozenset[str]:
        """Say what is kept: of several folds their rows' logits, the model where others ask it.

        With privileged columns there is no test row that could be predicted.
        """
        if not self.held_out.is_joint:
            return frozenset({OOF, MODEL} if self.spec.privileged else {OOF, TEST, MODEL})
        return frozenset({OOF, MODEL} if self.parts["keeps_model"] else {OOF})

    def _fit_key(self) -> str | None:
        """Name what the fit depends on; None where a fit costs less than to keep it."""
        kind = type(self.spec.prototype)
        dear = kind.trains and not kind.cheap and MODEL in self._stored()
        return fit_key(self.spec, self.parts) if dear else None

    def checkpoint(self) -> Path:
        """Give the place of the checkpoint: code that runs after a fit does not part it."""
        run, key = self.workspace.run, self._fit_key() or self.key
        return checkpoint_directory(run, self.spec.name, self.held_out.name, key)

    def _context(
        self,
        progress: Callable[..., None] | None,
        teachers: dict[str, LogitArray],
    ) -> FitContext:
        cache = self.workspace.cache_directory / self.spec.cache_name
        make_directory(cache)
        context = FitContext(
            cache_directory=cache,
            device=self.workspace.device,
            threads=self.workspace.threads,
            teachers=teachers,
            ties=self.workspace.ties,
            privileged=self.spec.privileged,
        )
        return replace(context, progress=progress) if progress else context

    def _origins(
        self,
        teaching: SoftLabels,
        rows: FoldRows,
        taught: Mapping[str, LogitArray],
        pretrained: str,
    ) -> pl.DataFrame:
        """Say of each row that was learned from what its label was."""
        labeled_by = {source: [*keys] for source, keys in self.parts["labelers"].items()}
        origins = label_origins(
            rows.train,
            taught,
            teaching.folds_of(rows.train.battles["id"]),
            self.held_out,
            labeled_by,
        )
        if pretrained != "used":
            return origins
        return pl.concat([origins, hard_origins(rows.pretrain.battles["id"], "pretrain")])

    def _seeds(self) -> list[int]:
        """Give a seed for each of the learner's fits; the first is that of a learner with one."""
        named = [self.workspace.seed, self.spec.name, self.held_out.to_json()]
        names = [named, *([*named, seed] for seed in range(1, self.spec.seeds))]
        return [int(fingerprint(name)[:8], 16) % 2**31 for name in names]

    def _manifest(self, rows: FoldRows, pretrained: str) -> dict[str, Any]:
        entry = get_manager().base_learners.entry(self.spec.plugin)
        kind = type(self.spec.prototype)
        return {
            "learner": self.spec.name,
            "plugin": self.spec.plugin_name,
            "plugin_version": kind.version,
            "plugin_source": source_place(self.spec.plugin),
            "distribution": entry.distribution,
            "parameters": self.spec.all_parameters(),
            "fold": self.held_out.to_json(),
            "seed": self.workspace.seed,
            "seeds": self.spec.seeds,
            "plan": self.workspace.plan.fingerprint,
            "data": self.workspace.data_key,
            "key": self.key,
            "key_parts": self.parts,
            "machine": {"host": platform.node(), "device": self.workspace.device},
            "training_rows": "recorded" if kind.trains else "unknown",
            "rows": {
                "train": len(rows.train.battles),
                "pretrain": len(rows.pretrain.battles) if pretrained == "used" else 0,
                "held_out": len(rows.held_out),
                "test": len(rows.test),
            },
            "pretrain": pretrained,
            "columns": {
                "fit": rows.train.battles.columns,
                **({"pretrain": rows.pretrain.battles.columns} if pretrained == "used" else {}),
                "predict": rows.held_out.columns,
            },
            "privileged": self._missing(rows),
            "sources": _used_sources(rows, pretrained, self.parts["labelers"]),
        }

    def _missing(self, rows: FoldRows) -> dict[str, dict[str, int]]:
        """Count the training rows that lack a privileged column, by source."""
        if not self.spec.privileged or rows.train.source is None:
            return {}
        return missing_by_source(rows.train.source, rows.train.battles)


def _used_sources(
    rows: FoldRows, pretrained: str, labeled_by: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Say of each source that was learned from how its rows counted, and who labeled them."""
    used = {**rows.train.sources, **(rows.pretrain.sources if pretrained == "used" else {})}
    return {
        source: {**facts, "labeled_by": labeled_by[source]} if source in labeled_by else facts
        for source, facts in used.items()
    }


def _used_ids(rows: FoldRows, pretrained: str) -> pl.DataFrame:
    """Ids of the rows that were learned from, sorted, with the stage that used them."""
    used = {"train": rows.train}
    if pretrained == "used":
        used["pretrain"] = rows.pretrain
    parts = [part.battles.select("id", stage=pl.lit(stage)) for stage, part in used.items()]
    return pl.concat(parts).sort("stage", "id")
