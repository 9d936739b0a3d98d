"""What learners and the stack have scored so far."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ensemble.run_dir.layout import FOLDS_RECORD, STACK, VERDICT
from ensemble.run_dir.status.fits import CompleteFit, longest_fit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ensemble.failure import Failure
    from ensemble.run_dir.jobs_record import LearnerJobs
    from ensemble.run_dir.status.files import RunFiles


def told_learner(
    jobs: LearnerJobs,
    done: Mapping[str, CompleteFit],
    failed: Sequence[Failure],
    unproven: Collection[str],
) -> dict[str, Any]:
    """Say as JSON how many fits of a learner are done, and their mean score."""
    score = _mean_score(done)
    return {
        "name": jobs.name,
        "done": len(done),
        "total": len(jobs.fits),
        "failed": any(one.name == jobs.name for one in failed),
        "log_loss": score and score[1],
        "rows": score and score[0],
        "folds": sum(fit.score is not None for fit in done.values()),
        "seconds": longest_fit(done.values()),
        "unproven": jobs.name in unproven,
    }


def unproven_learners(files: RunFiles, done: Mapping[str, Mapping[str, CompleteFit]]) -> list[str]:
    """Name the learners whose scores nothing vouches for, in order."""
    plan = files.read(FOLDS_RECORD)
    # What FoldsRecord.doubt says in sentences: a status does without pydantic.
    undated = plan.get("undated", "cut") != "cut" and plan.get("undated_rows")
    doubted = not plan or plan.get("split_clusters") or undated
    return [
        name
        for name, fits in done.items()
        if fits and (doubted or any(fit.unproven for fit in fits.values()))
    ]


def _mean_score(done: Mapping[str, CompleteFit]) -> tuple[int, float] | None:
    scores = [fit.score for fit in done.values() if fit.score is not None]
    rows = sum(count for count, _ in scores)
    return (rows, sum(count * loss for count, loss in scores) / rows) if rows else None


def best_score(
    files: RunFiles,
    planned: Sequence[LearnerJobs],
    done: Mapping[str, Mapping[str, CompleteFit]],
    unproven: Collection[str],
) -> dict[str, Any] | None:
    """Give the lowest log loss so far: of the stack's choice, or of a learner on the most folds."""
    if (chosen := _chosen(files, done)) is not None:
        return chosen
    found: list[tuple[int, float, int, str]] = []
    for one in planned:
        score = _mean_score(done[one.name])
        if score is not None:
            folds = sum(fit.score is not None for fit in done[one.name].values())
            found.append((-folds, score[1], score[0], one.name))
    if not found:
        return None
    folds, loss, rows, name = min(found)
    told = {"name": name, "kind": "learner", "log_loss": loss, "rows": rows, "folds": -folds}
    return told | {"unproven": [one for one in unproven if one == name]}


def _chosen(
    files: RunFiles, done: Mapping[str, Mapping[str, CompleteFit]]
) -> dict[str, Any] | None:
    """Give the score of what the stack chose, where it is of fits that are there."""
    manifest = files.manifest(STACK, exact=True)
    verdict = files.of_manifest(manifest, STACK, VERDICT)
    with suppress(LookupError, TypeError, ValueError, AttributeError):
        made_from = manifest["key_parts"]["folds"]
        if any(fold not in done.get(name, {}) for name, own in made_from.items() for fold in own):
            return None
        one = next(one for one in verdict["candidates"] if one["name"] == verdict["chosen"])
        loss = float(one["log_loss"])
        told = {"name": one["name"], "kind": "stack", "log_loss": loss, "rows": verdict["rows"]}
        return told | {"unproven": list(verdict["unproven"]["candidates"].get(one["name"], ()))}
    return None
