"""The tables of a run, as arrays joined by battle id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.prepared import read_battles
from ensemble.battles.schema import LABEL_COLUMNS, TEXT_COLUMNS, labels_of
from ensemble.battles.split import read_split
from ensemble.errors import ArtifactError
from ensemble.evaluation.losses import row_errors, row_log_loss, softmax
from ensemble.evaluation.ties import leave_out_tie, neutral_tie
from ensemble.oof.eval_set import EvalSet
from ensemble.oof.predictions import read_held_out
from ensemble.plugin.base import CLASSES
from ensemble.run_dir.fit_manifest import FitManifest
from ensemble.run_dir.layout import BATTLES, FOLDS, OOF, STACK
from ensemble.run_dir.tables import read_rows, read_table
from ensemble.storage.atomic import TEMPORARY
from ensemble.storage.directories import MANIFEST, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ensemble.plugin.base import FloatArray
    from ensemble.report.staleness import Asked, RunKey

FOLD_PREFIX = "fold-"


@dataclass(frozen=True)
class LabelShares:
    """The labels of one source.

    Parameters
    ----------
    source, role
        Which rows.
    rows, labeled
        How many rows there are, and how many of them have a label.
    shares
        Share of each class among the labeled, in ``CLASSES`` order; None where none is labeled.
    """

    source: str
    role: str
    rows: int
    labeled: int
    shares: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class Predictions:
    """Out-of-fold probabilities, aligned with the target rows.

    Parameters
    ----------
    name
        Learner or candidate.
    probabilities
        ``(n, 3)``; NaN where a row has not been predicted.
    losses, errors
        ``(n,)`` log loss, and 1 minus the accuracy; NaN likewise.
    logits
        ``(n, 3)`` centered; None for a candidate.
    manifests
        Of the complete folds; empty for a candidate.
    """

    name: str
    probabilities: FloatArray
    losses: FloatArray
    errors: FloatArray
    logits: FloatArray | None = None
    manifests: tuple[FitManifest, ...] = ()


def read_labels(run: Path) -> tuple[LabelShares, ...] | None:
    """Count the labels of each source, in the order of the table; test rows are left out.

    None where no stage has written the battles yet; errors as ``read_table``.
    """
    if not (run / BATTLES).exists():
        return None
    table = read_table(run / BATTLES, ["source", "role", *LABEL_COLUMNS, "is_test"])
    groups = table.filter(~pl.col("is_test")).partition_by(
        "source", "role", as_dict=True, maintain_order=True
    )
    return tuple(_label_shares(part) for part in groups.values())


def _label_shares(part: pl.DataFrame) -> LabelShares:
    source, role = part.select("source", "role").row(0)
    labeled = part.drop_nulls(LABEL_COLUMNS)
    shares = tuple(labels_of(labeled).mean(axis=0).tolist()) if len(labeled) else None
    return LabelShares(source, role, len(part), len(labeled), shares)


def read_target(run: Path) -> EvalSet | None:
    """Read the rows that scores are made on; None where battles or plan are not written yet."""
    if not (run / FOLDS).exists() or not (run / BATTLES).exists():
        return None
    return EvalSet.of(read_battles(run)[0], read_split(run))


def read_learner(
    directory: Path, target: EvalSet, basis: RunKey, asked: Asked, *, ties: bool
) -> tuple[Predictions, list[str]]:
    """Read what one learner predicted out of fold, and say which folds had to be left out."""
    logits = np.full((len(target), 3), np.nan)
    manifests, left_out = [], []
    for fold, folder in _fold_directories(directory):
        try:
            manifest = _usable_manifest(folder, basis, asked)
            part = read_held_out(folder / OOF, fold, target)
        except ArtifactError as error:
            left_out.append(f"{directory.name}, fold {fold}: {error.message}")
            continue
        logits[target.folds == fold] = part[target.folds == fold]
        manifests.append(manifest)
    found = _learner_predictions(directory.name, logits, tuple(manifests), target, ties=ties)
    return found, left_out


def _fold_directories(directory: Path) -> Iterator[tuple[int, Path]]:
    """Yield the complete folds of a learner by number."""
    found = [p for p in directory.glob(f"{FOLD_PREFIX}*") if (p / MANIFEST).exists()]
    numbered = [(p.name.removeprefix(FOLD_PREFIX), p) for p in found if TEMPORARY not in p.name]
    yield from sorted((int(number), p) for number, p in numbered if number.isdigit())


def _usable_manifest(folder: Path, basis: RunKey, asked: Asked) -> FitManifest:
    """Read a fold's manifest; of another plan, damaged, or made otherwise, it is not usable."""
    manifest = FitManifest.read(folder / MANIFEST)
    if manifest is None or OOF not in manifest.files:
        raise ArtifactError("the manifest names no predictions", where=str(folder))
    other = basis.difference(manifest)
    if other:
        raise ArtifactError(f"its predictions belong to {other}", where=str(folder))
    try:
        stored = read_manifest(folder)
    except ArtifactError as error:
        if str(error.where or "").endswith(OOF) or OOF in error.message:
            raise ArtifactError(
                "its predictions are missing or were altered", where=str(folder)
            ) from error
        raise
    made_by = stored.get("key_parts") or stored
    if different := asked.of_learner(folder.parent.name, made_by):
        what = "; ".join(different)
        raise ArtifactError(
            f"its predictions were made otherwise than the config now says: {what}",
            where=str(folder),
        )
    return manifest


