"""What happened and when: the run's events, and progress for whoever watches."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from ensemble.errors import EnsembleError
from ensemble.redact import redact, redacted
from ensemble.run_dir.layout import EVENTS
from ensemble.run_dir.running import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


class ProgressDisplay(Protocol):
    """Shows a run to a person; see ``ensemble.cli.terminal``."""

    def log(self, text: str) -> None:
        """Show one line."""
        ...

    def progress(self, label: str) -> AbstractContextManager[Callable[..., None]]:
        """Show a progress bar; gives ``progress(done, message)`` with ``done`` in [0, 1]."""
        ...


class Silent:
    """Shows nothing."""

    def log(self, text: str) -> None:
        """Show nothing."""

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[..., None]]:  # noqa: ARG002 - nothing is shown
        """Show nothing."""
        yield lambda _done, _message="": None


class Reporter:
    """Writes ``events.jsonl`` and passes on to a display.

    Parameters
    ----------
    run
        The run directory.
    display
        Where a person looks.
    running
        Where what goes on is written down for whoever watches from elsewhere.
    """

    def __init__(
        self,
        run: Path,
        display: ProgressDisplay | None = None,
        running: Running | None = None,
    ) -> None:
        self.run, self.running = run, running or Running()
        self.display: ProgressDisplay = display or Silent()
        self.observers: Any = None  # of ``ensemble.plugin.observers``; None before anyone is told

    def event(self, name: str, /, **details: Any) -> None:
        """Append one event, one line, with the time in UTC.

        Raises
        ------
        EnsembleError
            The file cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        told = {"time": now, "event": name, **redacted(details)}
        line = json.dumps(told, ensure_ascii=False)
        try:
            # A lone surrogate, as in file names that are not UTF-8, becomes its escape in JSON.
            content = f"{line}\n".encode(errors="backslashreplace")
            with (self.run / EVENTS).open("a+b") as file:
                file.write(b"\n" + content if _is_torn(file) else content)
        except OSError as error:
            raise EnsembleError(
                f"cannot write: {error.strerror or error}",
                where=str(self.run / EVENTS),
                hint="free space or fix permissions, then run the same command again; "
                "nothing was lost",
            ) from error

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record that a stage starts, and how it ends: done, failed or interrupted."""
        self.event("stage started", stage=name)
        began = time.monotonic()
        try:
            with self.running.stage(name):
                yield
        except BaseException as error:
            what = "stage failed" if isinstance(error, Exception) else "stage interrupted"
            # On a full disk this fails too, and must not stand in for the error that matters.
            with suppress(EnsembleError):
                told = f"{type(error).__name__}: {error}"
                self.event(what, stage=name, error=told, **traceback_of(error))
            raise
        seconds = round(time.monotonic() - began, 3)
        self.event("stage done", stage=name, seconds=seconds, host=platform.node())

    def log(self, text: str) -> None:
        """Show one line."""
        self.display.log(redact(text))

    def warn(self, text: str) -> None:
        """Record a warning, and show it."""
        self.event("warning", text=text)
        self.log(f"warning: {text}")

    @contextmanager
    def progress(
        self, label: str, *, shown: bool = True, **job: Any
    ) -> Iterator[Callable[..., None]]:
        """Have something going on: written down, and shown by a progress bar.

        Parameters
        ----------
        label
            Names it for a reader.
        shown
            Whether there is a bar: a terminal has one at a time.
        **job
            What it is, as JSON: ``learner``, ``fit``, ``where``.
        """
        bar = self.display.progress(label) if shown else nullcontext(_no_bar)
        with self.running.job(label, **job) as going_on, bar as show:

            def update(done: float, message: str = "") -> None:
                going_on.update(done, message)
                show(done, redact(message))

            yield update


def _is_torn(file: BinaryIO) -> bool:
    """Say whether a file ends within a line: whoever wrote it had no room, or no time, for all."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _no_bar(_done: float, _message: str = "") -> None:
    """Show nothing."""


def traceback_of(error: BaseException) -> dict[str, str]:
    """Give, for an event, the traceback that helps a plugin's author.

    An error of ours without a cause has none. Of an error in a worker process, the cause holds the
    traceback as text.
    """
    source = error.__cause__ if isinstance(error, EnsembleError) else error
    if source is None or not isinstance(error, Exception):
        return {}
    return {"traceback": "".join(traceback.format_exception(source))}
