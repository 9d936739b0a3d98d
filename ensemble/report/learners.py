"""The base learners: what each predicted out of fold, how well, how long it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.evaluation.calibration import correlations, reliability
from ensemble.evaluation.intervals import Estimate
from ensemble.evaluation.scores import Score, accuracies, scores
from ensemble.evaluation.ties import number_of_classes
from ensemble.plugin.base import BaseLearner
from ensemble.report import tables
from ensemble.report.data import Agreement, Learner, SourceStats
from ensemble.run_dir.layout import LEARNERS
from ensemble.storage.atomic import TEMPORARY
from ensemble.storage.strays import is_stray

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ensemble.oof.eval_set import EvalSet
    from ensemble.plugin.base import FloatArray
    from ensemble.report.staleness import Asked, RunKey
    from ensemble.report.tables import Predictions
    from ensemble.run_dir.fit_manifest import FitManifest, UsedSource, Weights
    from ensemble.run_dir.folds_record import FoldsRecord
    from ensemble.run_dir.stack_records import Candidates


def read_learners(
    run: Path,
    configured: Sequence[str] | None,
    target: EvalSet | None,
    basis: RunKey,
    asked: Asked,
    *,
    ties: bool,
) -> tuple[list[Predictions], list[str]]:
    """Read the learners of the config; others that lie in the run directory are named only."""
    names_there = (path.name for path in (run / LEARNERS).glob("*"))
    found = sorted(n for n in names_there if not (n.startswith(TEMPORARY) or is_stray(n)))
    names = found if configured is None else configured
    left_out = [f"{name}: the config has no such learner" for name in found if name not in names]
    if target is None:
        return [], left_out
    predictions = []
    for name in names:
        place = run / LEARNERS / name
        prediction, reasons = tables.read_learner(place, target, basis, asked, ties=ties)
        predictions.append(prediction)
        left_out += reasons
    return predictions, left_out


def score_learners(
    predictions: list[Predictions],
    target: EvalSet | None,
    plan: FoldsRecord | None,
    candidates: Candidates | None,
    *,
    ties: bool,
) -> tuple[Learner, ...]:
    """Score the learners on all rows, on each fold and on each source, in the config's order."""
    if target is None or not predictions:
        return ()
    losses = np.column_stack([p.losses for p in predictions])
    sources = target.rows["source"].to_numpy()
    overall = _recorded(predictions, scores(losses, target.clusters), candidates)
    errors = np.column_stack([p.errors for p in predictions])
    accurate = _recorded_accuracies(predictions, accuracies(errors, target.clusters), candidates)
    folds = {int(k): _part(losses, target, target.folds == k) for k in np.unique(target.folds)}
    parts = {name: _part(losses, target, sources == name) for name in target.sources}
    return tuple(
        _learner(
            prediction,
            target,
            plan,
            (overall[i], accurate[i]),
            ({k: s[i] for k, s in folds.items()}, {name: s[i] for name, s in parts.items()}),
            ties=ties,
        )
        for i, prediction in enumerate(predictions)
    )


def _part(losses: FloatArray, target: EvalSet, rows: NDArray[np.bool_]) -> list[Score]:
    return scores(losses[rows], target.clusters[rows])


def _recorded(
    predictions: list[Predictions], own: list[Score], candidates: Candidates | None
) -> list[Score]:
    """Take the stack stage's interval where it scored the same rows: one number, one interval."""
    known = {s.name: s for s in candidates.learners} if candidates else {}
    result = []
    for prediction, score in zip(predictions, own, strict=True):
        found = known.get(prediction.name)
        if found is not None and _agrees(found.log_loss, score.log_loss):
            score = Score(score.rows, score.log_loss, *_ends(found.low, found.high))
        result.append(score)
    return result


def _recorded_accuracies(
    predictions: list[Predictions], own: list[Estimate], candidates: Candidates | None
) -> list[Estimate]:
    """Take the stack stage's accuracies likewise."""
    known = {s.name: s.accuracy for s in candidates.learners} if candidates else {}
    result = []
    for prediction, found in zip(predictions, own, strict=True):
        one = known.get(prediction.name)
        agrees = one is not None and _agrees(one.mean, found.mean)
        result.append(Estimate(found.mean, one.low, one.high) if one and agrees else found)
    return result


def _agrees(recorded: float | None, measured: float) -> bool:
    return recorded is not None and abs(recorded - measured) < 1e-6


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    return (np.nan if low is None else low), (np.nan if high is None else high)


