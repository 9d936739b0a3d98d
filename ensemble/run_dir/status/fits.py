"""Which fits a run asks for, which of them are complete, and why others failed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.failure import Failure, retry_commands
from ensemble.run_dir.jobs_record import LearnerJobs, read_jobs
from ensemble.run_dir.layout import FAILURE, JOBS, LEARNERS, UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ensemble.run_dir.status.files import RunFiles


class CompleteFit(NamedTuple):
    """A complete fit: seconds that it took, its score with the rows that it is of, its doubt."""

    seconds: float | None
    score: tuple[int, float] | None
    unproven: bool
    """Whether nobody knows what it was trained on."""


def planned_fits(files: RunFiles) -> list[LearnerJobs]:
    """Read which fits the config asks for; that nobody can tell any more is said."""
    planned = read_jobs(files.run)
    if planned is None and ((files.run / JOBS).exists() or (files.run / LEARNERS).is_dir()):
        files.damaged.add(JOBS)
    return planned or []


def complete_fits(files: RunFiles, jobs: LearnerJobs) -> dict[str, CompleteFit]:
    """Find the complete fits of a learner, by name; hashes of files are not looked at."""
    found = {}
    for name, key in jobs.fits.items():
        manifest = files.manifest(LEARNERS, jobs.name, name)
        if manifest.get("key") == key:
            unproven = manifest.get("training_rows") != "recorded"
            found[name] = CompleteFit(_seconds_of(manifest), _score_of(manifest), unproven)
    return found


def _seconds_of(manifest: Mapping[str, Any]) -> float | None:
    with suppress(LookupError, TypeError, ValueError):
        return float(manifest["seconds"]["job"])
    return None


def _score_of(manifest: Mapping[str, Any]) -> tuple[int, float] | None:
    with suppress(LookupError, TypeError, ValueError):
        return int(manifest["score"]["rows"]), float(manifest["score"]["log_loss"])
    return None


def longest_fit(fits: Iterable[CompleteFit]) -> float | None:
    """Give the seconds of the fit that took longest; None where no fit says."""
    return max((fit.seconds for fit in fits if fit.seconds is not None), default=None)


def read_failure(files: RunFiles, jobs: LearnerJobs) -> Failure | None:
    """Read why a learner failed; a failure under other settings is none any more."""
    told = files.read(LEARNERS, jobs.name, FAILURE)
    if not told or told.get("key") not in jobs.fits.values():
        return None
    line, hint, needs = (told.get(key) for key in ("line", "hint", "needs"))
    at, reason = (str(told.get(key)) for key in ("at", "reason"))
    return Failure(jobs.name, at, reason, line, hint, needs)


def told_failure(failure: Failure, command: str) -> dict[str, Any]:
    """Say as JSON what failed, and the command that tries it again."""
    return {
        "name": failure.name,
        "at": failure.at,
        "reason": failure.sentence,
        "hint": failure.hint,
        "needs": failure.needs,
        "retry": retry_commands([failure], command)[0],
    }


def count_fits(
    planned: Sequence[LearnerJobs],
    done: Mapping[str, Mapping[str, CompleteFit]],
    going_on: Sequence[Mapping[str, Any]],
    failed: set[str],
) -> dict[str, int]:
    """Count all fits, and those that are done, running, failed and waiting."""
    total = sum(len(one.fits) for one in planned)
    complete = sum(map(len, done.values()))
    missing = sum(len(one.fits) - len(done[one.name]) for one in planned if one.name in failed)
    running = sum(_is_missing(job, planned, done) for job in going_on)
    return {
        "total": total,
        "done": complete,
        "running": running,
        "failed": missing,
        "waiting": max(0, total - complete - missing - running),
    }


def _is_missing(
    job: Mapping[str, Any],
    planned: Sequence[LearnerJobs],
    done: Mapping[str, Mapping[str, CompleteFit]],
) -> bool:
    name, fit = job.get("learner"), job.get("fit")
    return any(
        one.name == name and fit in one.fits and fit not in done[one.name] for one in planned
    )


def unfinished_fits(
    files: RunFiles, done: Mapping[str, Mapping[str, CompleteFit]]
) -> dict[str, list[str]]:
    """Give the fits that a time limit has left undone."""
    fits = files.read(UNFINISHED).get("fits")
    found = fits.items() if isinstance(fits, dict) else ()
    left = {name: [one for one in own if one not in done.get(name, {})] for name, own in found}
    return {name: own for name, own in left.items() if own}
