"""The process that writes to a run: whether it lives, and what it works on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.run_dir.process_mark import state_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SILENT = 10
"""Signs of life that have to be missing before a process elsewhere counts as gone."""
_LARGEST = 1e15
_TEXTS = ("label", "learner", "fit", "where", "since", "message")
_NUMBERS = ("limit", "progress")


def process_state(now: Mapping[str, Any], age: float) -> str | None:
    """Say what became of the process that writes to a run; None where there is none."""
    mark = now.get("process")
    if not isinstance(mark, dict):
        return None
    state = state_of(mark)
    if state == "unknown":
        beat = _number(mark.get("beat")) or 2.0
        return "running" if age < _SILENT * beat else "silent"
    return "running" if state == "alive" else "dead"


def told_process(now: Mapping[str, Any], age: float, state: str | None) -> dict[str, Any] | None:
    """Say as JSON where a run's process is, how long it has run and when it last gave a sign."""
    mark = now.get("process")
    if state is None or not isinstance(mark, dict):
        return None
    told = dict.fromkeys(("host", "pid", "since")) | _told(mark, ("host", "since"), ("pid",))
    return {**told, "seconds": _elapsed(mark, age), "last_sign": round(age, 1)}


def _elapsed(job: Mapping[str, Any], age: float) -> float | None:
    """Seconds that something has gone on: what its process counted, and what has passed since."""
    counted = _number(job.get("elapsed"))
    return None if counted is None else round(counted + age, 1)


def current_stage(now: Mapping[str, Any]) -> str | None:
    """Name the stage that a process is in."""
    stages = now.get("stages")
    last = stages[-1] if isinstance(stages, list) and stages else None
    return str(last.get("name")) if isinstance(last, dict) else None


def running_jobs(now: Mapping[str, Any], age: float) -> list[dict[str, Any]]:
    """List the jobs that a process works on, with their ``seconds`` so far."""
    jobs = now.get("jobs")
    found = [job for job in jobs if isinstance(job, dict)] if isinstance(jobs, list) else []
    return [{**_told(job, _TEXTS, _NUMBERS), "seconds": _elapsed(job, age)} for job in found]


def _told(table: Mapping[str, Any], texts: Sequence[str], numbers: Sequence[str]) -> dict[str, Any]:
    """Take what a process has said of something; what is of another type it has not said."""
    given = {key: table[key] for key in texts if isinstance(table.get(key), str)}
    counted = {key: value for key in numbers if (value := _number(table.get(key))) is not None}
    return given | counted


def _number(value: Any) -> float | None:
    """Give a number that can be counted with; None for all else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and abs(value) < _LARGEST else None