def _learner(
    prediction: Predictions,
    target: EvalSet,
    plan: FoldsRecord | None,
    whole: tuple[Score, Estimate],
    parts: tuple[dict[int, Score], dict[str, Score]],
    *,
    ties: bool,
) -> Learner:
    overall, accuracy = whole
    classes = number_of_classes(ties=ties)
    manifests = prediction.manifests
    first = manifests[0] if manifests else None
    return Learner(
        name=prediction.name,
        plugin=first.plugin if first else None,
        version=first.plugin_version if first else None,
        folds_done=tuple(m.fold for m in manifests if isinstance(m.fold, int)),
        folds_planned=plan.n_splits if plan else None,
        rows_predicted=overall.rows,
        rows_missing=len(target.rows) - overall.rows,
        overall=overall,
        accuracy=accuracy,
        per_fold=parts[0],
        per_source=parts[1],
        reliability=reliability(
            target.labels[:, :classes], prediction.probabilities[:, :classes], target.clusters
        ),
        fit_seconds=_total([m.seconds.fit for m in manifests]),
        predict_seconds=_total([m.seconds.predict for m in manifests]),
        training_rows=_training_rows(manifests),
        pretrain=_pretrain(manifests),
        privileged=tuple(first.privileged) if first else (),
        source_stats=source_stats(manifests),
        parameters=first.parameters if first else {},
        cautions=_cautions(manifests),
        wide_batch_tolerance=_wide_tolerance(manifests),
    )


def _total(seconds: list[float | None]) -> float | None:
    """Sum times; None where one of them is unknown, since the sum is then unknown too."""
    known = [s for s in seconds if s is not None]
    return sum(known) if known and len(known) == len(seconds) else None


def _cautions(manifests: tuple[FitManifest, ...]) -> tuple[str, ...]:
    """Give what is told of any fold, each once."""
    told = (text for one in manifests for text in (*one.doubts, *one.cautions))
    return tuple(dict.fromkeys(told))


def _wide_tolerance(manifests: tuple[FitManifest, ...]) -> float | None:
    """Give the largest batch tolerance where it is beyond the default."""
    largest = max((m.batch_tolerance or 0.0 for m in manifests), default=0.0)
    return largest if largest > BaseLearner.batch_tolerance else None


def _training_rows(manifests: tuple[FitManifest, ...]) -> str | None:
    """Say ``"recorded"`` only where every fold does."""
    states = {m.training_rows or "unknown" for m in manifests}
    return max(states) if states else None


def _pretrain(manifests: tuple[FitManifest, ...]) -> str | None:
    """Say what became of rows for pre-training; in some folds all of them may be cut."""
    states = {m.pretrain for m in manifests}
    return next((state for state in ("used", "unsupported", "none") if state in states), None)


def source_stats(manifests: tuple[FitManifest, ...]) -> tuple[SourceStats, ...]:
    """Sum up over the folds what each source taught, in the order of the first that has it."""
    names = dict.fromkeys(name for manifest in manifests for name in manifest.sources)
    return tuple(
        _source_stats(name, [m.sources[name] for m in manifests if name in m.sources])
        for name in names
    )


def _source_stats(name: str, used: list[UsedSource]) -> SourceStats:
    rows = [one.rows for one in used]
    offsets = [one.offset for one in used if one.offset is not None]
    return SourceStats(
        source=name,
        role=used[0].role,
        rows=(min(rows), max(rows)),
        weight=_weight([one.weight for one in used]),
        offset=tuple(np.mean(offsets, axis=0).tolist()) if offsets else None,
        labeled_by=tuple(used[0].labeled_by),
    )


def _weight(weights: list[Weights]) -> tuple[float, float, float] | None:
    means = [each.mean for each in weights if each.mean is not None]
    least = [each.least for each in weights if each.least is not None]
    greatest = [each.greatest for each in weights if each.greatest is not None]
    if not (len(means) == len(least) == len(greatest) == len(weights)):
        return None
    return float(np.mean(means)), min(least), max(greatest)


def compare_learners(predictions: list[Predictions]) -> Agreement | None:
    """Correlate the learners that have predictions; None where there are not two."""
    measured = [p for p in predictions if np.isfinite(p.losses).any() and p.logits is not None]
    if len(measured) < 2:
        return None
    logits = np.column_stack([p.logits.ravel() for p in measured if p.logits is not None])
    losses = np.column_stack([p.losses for p in measured])
    return Agreement(
        tuple(p.name for p in measured),
        correlations(logits),
        correlations(losses),
    )
