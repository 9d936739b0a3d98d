"""The stack's candidates, as candidates.json and verdict.json describe them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.evaluation.scores import Score
from ensemble.report.data import ScoredCandidate
from ensemble.report.tables import FOLD_PREFIX
from ensemble.run_dir.layout import OOF, STACK
from ensemble.run_dir.stack_records import Origin, StackManifest
from ensemble.storage.directories import MANIFEST, read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.report.staleness import Asked, RunKey
    from ensemble.report.tables import Predictions
    from ensemble.run_dir.fit_manifest import FitManifest
    from ensemble.run_dir.stack_records import (
        Candidate,
        Candidates,
        PartScore,
        Scored,
        Verdict,
        VerdictCandidate,
    )


def find_fault(
    run: Path, basis: RunKey, learners: Sequence[Predictions], asked: Asked
) -> str | None:
    """Say why the stack is not of the run as it is now; None where it is, or is not there yet.

    Raises
    ------
    ArtifactError
        A file of it is damaged.
    """
    if not (run / STACK).exists():
        return None
    manifest = StackManifest.read(run / STACK / MANIFEST)
    if manifest is None:
        return "it is incomplete"
    made_by = read_manifest(run / STACK).get("key_parts", {})
    other = (
        basis.difference(manifest)
        or _other_predictions(manifest, learners)
        or asked.of_stack(made_by)
    )
    return f"it was made from {other}" if other else None


def _other_predictions(manifest: StackManifest, learners: Sequence[Predictions]) -> str | None:
    there = {learner.name: learner for learner in learners}
    for name, known in manifest.key_parts.folds.items():
        if name not in there:
            return f"learner {name}, which the config does not have"
        now = {f"{FOLD_PREFIX}{one.fold}": _origin(one) for one in there[name].manifests}
        if any(now.get(fold, origin) != origin for fold, origin in known.items()):
            return f"other predictions of learner {name}"
        if gone := sorted(set(known) - set(now)):
            return f"predictions of learner {name} that cannot be used now ({', '.join(gone)})"
    return None


def _origin(manifest: FitManifest) -> Origin:
    return Origin(key=manifest.key, oof=manifest.files.get(OOF))


def collect_candidates(
    candidates: Candidates | None, verdict: Verdict | None
) -> tuple[ScoredCandidate, ...]:
    """Join both files by the candidates' names, best first; either may be missing."""
    measured = {c.name: c for c in candidates.candidates} if candidates else {}
    judged = {c.name: c for c in verdict.candidates} if verdict else {}
    rows = (candidates.rows_scored if candidates else None) or 0
    joined = [
        _contender(name, measured.get(name), judged.get(name), verdict, rows)
        for name in dict.fromkeys([*measured, *judged])
    ]
    return tuple(sorted(joined, key=_rank))


def _contender(
    name: str,
    measured: Candidate | None,
    judged: VerdictCandidate | None,
    verdict: Verdict | None,
    rows: int,
) -> ScoredCandidate:
    source = measured or judged
    return ScoredCandidate(
        name=name,
        score=_score(source, rows),
        accuracy=source.accuracy if source else None,
        gain=judged.gain_over_best_simple if judged else None,
        chosen=verdict is not None and verdict.chosen == name,
        best_simple=verdict is not None and verdict.best_simple == name,
        seconds=measured.seconds if measured else None,
        description=measured.description if measured else {},
        per_source={p.source: _score(p, p.rows or 0) for p in measured.per_source if p.source}
        if measured
        else {},
    )


def _rank(candidate: ScoredCandidate) -> float:
    loss = candidate.score.log_loss
    return loss if np.isfinite(loss) else float("inf")


def _score(source: Scored | PartScore | None, rows: int) -> Score:
    if source is None:
        return Score(rows, np.nan, np.nan, np.nan)
    ends = [np.nan if v is None else v for v in (source.log_loss, source.low, source.high)]
    return Score(rows, *ends)
