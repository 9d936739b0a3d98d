"""``running.json``: what the process that writes to a run does right now, for whoever watches.

One file, written by the process that holds the run's lock, whichever executor does the work: it
hears of starts, progress and ends from all of them. It is replaced whole, goes with the process,
and decides nothing. How long things take is counted by a clock that nobody sets.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError, EnsembleError
from ensemble.interrupts import uninterrupted
from ensemble.redact import redact
from ensemble.run_dir.layout import RUNNING
from ensemble.run_dir.process_mark import own_mark, state_of
from ensemble.storage.atomic import temp_path
from ensemble.storage.json_files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEAT = 2.0
"""Seconds between two signs of life."""
_PAUSE = 0.5
"""Seconds between two writes: what goes on for less is of no use to anybody."""
_LONGEST = 300
"""Characters of a message that are kept."""


class Job:
    """One thing that is going on.

    Parameters
    ----------
    details
        What it is, as JSON: ``learner`` and ``fit``, say.
    news
        Set where there is something to tell.
    """

    def __init__(self, details: dict[str, Any], news: Event | None = None) -> None:
        self._details, self._began = details, time.monotonic()
        self._news = news or Event()
        self._since = _now()
        self._progress: float | None = None
        self._message = ""

    def update(self, done: float, message: str = "") -> None:
        """Take how far it is, ``done`` in [0, 1]."""
        self._progress, self._message = min(1.0, max(0.0, float(done))), redact(str(message))
        self._news.set()

    def to_json(self) -> dict[str, Any]:
        """Say what it is, since when, for how many seconds, and how far."""
        elapsed = round(time.monotonic() - self._began, 2)
        told: dict[str, Any] = {**self._details, "since": self._since, "elapsed": elapsed}
        if self._progress is not None:
            told["progress"] = self._progress if self._progress == self._progress else None
        return told | ({"message": self._message[:_LONGEST]} if self._message else {})


class Running:
    """Writes down what goes on in a run, until it is left.

    Parameters
    ----------
    run
        The run directory; None writes nothing.
    """

    def __init__(self, run: Path | None = None) -> None:
        self._path = None if run is None else run / RUNNING
        self._own = Job({**own_mark(), "beat": BEAT})
        self._stages: list[Job] = []
        self._jobs: list[Job] = []
        self._lock, self._left, self._news = RLock(), Event(), Event()

    def __enter__(self) -> Running:
        if self._path is not None:
            self._write()
            Thread(target=self._beat, name="signs of life", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():  # or the thread would say for ever that somebody works on the run
            self._left.set()
            self._news.set()
            with self._lock, suppress(OSError):
                if self._path is not None:
                    self._path.unlink(missing_ok=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Have a stage going on while the body runs."""
        with self._going_on(Job({"name": name}), self._stages):
            yield

    @contextmanager
    def job(self, label: str, **details: Any) -> Iterator[Job]:
        """Have a job going on while the body runs."""
        made = Job({"label": redact(label), **details}, self._news)
        with self._going_on(made, self._jobs) as job:
            yield job

    @contextmanager
    def _going_on(self, job: Job, among: list[Job]) -> Iterator[Job]:
        with self._lock:
            among.append(job)
        self._news.set()
        try:
            yield job
        finally:
            with self._lock:
                among.remove(job)
            self._news.set()

    def _beat(self) -> None:
        """Write at once where something has changed, though not too often; else now and then."""
        while not self._left.is_set():
            self._news.wait(BEAT)
            self._news.clear()
            self._write()
            self._left.wait(_PAUSE)

    def _write(self) -> None:
        """Replace the file; a disk that takes nothing must not end what is going on."""
        if self._path is None:
            return
        with self._lock, suppress(EnsembleError, OSError):
            if self._left.is_set():
                return
            told = {
                "time": _now(),
                "process": self._own.to_json(),
                "stages": [job.to_json() for job in self._stages],
                "jobs": [job.to_json() for job in self._jobs],
            }
            with temp_path(self._path) as temporary:
                temporary.write_text(json.dumps(told), encoding="utf-8", errors="backslashreplace")
                temporary.replace(self._path)


def told_writer(run: Path) -> str:
    """Name the process that writes to a run, for the end of a sentence; empty where it is unknown.

    Parameters
    ----------
    run
        The run directory.
    """
    with suppress(ArtifactError, LookupError, TypeError, AttributeError):
        mark = read_json(run / RUNNING)["process"]
        if state_of(mark) != "gone":
            return f": process {mark['pid']} of {mark['host']}, since {mark['since']}"
    return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
