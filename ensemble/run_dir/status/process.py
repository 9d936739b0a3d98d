"""The process that writes to a run: whether it lives, and what it works on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.run_dir.process_mark import state_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_SILENT = 10
"""Signs of life that have to be missing before a process elsewhere counts as gone."""


def process_state(now: Mapping[str, Any], age: float) -> str | None:
    """Say what became of the process that writes to a run; None where there is none."""
    mark = now.get("process")
    if not isinstance(mark, dict):
        return None
    state = state_of(mark)
    if state == "unknown":
        beat = mark.get("beat")
        known = beat if isinstance(beat, int | float) and beat > 0 else 2.0
        return "running" if age < _SILENT * known else "silent"
    return "running" if state == "alive" else "dead"


def told_process(now: Mapping[str, Any], age: float, state: str | None) -> dict[str, Any] | None:
    """Say as JSON where a run's process is, how long it has run and when it last gave a sign."""
    mark = now.get("process")
    if state is None or not isinstance(mark, dict):
        return None
    told = {key: mark.get(key) for key in ("host", "pid", "since")}
    return told | {"seconds": _elapsed(mark, age), "last_sign": round(age, 1)}


def _elapsed(job: Mapping[str, Any], age: float) -> float | None:
    """Seconds that something has gone on: what its process counted, and what has passed since."""
    counted = job.get("elapsed")
    return round(counted + age, 1) if isinstance(counted, int | float) else None


def current_stage(now: Mapping[str, Any]) -> str | None:
    """Name the stage that a process is in."""
    stages = now.get("stages")
    last = stages[-1] if isinstance(stages, list) and stages else None
    return str(last.get("name")) if isinstance(last, dict) else None


def running_jobs(now: Mapping[str, Any], age: float) -> list[dict[str, Any]]:
    """List the jobs that a process works on, with their ``seconds`` so far."""
    jobs = now.get("jobs")
    found = [job for job in jobs if isinstance(job, dict)] if isinstance(jobs, list) else []
    return [{**job, "seconds": _elapsed(job, age)} for job in found]
