"""How long jobs still take, by their progress and by what others of their learner took."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.run_dir.jobs_record import LearnerJobs
    from ensemble.run_dir.status.fits import CompleteFit

_OVERDUE, _TIMES = 60.0, 3.0
"""Seconds, and times that others of the learner took, after which a job may hang."""
_NEVER = 1e9
"""Seconds from which on no end is told: dates do not reach that far."""
_SURE = 0.02
"""Progress from which on it tells how long the rest takes."""


def told_job(job: Mapping[str, Any], known: Mapping[str, float | None]) -> dict[str, Any]:
    """Say as JSON how far a job is, and how long it still takes."""
    keys = ("label", "learner", "fit", "where", "since", "seconds", "limit", "progress", "message")
    told = {key: job.get(key) for key in keys}
    left = _job_left(job, known)
    overdue = _is_overdue(job, known)
    return told | {"overdue": overdue, "seconds_left": left, "expected_end": end_after(left)}


def _is_overdue(job: Mapping[str, Any], known: Mapping[str, float | None]) -> bool:
    """Say whether a job takes so much longer than others of its learner did that it may hang."""
    seconds, longest = job.get("seconds"), known.get(str(job.get("learner")))
    if not isinstance(seconds, int | float) or longest is None:
        return False
    return seconds > _OVERDUE + _TIMES * longest


def _job_left(job: Mapping[str, Any], known: Mapping[str, float | None]) -> float | None:
    """Say how long a job still takes: by its progress, or by what others of its learner took."""
    seconds, progress = job.get("seconds"), job.get("progress")
    if not isinstance(seconds, int | float):
        return None
    if isinstance(progress, int | float) and _SURE <= progress <= 1:
        return round(seconds * (1 - progress) / progress, 1)
    whole = known.get(str(job.get("learner")))
    return None if whole is None else round(max(0.0, whole - seconds), 1)


def seconds_left(
    planned: Sequence[LearnerJobs],
    done: Mapping[str, Mapping[str, CompleteFit]],
    going_on: Sequence[Mapping[str, Any]],
    known: Mapping[str, float | None],
    failed: set[str],
) -> float | None:
    """Say how long all fits still take with as many at a time as now; None where nobody knows."""
    started = {(job.get("learner"), job.get("fit")) for job in going_on}
    total = 0.0
    for one in planned:
        names = [n for n in one.fits if n not in done[one.name] and (one.name, n) not in started]
        if one.name in failed or not names:
            continue
        seconds = known[one.name]
        if seconds is None:
            return None
        total += seconds * len(names)
    rest = [_job_left(job, known) for job in going_on if "learner" in job]
    if None in rest:
        return None
    return round((total + sum(one or 0.0 for one in rest)) / max(1, len(rest)), 1)


def end_after(seconds: float | None) -> str | None:
    """Give the time in so many seconds, in UTC; None where nobody knows how many."""
    if seconds is None or seconds > _NEVER:
        return None
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")