def _learner_predictions(
    name: str,
    logits: FloatArray,
    manifests: tuple[FitManifest, ...],
    target: EvalSet,
    *,
    ties: bool,
) -> Predictions:
    probabilities = softmax(leave_out_tie(logits, ties=ties))
    shown = neutral_tie(logits, ties=ties)
    return _scored(
        name, probabilities, target, shown - shown.mean(axis=1, keepdims=True), manifests
    )


def _scored(
    name: str,
    probabilities: FloatArray,
    target: EvalSet,
    logits: FloatArray | None = None,
    manifests: tuple[FitManifest, ...] = (),
) -> Predictions:
    losses = row_log_loss(target.labels, probabilities)
    errors = row_errors(target.labels, probabilities)
    return Predictions(name, probabilities, losses, errors, logits, manifests)


def read_stacked(run: Path, name: str, target: EvalSet) -> Predictions | None:
    """Read the chosen candidate's out-of-fold probabilities; None where there are none yet."""
    if not (run / STACK / OOF).exists():
        return None
    columns = {"id": pl.String(), **dict.fromkeys(CLASSES, pl.Float64())}
    table = read_table(run / STACK / OOF, columns)
    keys = target.rows.select("id")
    probabilities = _aligned(keys, table, CLASSES, what="stack/oof.parquet")
    if np.isinf(probabilities).any():
        raise ArtifactError("probabilities are infinite", where="stack/oof.parquet")
    return _scored(name, probabilities, target)


def _aligned(
    keys: pl.DataFrame, table: pl.DataFrame, values: Sequence[str], *, what: str
) -> FloatArray:
    """Put values in the order of the keys: ``(n, len(values))``, NaN where there are none."""
    if table.select(keys.columns).is_duplicated().any():
        raise ArtifactError("a battle is predicted more than once", where=what)
    joined = keys.join(table, on=keys.columns, how="left", maintain_order="left")
    return joined.select(values).to_numpy().astype(np.float64)


def read_texts(run: Path, ids: Sequence[str]) -> dict[str, dict[str, list[str | None]]]:
    """Read the turns of a few battles, by id and column."""
    rows = read_rows(run / BATTLES, ids, ["id", *TEXT_COLUMNS]).rows(named=True)
    return {row["id"]: {name: row[name] or [] for name in TEXT_COLUMNS} for row in rows}
