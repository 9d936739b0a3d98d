"""One training on several GPUs: a process for each, brought together by accelerate.

The processes are started here, meet on this machine's loopback address alone, and end with the one
that started them.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import start_processes

from ensemble.errors import EnsembleError, LearnerError
from ensemble.processes import exit_with_parent
from ensemble.storage.owned import OwnedPlace
from ensemble_plugins.language_model.model.adapters import put_state, trained_state
from ensemble_plugins.language_model.model.loading import load_classifier
from ensemble_plugins.language_model.train.messages import Messages
from ensemble_plugins.language_model.train.teams import AcceleratedGroup
from ensemble_plugins.language_model.train.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

    from ensemble_plugins.language_model.settings import ModelSettings, TrainingSettings
    from ensemble_plugins.language_model.train.rows import LabeledRows

    Tensors = dict[str, torch.Tensor]

_START, _END = "start.safetensors", "end.safetensors"
_LOOPBACK = "127.0.0.1"
_WAIT_SECONDS = 0.2
_PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: one of them may be writing a snapshot."""


@dataclass(frozen=True)
class Job:
    """A training, as every process of a team gets it.

    Parameters
    ----------
    model
        Which model, and what of it is trained.
    rows, training, seed, snapshots
        As in ``Training``.
    cpu
        Whether it is computed on CPUs, which serves tests.
    pad_id
        As in ``load_classifier``.
    threads
        CPU threads of each process.
    """

    model: ModelSettings
    rows: LabeledRows
    training: TrainingSettings
    seed: int
    snapshots: Path | None
    cpu: bool
    pad_id: int
    threads: int


def train_together(
    job: Job, start: Tensors, processes: int, progress: Callable[..., None]
) -> Tensors:
    """Train on several GPUs, the first that this process sees.

    Parameters
    ----------
    job
        The training.
    start
        The trained weights that it begins with. They go by a file: what is sent to a process as
        tensors takes a file handle each and shared memory, of which containers have little.
    processes
        How many; each has a GPU of its own.
    progress
        ``progress(done, message)``.

    Returns
    -------
    dict of Tensor
        The trained weights, on the CPU.

    Raises
    ------
    LearnerError
        There are fewer GPUs, or a process failed: what it said.
    """
    there = torch.cuda.device_count()
    if not job.cpu and there < processes:
        raise LearnerError(
            f"one fold is to be trained on {processes} GPUs, and {there} can be seen",
            hint="lower gpus, or leave [execution] devices empty: each of its workers sees one GPU",
        )
    alive, held = get_context("spawn").Pipe(duplex=False)
    # All end where `held` is closed.
    with OwnedPlace("ensemble-training-") as place, alive, held:
        save_file({n: t.contiguous() for n, t in start.items()}, place / _START)
        what = (processes, _free_port(), job, place, alive)
        team = start_processes(_take_part, what, processes, join=False)
        try:
            _watch(team, Messages(place), progress)
        finally:
            for process in team.processes:
                process.terminate()
        return load_file(place / _END)


def _watch(team: Any, told: Messages, progress: Callable[..., None]) -> None:
    """Pass on what the processes tell, until they have ended."""
    while True:
        try:
            ended = team.join(timeout=_WAIT_SECONDS)
        except Exception as error:  # torch's own kinds, with the process's traceback as their text
            _pass_on(told, progress)
            raise LearnerError(f"a process of the training failed: {error}") from error
        _pass_on(told, progress)
        if ended:
            return


def _pass_on(told: Messages, progress: Callable[..., None]) -> None:
    for kind, *content in told.received():
        if kind == "error":
            message, where, hint = content
            raise LearnerError(message, where=where, hint=hint)
        progress(*content)


def _take_part(
    number: int, processes: int, port: int, job: Job, place: Path, alive: Connection
) -> None:
    """Be one process of the team."""
    exit_with_parent(alive)
    os.environ |= {
        "MASTER_ADDR": _LOOPBACK,
        "MASTER_PORT": str(port),
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    try:
        _train(job, place)
    except EnsembleError as error:
        Messages(place).send(number, "error", error.message, error.where, error.hint)
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _train(job: Job, place: Path) -> None:
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    torch.set_num_threads(job.threads)
    patience = InitProcessGroupKwargs(timeout=_PATIENCE)
    team = AcceleratedGroup(Accelerator(cpu=job.cpu, kwargs_handlers=[patience]))
    classifier = load_classifier(
        job.model, device=team.accelerator.device, seed=job.seed, pad_id=job.pad_id
    )
    start = place / _START
    put_state(classifier, load_file(start), where="the weights that training begins with")
    leads, told = team.number == 0, Messages(place)
    Training(
        classifier,
        job.rows,
        job.training,
        seed=job.seed,
        snapshots=job.snapshots,
        progress=(lambda *what: told.send(team.number, "progress", *what)) if leads else None,
        team=team,
    ).run()
    if leads:
        save_file({n: t.contiguous() for n, t in trained_state(classifier).items()}, place / _END)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
