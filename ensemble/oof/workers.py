"""Worker processes, as their parent sees them, and the tasks that they are given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from threading import Thread, Timer
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.config.plugin_files import changed_names
from ensemble.errors import ConfigError, EnsembleError, LearnerError, TimeLimitError
from ensemble.oof.worker_process import PROGRAM, Variant, label_of, rebuilt, request_of
from ensemble.plugin.files import keep_sources, named_copies
from ensemble.plugin.time_limit import took_too_long
from ensemble.processes import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ensemble.battles.held_out import HeldOut
    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec

    FitName = tuple[str, HeldOut]
    """A fit: name of its learner, and what it holds out."""
    Watch = Callable[["Task", str], AbstractContextManager[Callable[..., None]]]

_DEATH_HINT = "run the same command again; complete folds are kept"
_MEMORY_HINT = (
    "give it smaller batches or fewer rows, set fewer workers under [execution], or take a machine "
    f"with more memory; then {_DEATH_HINT}"
)


def no_progress(_done: float, _message: str = "") -> None:
    """Show nothing."""


class Task(NamedTuple):
    """A learner, what is held out, and the workspace where it is not the run's own.

    Of one that is ``cut`` the time limit is not the learner's own, but what a run has left.
    """

    spec: LearnerSpec
    held_out: HeldOut
    variant: Variant | None = None
    cut: bool = False

    @property
    def name(self) -> FitName:
        """What the fit is called among those of a run."""
        return self.spec.name, self.held_out


class Outcome(NamedTuple):
    """A task that has ended: whether it was fitted (or there already), in which time, or failed.

    One that is ``stopped`` has not failed: the time that the run may take was over.
    """

    spec: LearnerSpec
    held_out: HeldOut
    fitted: bool
    seconds: float
    error: Exception | None = None
    stopped: bool = False


def without_fit(task: Task, error: Exception, seconds: float) -> Outcome:
    """Say how a task ended that raised: it failed, or it was stopped."""
    stopped = task.cut and isinstance(error, TimeLimitError)
    return Outcome(task.spec, task.held_out, False, seconds, error, stopped)


class Elsewhere(Exception):  # noqa: N818 - it carries a traceback, and is never raised by itself
    """The traceback of an error in another process, as text."""


class Worker:
    """One worker process.

    Parameters
    ----------
    config
        Of the run.
    device
        The only device that it may use, such as ``cuda:1``; None leaves it to the config.
    environment
        Variables that it has beside those of this process, or in their place.
    """

    def __init__(
        self,
        config: Config,
        device: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        environment, self._device = {**os.environ, **(environment or {})}, device
        if device is not None:
            kind = _only_visible(device, environment)
            execution = config.execution.model_copy(update={"device": kind})
            config = config.model_copy(update={"execution": execution})
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="ascii",
            env=environment,
            process_group=0,
        )
        # A file that is edited while the run goes on changes nothing of it.
        self._named = named_copies(config)
        self._first = json.dumps(keep_sources(config).model_dump(mode="json"))
        self._expired = False
        Thread(target=self._end_children, daemon=True).start()

    @property
    def where(self) -> str:
        """Name it for whoever watches: its process, and the device that it has to itself."""
        device = f", {self._device}" if self._device else ""
        return f"process {self._process.pid}{device}"

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked for more."""
        return not self._expired and self._process.poll() is None

    @property
    def memory(self) -> int:
        """Bytes of main memory that it has; 0 where the system is silent."""
        return resident_bytes(self._process.pid) or 0

    @property
    def has_expired(self) -> bool:
        """Whether it was ended because its time was over."""
        return self._expired

    def fit(self, task: Task, progress: Callable[..., None] | None = None) -> Outcome:
        """Have one fold fitted, within the learner's time limit.

        Parameters
        ----------
        task
            The fold.
        progress
            ``progress(done, message)``.

        Raises
        ------
        EnsembleError
            What the worker told of; or that it died, or was ended because its time was over.
        """
        spec, held_out = task.spec, task.held_out
        where = label_of(spec, held_out)
        told = self.ask(request_of(spec, held_out, task.variant), where, spec.time_limit, progress)
        return Outcome(spec, held_out, told["done"], told["seconds"])

    def ask(
        self,
        request: dict[str, Any],
        where: str,
        time_limit: float | None = None,
        progress: Callable[..., None] | None = None,
    ) -> dict[str, Any]:
        """Have a request answered.

        Parameters
        ----------
        request
            Of ``request_of`` or ``call_of``.
        where
            What is done, for errors.
        time_limit
            Seconds that it may take from when the worker says that it has started.
        progress
            ``progress(done, message)``.

        Raises
        ------
        EnsembleError
            As ``fit`` does.
        """
        began = time.perf_counter()
        with suppress(OSError):  # a pipe that nobody reads: the worker has died
            self._send(request)
        told = self._answer(time_limit, progress or no_progress)
        if told is None:
            raise self._death(where, time_limit, time.perf_counter() - began)
        if "error" in told:
            error, text = told["error"], told["error"]["traceback"]
            raise rebuilt(error) from (Elsewhere(text) if text else None)
        return told

    def _send(self, request: dict[str, Any]) -> None:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 - it was asked for
        if self._first:
            pipe.write(self._first + "\n")
            self._first = ""
        pipe.write(json.dumps(changed_names(request, self._named)) + "\n")
        pipe.flush()

    def _answer(
        self, time_limit: float | None, progress: Callable[..., None]
    ) -> dict[str, Any] | None:
        """Wait for the reply; None where the worker ends without one. The clock starts with it."""
        pipe, clock = self._process.stdout, None
        assert pipe is not None  # noqa: S101 - it was asked for
        try:
            while (line := pipe.readline()).endswith("\n"):
                told: dict[str, Any] = json.loads(line)
                if "started" in told and time_limit is not None:
                    clock = Timer(time_limit, self._expire)
                    clock.daemon = True
                    clock.start()
                elif "progress" in told:
                    progress(*told["progress"])
                elif "started" not in told:
                    return told
        finally:
            if clock is not None:
                clock.cancel()
        return None

    def _expire(self) -> None:
        self._expired = True
        self._kill()

    def _death(self, where: str, time_limit: float | None, seconds: float) -> EnsembleError:
        code = self._process.wait()
        if self._expired and time_limit is not None:
            return took_too_long(time_limit, where)
        return LearnerError(
            f"its process died after {seconds:.0f} s: {_how(code)}",
            where=where,
            hint=_MEMORY_HINT if code == -signal.SIGKILL else _DEATH_HINT,
        )

    def _kill(self) -> None:
        """Kill the process with all that it has started."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def _end_children(self) -> None:
        """Kill what outlives the process: it may hold the pipe that we read from."""
        self._process.wait()
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """End it, in the midst of a fit too; what was being written has no name yet."""
        self._kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _how(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"it ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    memory = ", which the system sends where memory runs out" if name == "SIGKILL" else ""
    return f"it was killed by {name}{memory}"


def visible_only(gpus: Sequence[str]) -> dict[str, str]:
    """Give the variable that leaves a process some GPUs alone; nothing where none are named."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}


def _only_visible(device: str, environment: dict[str, str]) -> str:
    """Hide all GPUs but one from a process to come; gives the name that it has there.

    A model that is loaded back knows no device, and goes to the first that it sees.

    Raises
    ------
    ConfigError
        There is no such device.
    """
    kind, _, number = device.partition(":")
    if not number:
        return device
    seen = environment.get("CUDA_VISIBLE_DEVICES")
    names = None if seen is None else [name.strip() for name in seen.split(",") if name.strip()]
    if names is not None and int(number) >= len(names):
        raise ConfigError(
            f"there is no {device}: CUDA_VISIBLE_DEVICES={seen!r} leaves {len(names)}",
            where="execution.devices",
            hint='leave devices out, or count from "cuda:0" among those that are visible',
        )
    environment["CUDA_VISIBLE_DEVICES"] = number if names is None else names[int(number)]
    return kind


def refuse_hidden(devices: Sequence[str]) -> None:
    """Refuse devices that the environment hides, before anything is started.

    Raises
    ------
    ConfigError
        There is no such device.
    """
    for device in devices:
        _only_visible(device, dict(os.environ))
