"""What runs on a node: one fit, in a process of its own, and all that comes back of it.

Ray's worker lays out what the job needs, has a worker process of ours fit, and passes on what that
tells: progress, checkpoints, the finished fold. A plugin that kills its process kills no more.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from ensemble.config.settings import Config
from ensemble.errors import EnsembleError
from ensemble.oof.cluster.depot import Depot, depot_place
from ensemble.oof.cluster.messages import copy_settled, pieces
from ensemble.oof.worker_process import call_of, told_error
from ensemble.oof.workers import Worker
from ensemble.plugin.manager import DISTRIBUTION
from ensemble.storage.atomic import is_disk_error, remove, wrap_disk_errors
from ensemble.storage.hashing import files_below, fingerprint, hash_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Message = dict[str, Any]

FIT = "ensemble.oof.cluster.fit:fit_as_asked"
_PATIENCE = 0.2
"""Seconds between two looks at a checkpoint that is due."""


class _Lasting:
    """What a process of Ray keeps between jobs: a run, and a worker with battles in memory."""

    run: Path | None = None
    inputs = ""
    worker: Worker | None = None
    config = ""


def distribution_version() -> str:
    """Give the version of the toolkit that is installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # a checkout on the module path
        return "not installed"


@cache
def toolkit() -> dict[str, str]:
    """Name the toolkit's code and the Python that runs it, which all nodes must have alike."""
    home = Path(__file__).parents[2]
    names = (name for name in files_below(home) if name.endswith(".py"))
    return {
        "version": distribution_version(),
        "code": fingerprint({name: hash_file(home / name) for name in names}),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def run_job(
    job: Mapping[str, Any], parts: Mapping[str, list[Any]], fetch: Callable[[Any], bytes]
) -> Iterator[Message]:
    """Fit on this node.

    Parameters
    ----------
    job
        As ``ensemble.oof.cluster.jobs`` describes it.
    parts
        By what to ask for the parts of its files.
    fetch
        Gives the bytes of a part.

    Yields
    ------
    dict
        ``what`` is ``started``, ``progress``, ``checkpoint``, ``result`` or ``failed``.
    """
    yield {"what": "started", "node": socket.gethostname(), "process": os.getpid()}
    if (own := toolkit()) != job["toolkit"]:
        yield {"what": "failed", "error": _mismatch(own, job["toolkit"]), "died": False}
        return
    try:
        with wrap_disk_errors(depot_place()):  # others pass, and Ray tells of them: tried again
            yield from _laid_out_and_fitted(job, parts, fetch)
    except EnsembleError as error:
        error.where = error.where or job["label"]
        yield _failed(error, job["label"])


def _laid_out_and_fitted(
    job: Mapping[str, Any], parts: Mapping[str, list[Any]], fetch: Callable[[Any], bytes]
) -> Iterator[Message]:
    depot = Depot(depot_place(), fetch)
    run = _run_for(depot, job, parts)
    _lay_out(depot, run, job, parts)
    worker = _worker_for(job, json.dumps(depot.resolve(job["config"], run)))
    yield from _fit(worker, run, job, depot.resolve(job["request"], run))


def _failed(error: BaseException, where: str, *, died: bool = False) -> Message:
    """Say how a fit failed. A disk that takes nothing is its node's: another one may have room."""
    told = told_error(error, where)
    told["where"] = told["where"] or where
    if is_full := is_disk_error(error.__cause__ or error):
        told["where"] = f"node {socket.gethostname()}, {told['where']}"
        told["message"] = f"{told['message']} ({told['where']})"
    return {"what": "failed", "error": told, "died": died or is_full}


def _mismatch(own: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, Any]:
    kinds = [name for name in ("python", "version", "code") if own[name] != wanted[name]]
    kind = kinds[0]
    told = f"{kind} {own[kind]} there, {wanted[kind]} here"
    if kind == "code":
        told = f"both are version {own['version']}, and their code differs"
    error = EnsembleError(
        f"a node has another preference-ensemble or Python: {told}",
        where=f"node {socket.gethostname()}",
        hint="install the same on every node of the cluster",
    )
    return told_error(error, "")


def _run_for(depot: Depot, job: Mapping[str, Any], parts: Mapping[str, list[Any]]) -> Path:
    """Give a run directory with battles and plan; the same one for all jobs of the same run."""
    named = fingerprint([job["inputs"], job["rows"]["of"]])
    if _Lasting.run is None or not _Lasting.run.is_dir() or _Lasting.inputs != named:
        _end_lasting()
        if _Lasting.run is not None:
            remove(_Lasting.run.parent)
        _Lasting.run, _Lasting.inputs = depot.new_run(), named
    depot.lay(_Lasting.run, job["inputs"], parts)
    return _Lasting.run


def _lay_out(
    depot: Depot, run: Path, job: Mapping[str, Any], parts: Mapping[str, list[Any]]
) -> None:
    for files in job["trees"]:
        depot.tree(files, parts)
    depot.lay(run, job["folds"], parts)
    for place in (run / job["result"], run / job["checkpoint"]["place"]):
        remove(place)  # of a former attempt
    depot.lay(run / job["checkpoint"]["place"], job["checkpoint"]["files"], parts, writable=True)
    rows = depot.root / "rows" / job["rows"]["of"]
    rows.mkdir(parents=True, exist_ok=True)
    depot.lay(rows, job["rows"]["files"], parts)
    if not (run / "cache").is_symlink():
        (run / "cache").symlink_to(rows)


def _worker_for(job: Mapping[str, Any], config: str) -> Worker:
    """Give a worker process: one that is there already where the job lets that be."""
    if not job["lasting"]:
        return _new_worker(job, config)
    worker = _Lasting.worker
    if worker is None or not worker.is_alive or _Lasting.config != config:
        _end_lasting()
        worker = _Lasting.worker = _new_worker(job, config)
        _Lasting.config = config
    return worker


def _new_worker(job: Mapping[str, Any], config: str) -> Worker:
    # Ray says which GPUs a job has. One that asked for none is to find none.
    hidden = {} if job["gpus"] else {"CUDA_VISIBLE_DEVICES": ""}
    return Worker(Config.model_validate_json(config), environment=hidden)


def _end_lasting() -> None:
    if _Lasting.worker is not None:
        _Lasting.worker.end()
    _Lasting.worker = None


def _fit(
    worker: Worker, run: Path, job: Mapping[str, Any], request: dict[str, Any]
) -> Iterator[Message]:
    events: SimpleQueue[Message] = SimpleQueue()
    Thread(target=_ask, args=(worker, job, request, events), daemon=True).start()
    watch = _Watch(run / job["checkpoint"]["place"], run.parent / "outgoing", job["every"])
    is_busy = True
    try:
        while True:
            try:
                event = events.get(timeout=max(_PATIENCE, watch.due_in()))
            except Empty:
                yield from watch.messages()
                continue
            is_busy = event["what"] == "progress"
            if event["what"] == "failed":
                watch.due_at = 0.0
                yield from watch.messages()  # a fit that is done, say, and could not predict
            yield from _last(event, run / job["result"])
            if not is_busy:
                return
            if watch.due_in() <= 0:
                yield from watch.messages()
    finally:
        remove(run / job["result"])
        remove(run / job["checkpoint"]["place"])
        remove(run.parent / "outgoing")
        if is_busy or not job["lasting"] or not worker.is_alive:
            worker.end()


def _last(event: Message, result: Path) -> Iterator[Message]:
    if event["what"] != "done":
        yield event
        return
    yield from pieces("result", result, files_below(result), seconds=event["seconds"])


def _ask(
    worker: Worker, job: Mapping[str, Any], request: dict[str, Any], events: SimpleQueue[Message]
) -> None:
    """Have the worker fit; what it says goes into the queue, and last how it ended."""

    def progress(done: float, message: str = "") -> None:
        events.put({"what": "progress", "done": done, "message": message})

    try:
        told = worker.ask(call_of(FIT, request), job["label"], job["time_limit"], progress)
    except BaseException as error:
        died = not worker.is_alive and not worker.has_expired
        worker.end()  # what failed may have left memory full
        where = f"{job['label']}, on node {socket.gethostname()}"
        events.put(_failed(error, where, died=died))
    else:
        events.put({"what": "done", "seconds": told["value"]})


class _Watch:
    """Looks at a checkpoint now and then, and gives what has changed of it.

    Parameters
    ----------
    directory
        The checkpoint, to which a learner writes whenever it likes.
    copy
        A directory for a copy of it.
    every
        Seconds between two that travel.
    """

    def __init__(self, directory: Path, copy: Path, every: float) -> None:
        self._directory, self._copy, self._every = directory, copy, every
        self._sent = self._now()
        self.due_at = time.monotonic() + every

    def due_in(self) -> float:
        """Say in how many seconds it is time."""
        return self.due_at - time.monotonic()

    def messages(self) -> Iterator[Message]:
        """Give the pieces of the checkpoint where it is due, has changed and stands still."""
        if self.due_in() > 0:
            return
        listing = copy_settled(self._directory, self._copy)
        if listing is None:
            return  # it is being written; look again soon
        changed = [name for name, digest in listing.items() if self._sent.get(name) != digest]
        if listing and (changed or listing.keys() != self._sent.keys()):
            yield from pieces("checkpoint", self._copy, changed, listing=listing)
            self._sent = listing
        self.due_at = time.monotonic() + self._every

    def _now(self) -> dict[str, str]:
        if not self._directory.is_dir():
            return {}
        return {name: hash_file(self._directory / name) for name in files_below(self._directory)}
