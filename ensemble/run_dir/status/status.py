"""The whole answer to how far a run is."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ensemble.errors import ConfigError
from ensemble.run_dir.layout import CONFIG, EVENTS, RUN_MARKS, RUNNING, SUBMISSION
from ensemble.run_dir.status.files import RunFiles, age_of, read_unsealed
from ensemble.run_dir.status.fits import (
    complete_fits,
    count_fits,
    longest_fit,
    planned_fits,
    read_failure,
    told_failure,
    unfinished_fits,
)
from ensemble.run_dir.status.forecast import end_after, seconds_left, told_job
from ensemble.run_dir.status.outcome import state_at_rest
from ensemble.run_dir.status.process import current_stage, process_state, running_jobs, told_process
from ensemble.run_dir.status.scores import best_score, told_learner, unproven_learners

if TYPE_CHECKING:
    from pathlib import Path


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
    files = RunFiles(run)
    now = read_unsealed(run / RUNNING)
    age = age_of(run / RUNNING)
    planned = planned_fits(files)
    done = {one.name: complete_fits(files, one) for one in planned}
    failed = [found for one in planned if (found := read_failure(files, one)) is not None]
    alive = process_state(now, age)
    going_on = running_jobs(now, age) if alive in ("running", "silent") else []
    seconds = {name: longest_fit(fits.values()) for name, fits in done.items()}
    counts = count_fits(planned, done, going_on, {one.name for one in failed})
    left = seconds_left(planned, done, going_on, seconds, {one.name for one in failed})
    unproven = unproven_learners(files, done)
    running = [told_job(job, seconds) for job in going_on]
    return {
        "run": str(run),
        "state": alive or state_at_rest(files, planned, counts, failed),
        "process": told_process(now, age, alive),
        "stage": current_stage(now) if alive in ("running", "silent") else None,
        "jobs": counts,
        "learners": [told_learner(one, done[one.name], failed, unproven) for one in planned],
        "running": running,
        "failed": [told_failure(one, command or str(run)) for one in failed],
        "unfinished": unfinished_fits(files, done),
        "seconds_left": left,
        "expected_end": end_after(left) if alive == "running" else None,
        "best": best_score(files, planned, done, unproven),
        "damaged": sorted(files.damaged),
        "submission": str(run / SUBMISSION) if (run / SUBMISSION).exists() else None,
        "disk_bytes": disk_bytes(run),
    }


def _refuse_others(run: Path) -> None:
    # A config alone is no run: it may be the one that a person writes, in a directory of theirs.
    if not any((run / name).exists() for name in (EVENTS, *RUN_MARKS)):
        hint = "give the run_dir of a config that has been run"
        hint += f", or the config: {run / CONFIG}" if (run / CONFIG).exists() else ""
        raise ConfigError("there is no run", where=str(run), hint=hint)


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
