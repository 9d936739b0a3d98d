"""Scripts that have a run's fits made by Slurm: an array of jobs a learner, and what joins them.

Each job fits into a copy of the run, so that no two write to one directory; a job after them merges
the copies. Learners that teach others come before these. A job that is killed and queued again goes
on at its checkpoint, and the scripts may be submitted again at any time.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.errors import ConfigError
from ensemble.oof.dependencies import dependency_depth
from ensemble.oof.preflight import unfinished
from ensemble.oof.refits import made_again, refuse_undecided
from ensemble.oof.workspace import open_workspace
from ensemble.plugin.contract import resources_of
from ensemble.stages.fit_list import chosen_specs, fits_of, record_jobs
from ensemble.stages.shared import check_and_record
from ensemble.stages.work import working
from ensemble.storage.atomic import make_directory
from ensemble.storage.json_files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ensemble.battles.held_out import HeldOut
    from ensemble.config.settings import Config, Execution
    from ensemble.oof.spec import LearnerSpec

_LEAST_MEMORY = 2.0
"""GiB that a job has in any case: the toolkit itself takes some."""
_SPARE_MINUTES, _TIMES_AS_LONG = 10, 2
_MOST_JOBS = 1_000
"""Jobs of an array: where a cluster does not say otherwise (MaxArraySize), Slurm takes no more."""


class Array(NamedTuple):
    """The jobs of one learner.

    Parameters
    ----------
    spec
        The learner.
    depth
        How many learners have to be fitted before it, one after the other.
    jobs
        What each job fits, as ``--folds`` has it.
    execution
        Threads and device that the config sets for a fit.
    """

    spec: LearnerSpec
    depth: int
    jobs: tuple[str, ...]
    execution: Execution


def slurm_stage(
    config: Config,
    path: Path,
    output: Path | None = None,
    learners: Sequence[str] | None = None,
    options: Sequence[str] = (),
    setup: Sequence[str] = (),
) -> dict[str, Any]:
    """Write scripts for the fits that a run lacks.

    Parameters
    ----------
    config
        The config; its run is prepared and split.
    path
        The config's file, for the jobs to read.
    output
        Directory of the scripts and of the jobs' copies of the run; None is ``slurm`` in the run.
    learners
        Names of the learners; None takes all.
    options
        Of ``sbatch``, for every job: ``--partition=gpu``.
    setup
        Lines of shell that every job begins with: ``module load cuda``.

    Returns
    -------
    dict
        ``submit``, the script to run, or None where nothing is to be fitted; ``jobs`` by learner.

    Raises
    ------
    ConfigError
        An option is no option, a path cannot stand in a script, or the config names devices; or
        nobody has decided what becomes of dear fits that other code has made.
    RunLockedError
        Another process writes to the run.
    """
    place = (output or Path(config.run_dir) / "slurm").resolve()
    _refuse(config, [str(path.resolve()), str(place), config.run_dir], options, setup)
    with working(config):
        # The last job merges by what the run has recorded, and `status` counts its fits.
        check_and_record(config)
        record_jobs(config)
        _refuse_undecided(config, learners)
        arrays = list(_arrays(config, learners))
    if not arrays:
        return {"submit": None, "jobs": {}}
    make_directory(place / "logs")
    for array in arrays:
        text = array_script(array, path.resolve(), place, options, setup)
        write_text(_script_place(place, array), text)
    write_text(place / "merge.sh", merge_script(config, place, options, setup))
    write_text(place / "submit.sh", submit_script(arrays, place))
    return {
        "submit": str(place / "submit.sh"),
        "jobs": {array.spec.name: list(array.jobs) for array in arrays},
    }


def _script_place(place: Path, array: Array) -> Path:
    """Name the script of a learner, which may be called as another script is."""
    return place / f"fit-{array.spec.name}.sh"


def _refuse(
    config: Config, paths: Sequence[str], options: Sequence[str], setup: Sequence[str]
) -> None:
    if config.execution.devices:
        raise ConfigError(
            "[execution] names devices, and each job of Slurm has GPUs of its own",
            where="execution.devices",
            hint="leave devices out",
        )
    for option in options:
        if not option.startswith("-") or not option.isprintable():
            raise ConfigError(f"{option!r:.100} is no option of sbatch", hint="--partition=gpu")
    for text in (*paths, *setup):
        if not text.isprintable():
            raise ConfigError(f"{text!r:.200} cannot stand in a script: it breaks the line")


def _refuse_undecided(config: Config, learners: Sequence[str] | None) -> None:
    """Refuse what each job would refuse, one by one, when its turn has come."""
    fits = fits_of(config, chosen_specs(config, learners))
    try:
        refuse_undecided([*made_again(open_workspace(config), fits)], ())
    except ConfigError as error:
        error.hint = (
            "delete these learners' directories in the run to have them made anew, or keep them by "
            "`ensemble fit CONFIG --learner NAME --keep NAME`"
        )
        raise


def _arrays(config: Config, learners: Sequence[str] | None) -> Iterator[Array]:
    workspace, uses = open_workspace(config), config.source_uses()
    specs = chosen_specs(config, learners)
    # Soups are made in no time by whoever has all folds, and files are read by the run itself.
    fits = [fit for fit in fits_of(config, specs) if not fit[1].is_soup]
    for spec in (one for one in specs if not one.reads_files):
        own = unfinished(workspace, [fit for fit in fits if fit[0].name == spec.name])
        names = [_folds_option(held_out) for _, held_out in own]  # type: ignore[arg-type]
        kind = type(spec.prototype)
        if names and (kind.cheap or not kind.trains):  # a job costs more than such a fit
            names = [",".join(names)]
        if names:
            depth = dependency_depth(spec, uses)
            yield Array(spec, depth, tuple(_in_jobs(names)), config.execution)


def _in_jobs(names: Sequence[str]) -> Iterator[str]:
    """Give each fit a job, or as many fits as have to share one."""
    each = math.ceil(len(names) / _MOST_JOBS)
    for first in range(0, len(names), each):
        yield ",".join(names[first : first + each])


def _folds_option(held_out: HeldOut) -> str:
    return "refit" if held_out.is_refit else "-".join(map(str, held_out.folds))


def array_script(
    array: Array, config: Path, place: Path, options: Sequence[str], setup: Sequence[str]
) -> str:
    """Write the script of one learner's jobs.

    Parameters
    ----------
    array
        The jobs.
    config
        The config's file.
    place
        Directory of scripts and copies.
    options, setup
        As in ``slurm_stage``.
    """
    name = array.spec.name
    asked = [
        f"--job-name=ensemble-{name}",
        f"--array=0-{len(array.jobs) - 1}",
        *_resources(array),
        "--requeue",
        "--open-mode=append",
        f"--output={_plain(place / 'logs')}/%x-%A_%a.log",
        *options,
    ]
    command = shlex.join([sys.executable, "-m", "ensemble", "fit", str(config)])
    into = shlex.quote(str(place / "runs" / name))
    return _script(
        asked,
        setup,
        f"fits=({' '.join(shlex.quote(job) for job in array.jobs)})",
        f"exec {command} --learner {shlex.quote(name)} \\",
        f'    --folds "${{fits[$SLURM_ARRAY_TASK_ID]}}" --into {into}-"$SLURM_ARRAY_TASK_ID" '
        "--quiet",
    )


def _resources(array: Array) -> Iterator[str]:
    declared = resources_of(array.spec.prototype, array.spec.where)
    memory = math.ceil(max(declared.memory_gib, _LEAST_MEMORY) * 1024)
    gpus = array.execution.gpus_for(declared.gpus)
    threads = array.execution.threads or declared.threads or max(1, gpus)
    yield f"--cpus-per-task={threads}"
    yield f"--mem={memory}M"
    if gpus:
        yield f"--gres=gpu:{gpus}"
    if declared.minutes is not None:
        fits = max(job.count(",") + 1 for job in array.jobs)
        each = declared.minutes * array.spec.seeds
        minutes = math.ceil(each * fits * _TIMES_AS_LONG) + _SPARE_MINUTES
        yield f"--time={minutes}"


def merge_script(config: Config, place: Path, options: Sequence[str], setup: Sequence[str]) -> str:
    """Write the script that takes what the jobs have fitted into the run."""
    asked = [
        "--job-name=ensemble-merge",
        "--cpus-per-task=1",
        f"--mem={int(_LEAST_MEMORY * 1024)}M",
        f"--output={_plain(place / 'logs')}/%x-%A.log",
        *options,
    ]
    command = shlex.join([sys.executable, "-m", "ensemble", "merge", config.run_dir])
    runs = shlex.quote(str(place / "runs"))
    return _script(
        asked,
        setup,
        "shopt -s nullglob",
        "runs=()",
        f"for learners in {runs}/*/learners; do",
        '    runs+=("${learners%/learners}")',
        "done",
        'if [ "${#runs[@]}" -gt 0 ]; then',
        f'    {command} "${{runs[@]}}"',
        "fi",
    )


def submit_script(arrays: Sequence[Array], place: Path) -> str:
    """Write the script that queues all: teachers, a merge, those they teach, and so on.

    Where Slurm refuses a job, those that are queued are taken back: a merge without the fits of a
    learner would look like the end.
    """
    lines = [
        "queued=()",
        "take_back() {",
        '    echo "Slurm refused a job, so that none stays queued: see what it says above" >&2',
        '    [ "${#queued[@]}" -eq 0 ] || scancel "${queued[@]}"',
        "}",
        "trap take_back ERR",
        "after=",
    ]
    by_depth = sorted(arrays, key=itemgetter(1))
    for _, wave in groupby(by_depth, itemgetter(1)):
        lines.append("jobs=")
        for array in wave:
            script = shlex.quote(str(_script_place(place, array)))
            lines.append(f"job=$(sbatch --parsable $after {script} | cut -d';' -f1)")
            lines.append('queued+=("$job"); jobs+=":$job"')
        script = shlex.quote(str(place / "merge.sh"))
        lines.append(
            f"merged=$(sbatch --parsable --dependency=afterany$jobs {script} | cut -d';' -f1)"
        )
        lines.append('queued+=("$merged"); after=--dependency=afterany:"$merged"')
    lines.append('echo "the last job is $merged; then: ensemble run CONFIG"')
    return "\n".join(["#!/bin/bash", "set -euo pipefail", *lines, ""])


def _script(options: Sequence[str], setup: Sequence[str], *lines: str) -> str:
    asked = [f"#SBATCH {_quoted(option)}" for option in options]
    return "\n".join(["#!/bin/bash", *asked, "set -euo pipefail", *setup, *lines, ""])


def _quoted(option: str) -> str:
    """Write an option as sbatch reads it: it parts words, drops quotes, and knows comments."""
    if re.fullmatch(r"[^\s\"'\\#]+", option):
        return option
    escaped = option.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _plain(directory: Path) -> str:
    """Write a path where Slurm reads ``%`` as the beginning of a name of its own."""
    return str(directory).replace("%", "%%")
