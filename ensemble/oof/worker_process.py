"""What runs in a worker process: fits the folds that it is asked for, one after the other.

Requests and replies are lines of JSON on the pipes that stand for standard input and output; what a
plugin prints goes to standard error. Nothing of the parent's program is run again, as it would be
by ``multiprocessing``, so that a notebook or a script needs no guard.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble import errors
from ensemble.battles.held_out import HeldOut
from ensemble.config.plugin_files import remember_files
from ensemble.config.settings import Config
from ensemble.errors import EnsembleError, LearnerError, UnknownNameError
from ensemble.once import one_verb
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.kept import Kept
from ensemble.oof.spec import LearnerSpec
from ensemble.oof.workspace import open_workspace
from ensemble.plugin.faults import plugin_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from ensemble.oof.workspace import Workspace

PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from ensemble.oof.worker_process import main; main()"
)
"""For ``python -c``, with the parent's module path as JSON."""

_NOT_INSTALLED = (
    "worker processes know plugins that are installed or in a file; for one that was given in "
    'Python, set executor = "in-process"'
)


_BETWEEN_PROGRESS = 0.5
"""Seconds between two lines of progress."""
_EXPENDABLE = "500"
"""How much sooner than others the system ends a worker where memory runs out, of 1000."""


class Variant(NamedTuple):
    """A workspace made from the run's own, which a fit has in its place.

    Parameters
    ----------
    opener
        ``"module:name"`` of what takes the run's workspace, and gives what takes details.
    details
        JSON.
    """

    opener: str
    details: dict[str, Any]


class Opened:
    """The workspaces of a run: its own, and what is made from it; each is opened once.

    Parameters
    ----------
    config
        Of the run.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._own = cache(lambda: open_workspace(config))
        self._openers = cache(self._opener)

    def workspace(self, variant: Variant | None) -> Workspace:
        """Give the run's workspace, or a variant of it."""
        if variant is None:
            return self._own()
        opened: Workspace = self._openers(variant.opener)(variant.details)
        return opened

    def _opener(self, name: str) -> Any:
        module, _, attribute = name.partition(":")
        return getattr(import_module(module), attribute)(self._own())


def main() -> None:
    """Answer requests until the parent closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this one
    _die_first()
    requests, replies = _own_pipes()
    config = remember_files(Config.model_validate_json(requests.get()))
    opened, lock = Opened(config), Lock()

    def send(reply: dict[str, Any]) -> None:
        with lock:  # a learner may report progress from any thread
            replies.write(json.dumps(reply) + "\n")
            replies.flush()

    with one_verb():
        while True:
            send(_answer(opened, json.loads(requests.get()), send))


def _die_first() -> None:
    """Have the system end this process, and not its parent, where memory runs out (Linux)."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_EXPENDABLE, encoding="ascii")


def request_of(
    spec: LearnerSpec, held_out: HeldOut, variant: Variant | None = None
) -> dict[str, Any]:
    """Write down a learner, with all that it may ask, what is held out, and of which workspace."""
    known = {spec.name: spec, **spec.peers}
    return {
        "learner": spec.name,
        "held_out": held_out.to_json(),
        "variant": variant,
        "specs": [
            [
                one.name,
                one.plugin,
                dict(one.parameters),
                str(one.base_directory),
                one.seeds,
                one.kept.to_json(),
                dict(one.local),
                one.privileged,
            ]
            for one in known.values()
        ],
    }


def read_request(request: Mapping[str, Any]) -> tuple[LearnerSpec, HeldOut]:
    """Read what ``request_of`` wrote: a learner that knows all others, and what is held out."""
    peers: dict[str, LearnerSpec] = {}
    for name, plugin, parameters, place, seeds, kept, local, privileged in request["specs"]:
        peers[name] = LearnerSpec(
            name,
            plugin,
            parameters,
            Path(place),
            peers,
            seeds,
            Kept.of(kept),
            local=local,
            privileged=tuple(privileged),
        )
    return peers[request["learner"]], HeldOut.of(request["held_out"])


