"""How far a run is, from its files alone: nothing is locked, written or believed to be whole.

Nothing heavy is imported, so that the answer comes at once, from another terminal too. What is half
written, damaged or of former settings counts as not done.
"""

from __future__ import annotations

import os
import time
import tomllib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.errors import ArtifactError, ConfigError
from ensemble.failure import Failure, retry_commands
from ensemble.run_dir.jobs_record import LearnerJobs, read_jobs
from ensemble.run_dir.layout import (
    CONFIG,
    EVENTS,
    FAILURE,
    JOBS,
    LEARNERS,
    LOCK,
    RUN_MARKS,
    RUNNING,
    STACK,
    SUBMISSION,
    SUBMISSION_RECORD,
    UNFINISHED,
    VERDICT,
)
from ensemble.run_dir.process_mark import state_of
from ensemble.storage.directories import MANIFEST
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import read_checksummed, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_SILENT = 10
"""Signs of life that have to be missing before a process elsewhere counts as gone."""
_OVERDUE, _TIMES = 60.0, 3.0
"""Seconds, and times that others of the learner took, after which a job may hang."""
_SURE = 0.02
"""Progress from which on it tells how long the rest takes."""


class _Fit(NamedTuple):
    """A complete fit: seconds that it took, and its score with the rows that it is of."""

    seconds: float | None
    score: tuple[int, float] | None


def run_status(run: Path, command: str | None = None) -> dict[str, Any]:
    """Say how far a run is.

    Parameters
    ----------
    run
        The run directory.
    command
        What stands for the config in commands that retry; None names the run.

    Returns
    -------
    dict
        ``state``: ``running``, ``silent`` (its process is on another machine, and gives no sign of
        life), ``dead`` (its process is gone), ``finished``, ``failed``, ``unfinished`` or
        ``incomplete``; ``jobs``, their numbers; ``learners``; ``running``, ``failed``; ``best``;
        ``damaged``, files that are not what was written; ``disk_bytes``; all as JSON.

    Raises
    ------
    ConfigError
        There is no run.
    """
    _refuse_others(run)
    files = _Files(run)
    now = _unsealed(run / RUNNING)
    age = _age(run / RUNNING)
    planned = _planned(files)
    done = {one.name: _done(files, one) for one in planned}
    failed = [found for one in planned if (found := _failure(files, one)) is not None]
    alive = _state_of_process(now, age)
    going_on = _jobs_of(now, age) if alive in ("running", "silent") else []
    seconds = {name: _longest(fits.values()) for name, fits in done.items()}
    counts = _counts(planned, done, going_on, {one.name for one in failed})
    left = _left(planned, done, going_on, seconds, {one.name for one in failed})
    running = [_told_job(job, seconds) for job in going_on]
    return {
        "run": str(run),
        "state": alive or _state_at_rest(files, planned, counts, failed),
        "process": _process(now, age, alive),
        "stage": _stage(now) if alive in ("running", "silent") else None,
        "jobs": counts,
        "learners": [_learner(one, done[one.name], failed) for one in planned],
        "running": running,
        "failed": [_told_failure(one, command or str(run)) for one in failed],
        "unfinished": _unfinished(files, done),
        "seconds_left": left,
        "expected_end": _in(left) if alive == "running" else None,
        "best": _best(files, planned, done),
        "damaged": sorted(files.damaged),
        "submission": str(run / SUBMISSION) if (run / SUBMISSION).exists() else None,
        "disk_bytes": disk_bytes(run),
    }


