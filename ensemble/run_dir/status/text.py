"""What a reader is told of a run's status, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def lines(status: Mapping[str, Any]) -> Iterator[str]:
    """Say it for a reader, line by line."""
    yield _headline(status)
    jobs = status["jobs"]
    told = ", ".join(f"{jobs[k]} {k}" for k in ("running", "failed", "waiting") if jobs[k])
    left = status["seconds_left"] if status["state"] == "running" and jobs["waiting"] else None
    end = "" if left is None else f"; about {told_seconds(left)} left for fits"
    yield f"fits  {jobs['done']} of {jobs['total']} done{f', {told}' if told else ''}{end}"
    yield from _learner_lines(status["learners"])
    yield from _running_lines(status["running"])
    yield from _failed_lines(status["failed"])
    for name, fits in status["unfinished"].items():
        yield f"no time for  {name}: {', '.join(fit.replace('-', ' ', 1) for fit in fits)}"
    best = status["best"]
    if best is not None:
        on = f" on {best['folds']} fold{'s' * (best['folds'] != 1)}" if "folds" in best else ""
        kind = "learner" if best["kind"] == "learner" else "the stack's choice"
        doubt = f"; unproven: {', '.join(best['unproven'])}" if best["unproven"] else ""
        yield f"best so far  {best['name']} ({kind}): log loss {best['log_loss']:.4f}{on}{doubt}"
    if status["submission"]:
        yield f"submission  {status['submission']}"
    for name in status["damaged"]:
        yield f"damaged  {name}: counted as not there; the same command again makes it anew"
    yield f"disk  {_told_bytes(status['disk_bytes'])}"


def _headline(status: Mapping[str, Any]) -> str:
    process, state = status["process"] or {}, status["state"]
    at = f"process {process.get('pid')} on {process.get('host')}"
    again = "the same command again goes on"
    said = {
        "running": f"running: {at}",
        "silent": f"no sign of life for {told_seconds(process.get('last_sign') or 0)}: {at}",
        "dead": f"dead: {at} is gone; {again}",
        "finished": "finished",
        "failed": f"some of it failed; {again}",
        "unfinished": f"a time limit has left fits undone; {again}",
        "incomplete": f"not complete, and nobody works on it; {again}",
    }[state]
    if state == "running":
        seconds = process.get("seconds")
        said += f", for {told_seconds(seconds)}" if seconds is not None else ""
        said += f", stage {status['stage']}" if status["stage"] else ""
    return f"{status['run']}  {said}"


def _learner_lines(learners: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    width = max((len(one["name"]) for one in learners), default=0)
    for one in learners:
        loss = one["log_loss"]
        score = "" if loss is None else f"  log loss {loss:.4f} on {one['rows']:,} rows"
        took = "" if one["seconds"] is None else f"  {told_seconds(one['seconds'])} a fit"
        mark = "  unproven" if one["unproven"] and loss is not None else ""
        mark += "  failed" if one["failed"] else ""
        yield f"  {one['name']:<{width}}  {one['done']}/{one['total']}{score}{took}{mark}"


def _running_lines(running: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for job in running:
        parts = [
            job["where"],
            None if job["seconds"] is None else f"for {told_seconds(job['seconds'])}",
            None if job["progress"] is None else f"{job['progress']:.0%}",
            None if job["seconds_left"] is None else f"{told_seconds(job['seconds_left'])} left",
            None if job["limit"] is None else f"limit {told_seconds(job['limit'])}",
            "far longer than others of this learner took" if job["overdue"] else None,
            job["message"],
        ]
        told = ", ".join(str(part) for part in parts if part)
        yield f"running  {job['label']}{f'  {told}' if told else ''}"


def _failed_lines(failed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in failed:
        yield f"failed  {one['name']}, {one['at']}: {' '.join(str(one['reason']).split())}"
        yield f"  retry: {one['retry']}"


def told_seconds(seconds: float) -> str:
    """Say a time no more exactly than it is of use.

    Examples
    --------
    >>> [told_seconds(s) for s in (0.31, 42, 600, 9000)]
    ['0.3 s', '42 s', '10 min', '2.5 h']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _told_bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