def call_of(function: str, details: dict[str, Any]) -> dict[str, Any]:
    """Write down a call of ``function(workspace, config, details, start, progress)``.

    Parameters
    ----------
    function
        ``"module:name"``; it calls ``start()`` where the clock of a time limit starts. What it
        gives, JSON, is the ``value`` of the answer.
    details
        JSON.
    """
    return {"call": function, "details": details}


def label_of(spec: LearnerSpec, held_out: HeldOut) -> str:
    """Name a learner and a fold for a reader."""
    return f"{spec.name}  {held_out.label}"


def rebuilt(told: dict[str, Any]) -> EnsembleError:
    """Make the error that a worker has told."""
    kind: type[EnsembleError] = getattr(errors, told["kind"])
    return kind(told["message"], where=told["where"], hint=told["hint"])


def _own_pipes() -> tuple[SimpleQueue[str], TextIO]:
    """Take standard input and output for requests and replies, before any plugin is imported."""
    incoming = os.fdopen(os.dup(0), encoding="ascii")
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    sys.stdout.flush()
    os.dup2(2, 1)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # or what a plugin prints ends with us
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    requests: SimpleQueue[str] = SimpleQueue()
    leave = os._exit  # as it is now: while a plugin's code runs, it is kept from leaving

    def read() -> None:
        for line in incoming:
            requests.put(line)
        # The parent is done or gone, even by `kill -9`: a process that outlived it would go on
        # writing to a run whose lock is free. So would what a plugin has started here.
        if os.getpgrp() == os.getpid():  # as the parent starts it
            os.killpg(0, signal.SIGKILL)
        leave(1)

    Thread(target=read, name="requests", daemon=True).start()
    return requests, replies


def _answer(
    opened: Opened, request: dict[str, Any], send: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    if "call" in request:
        return _called(opened, request, send)
    spec, held_out = read_request(request)
    variant = None if request["variant"] is None else Variant(*request["variant"])
    try:
        workspace = opened.workspace(variant)
        send({"started": True})  # a time limit is for the fit, not for what comes before it
        started = time.perf_counter()
        done = fit_fold(workspace, spec, held_out, _progress(send))
    except plugin_errors() as error:
        return {"error": told_error(error, label_of(spec, held_out))}
    return {"done": done, "seconds": time.perf_counter() - started}


def _called(
    opened: Opened, request: dict[str, Any], send: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    module, _, name = request["call"].partition(":")
    try:
        value = getattr(import_module(module), name)(
            opened.workspace(None),
            opened.config,
            request["details"],
            lambda: send({"started": True}),
            _progress(send),
        )
    except plugin_errors() as error:
        return {"error": told_error(error, request["call"])}
    return {"done": True, "value": value}


def _progress(send: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
    """Make what a learner reports its progress to; not every call is passed on."""
    said = 0.0

    def update(done: float, message: str = "") -> None:
        nonlocal said
        if time.monotonic() - said >= _BETWEEN_PROGRESS:
            said = time.monotonic()
            send({"progress": [float(done), str(message)]})

    return update


def told_error(error: BaseException, where: str) -> dict[str, Any]:
    """Write down an error so that another process can make it again.

    A plugin's own class may be unknown there; it becomes what it is a kind of.
    """
    cause: BaseException | None = error
    if isinstance(error, UnknownNameError):
        error.hint = f"{error.hint}\n  note:  {_NOT_INSTALLED}"
    if isinstance(error, EnsembleError):
        own, cause = error, error.__cause__
        kind = next(one for one in type(error).__mro__ if one.__module__ == errors.__name__)
    else:
        own, kind = LearnerError(f"{type(error).__name__}: {error}", where=where), LearnerError
    return {
        "kind": kind.__name__,
        "message": own.message,
        "where": own.where,
        "hint": own.hint,
        "traceback": "".join(traceback.format_exception(cause)) if cause is not None else "",
    }