def disk_bytes(directory: Path) -> int:
    """Count the bytes that a directory takes; a file with two names counts once."""
    total, seen, waiting = 0, set[tuple[int, int]](), [str(directory)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    name = (status.st_dev, status.st_ino)
                    if status.st_nlink < 2 or name not in seen:
                        total += status.st_size
                        seen.add(name)
    return total


def _refuse_others(run: Path) -> None:
    marks = (CONFIG, EVENTS, LOCK, *RUN_MARKS)
    if not any((run / name).exists() for name in marks):
        raise ConfigError(
            "there is no run", where=str(run), hint="give the run_dir of a config that has been run"
        )


class _Files:
    """Reads the sealed files of a run; one that is damaged counts as not there, and is named."""

    def __init__(self, run: Path) -> None:
        self.run, self.damaged = run, set[str]()

    def read(self, *names: str) -> dict[str, Any]:
        path = self.run.joinpath(*names)
        with suppress(OSError):
            if path.exists():
                try:
                    return read_checksummed(path, hint="", exact=False)
                except ArtifactError:
                    self.damaged.add(path.relative_to(self.run).as_posix())
        return {}

    def of_manifest(self, manifest: Mapping[str, Any], *names: str) -> dict[str, Any]:
        """Read a file that has no seal, and whose hash the manifest beside it holds."""
        path = self.run.joinpath(*names)
        with suppress(OSError, AttributeError):
            if hash_file(path) == manifest.get("files", {}).get(names[-1]):
                return _unsealed(path)
        if manifest:
            self.damaged.add(path.relative_to(self.run).as_posix())
        return {}


def _unsealed(path: Path) -> dict[str, Any]:
    """Read an object of JSON; nothing where it is not there, half written or something else."""
    with suppress(ArtifactError):
        content = read_json(path)
        if isinstance(content, dict):
            return content
    return {}


def _age(path: Path) -> float:
    """Seconds since a file was written; 0 where a clock has gone back."""
    with suppress(OSError):
        return max(0.0, time.time() - path.stat().st_mtime)
    return 0.0


def _state_of_process(now: Mapping[str, Any], age: float) -> str | None:
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


def _process(now: Mapping[str, Any], age: float, state: str | None) -> dict[str, Any] | None:
    mark = now.get("process")
    if state is None or not isinstance(mark, dict):
        return None
    told = {key: mark.get(key) for key in ("host", "pid", "since")}
    return told | {"seconds": _elapsed(mark, age), "last_sign": round(age, 1)}


def _elapsed(job: Mapping[str, Any], age: float) -> float | None:
    """Seconds that something has gone on: what its process counted, and what has passed since."""
    counted = job.get("elapsed")
    return round(counted + age, 1) if isinstance(counted, int | float) else None


def _stage(now: Mapping[str, Any]) -> str | None:
    stages = now.get("stages")
    last = stages[-1] if isinstance(stages, list) and stages else None
    return str(last.get("name")) if isinstance(last, dict) else None


def _jobs_of(now: Mapping[str, Any], age: float) -> list[dict[str, Any]]:
    jobs = now.get("jobs")
    found = [job for job in jobs if isinstance(job, dict)] if isinstance(jobs, list) else []
    return [{**job, "seconds": _elapsed(job, age)} for job in found]


def _planned(files: _Files) -> list[LearnerJobs]:
    """Read which fits the config asks for; that nobody can tell any more is said."""
    planned = read_jobs(files.run)
    if planned is None and ((files.run / JOBS).exists() or (files.run / LEARNERS).is_dir()):
        files.damaged.add(JOBS)
    return planned or []


def _done(files: _Files, jobs: LearnerJobs) -> dict[str, _Fit]:
    """Find the complete fits of a learner, by name; hashes of files are not looked at."""
    found = {}
    for name, key in jobs.fits.items():
        manifest = files.read(LEARNERS, jobs.name, name, MANIFEST)
        if manifest.get("key") == key:
            found[name] = _Fit(_seconds_of(manifest), _score_of(manifest))
    return found


def _seconds_of(manifest: Mapping[str, Any]) -> float | None:
    with suppress(LookupError, TypeError, ValueError):
        return float(manifest["seconds"]["job"])
    return None


def _score_of(manifest: Mapping[str, Any]) -> tuple[int, float] | None:
    with suppress(LookupError, TypeError, ValueError):
        return int(manifest["score"]["rows"]), float(manifest["score"]["log_loss"])
    return None


def _longest(fits: Any) -> float | None:
    return max((fit.seconds for fit in fits if fit.seconds is not None), default=None)


def _failure(files: _Files, jobs: LearnerJobs) -> Failure | None:
    """Read why a learner failed; a failure under other settings is none any more."""
    told = files.read(LEARNERS, jobs.name, FAILURE)
    if not told or told.get("key") not in jobs.fits.values():
        return None
    line, hint, needs = (told.get(key) for key in ("line", "hint", "needs"))
    at, reason = (str(told.get(key)) for key in ("at", "reason"))
    return Failure(jobs.name, at, reason, line, hint, needs)


def _told_failure(failure: Failure, command: str) -> dict[str, Any]:
    return {
        "name": failure.name,
        "at": failure.at,
        "reason": failure.sentence,
        "hint": failure.hint,
        "needs": failure.needs,
        "retry": retry_commands([failure], command)[0],
    }


def _counts(
    planned: Sequence[LearnerJobs],
    done: Mapping[str, Mapping[str, _Fit]],
    going_on: Sequence[Mapping[str, Any]],
    failed: set[str],
) -> dict[str, int]:
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
    done: Mapping[str, Mapping[str, _Fit]],
) -> bool:
    name, fit = job.get("learner"), job.get("fit")
    return any(
        one.name == name and fit in one.fits and fit not in done[one.name] for one in planned
    )


def _told_job(job: Mapping[str, Any], known: Mapping[str, float | None]) -> dict[str, Any]:
    keys = ("label", "learner", "fit", "where", "since", "seconds", "limit", "progress", "message")
    told = {key: job.get(key) for key in keys}
    left = _job_left(job, known)
    overdue = _is_overdue(job, known)
    return told | {"overdue": overdue, "seconds_left": left, "expected_end": _in(left)}


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


def _left(
    planned: Sequence[LearnerJobs],
    done: Mapping[str, Mapping[str, _Fit]],
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


def _in(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def _learner(
    jobs: LearnerJobs, done: Mapping[str, _Fit], failed: Sequence[Failure]
) -> dict[str, Any]:
    score = _mean_score(done)
    return {
        "name": jobs.name,
        "done": len(done),
        "total": len(jobs.fits),
        "failed": any(one.name == jobs.name for one in failed),
        "log_loss": score and score[1],
        "rows": score and score[0],
        "folds": sum(fit.score is not None for fit in done.values()),
        "seconds": _longest(done.values()),
    }


def _mean_score(done: Mapping[str, _Fit]) -> tuple[int, float] | None:
    scores = [fit.score for fit in done.values() if fit.score is not None]
    rows = sum(count for count, _ in scores)
    return (rows, sum(count * loss for count, loss in scores) / rows) if rows else None


def _best(
    files: _Files, planned: Sequence[LearnerJobs], done: Mapping[str, Mapping[str, _Fit]]
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
    return {"name": name, "kind": "learner", "log_loss": loss, "rows": rows, "folds": -folds}


def _chosen(files: _Files, done: Mapping[str, Mapping[str, _Fit]]) -> dict[str, Any] | None:
    """Give the score of what the stack chose, where it is of fits that are there."""
    manifest = files.read(STACK, MANIFEST)
    verdict = files.of_manifest(manifest, STACK, VERDICT)
    with suppress(LookupError, TypeError, ValueError, AttributeError):
        made_from = manifest["key_parts"]["folds"]
        if any(fold not in done.get(name, {}) for name, own in made_from.items() for fold in own):
            return None
        one = next(one for one in verdict["candidates"] if one["name"] == verdict["chosen"])
        loss = float(one["log_loss"])
        return {"name": one["name"], "kind": "stack", "log_loss": loss, "rows": verdict["rows"]}
    return None


def _unfinished(files: _Files, done: Mapping[str, Mapping[str, _Fit]]) -> dict[str, list[str]]:
    """Give the fits that a time limit has left undone."""
    fits = files.read(UNFINISHED).get("fits")
    found = fits.items() if isinstance(fits, dict) else ()
    left = {name: [one for one in own if one not in done.get(name, {})] for name, own in found}
    return {name: own for name, own in left.items() if own}


def _state_at_rest(
    files: _Files,
    planned: Sequence[LearnerJobs],
    counts: Mapping[str, int],
    failed: Sequence[Failure],
) -> str:
    if failed:
        return "failed"
    is_done = counts["total"] > 0 and counts["done"] == counts["total"]
    if is_done and _is_stacked(files, planned) and _is_submitted(files):
        return "finished"
    return "unfinished" if not is_done and (files.run / UNFINISHED).exists() else "incomplete"


def _is_stacked(files: _Files, planned: Sequence[LearnerJobs]) -> bool:
    """Say whether the stack is of the fits that the config asks for now, and lacks none."""
    keys = {one.name: one.fits for one in planned}
    with suppress(LookupError, TypeError, ValueError, AttributeError):
        parts = files.read(STACK, MANIFEST)["key_parts"]
        made_from = [
            (keys[learner][fit], made["key"])
            for kind in ("folds", "pairs")
            for learner, fits in parts[kind].items()
            for fit, made in fits.items()
        ]
        whole = not any(map(parts.get, ("left_out", "unfinished", "plain")))
        return whole and all(now == then for now, then in made_from)
    return False


def _is_submitted(files: _Files) -> bool:
    """Say whether the submission is of the stack that is there, where there are test rows."""
    run = files.run
    with suppress(LookupError, TypeError, ValueError, OSError):
        if "test" not in tomllib.loads((run / CONFIG).read_text(encoding="utf-8")):
            return True
        made_from = files.read(SUBMISSION_RECORD)["made_from"]
        is_ours: bool = made_from["stack"] == hash_file(run / STACK / MANIFEST)
        return is_ours and (run / SUBMISSION).exists()
    return False


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
        yield f"best so far  {best['name']} ({kind}): log loss {best['log_loss']:.4f}{on}"
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
        mark = "  failed" if one["failed"] else ""
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
