"""Ctrl-C and its like: how the program ends by them, and what is not torn apart by a second one."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDINGS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
"""Signals that ask the program to end, and what it then says of itself."""
PATIENCE = 5.0
"""Seconds that putting things away may take before another signal ends the program at once."""


class Interrupted(KeyboardInterrupt):
    """The program was asked to end: whoever knows Ctrl-C knows this.

    Parameters
    ----------
    number
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Endings:
    """Ends the program by an exception, so that workers end and the run is left in order.

    The first signal raises. Those that follow in quick succession are passed over, since things
    are being put away. One that comes ``PATIENCE`` seconds later ends the program at once.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """Number of the first signal."""
        self._at = 0.0

    def install(self) -> None:
        """Take the signals of this process, but for those that whoever started it has silenced."""
        for number in _numbers():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._end)

    def _end(self, number: int, _frame: Any) -> None:
        if self.received is None:
            self.received, self._at = number, time.monotonic()
            raise Interrupted(number)
        if time.monotonic() - self._at > PATIENCE:
            os._exit(exit_code(self.received))


def exit_code(number: int) -> int:
    """Give the exit code of a program that a signal ended, as shells have it."""
    return 128 + number


def told(number: int) -> str:
    """Say in a word what a signal did to the program."""
    return ENDINGS[signal.Signals(number).name]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Have signals wait until the body is done, which puts things away and does not take long.

    The first that came is then handled as ever. They reach the main thread alone: in any other, and
    for signals that nobody handles in Python, nothing changes.
    """
    if current_thread() is not main_thread():
        yield
        return
    came: list[tuple[int, Any]] = []

    def wait(number: int, frame: Any) -> None:
        came.append((number, frame))

    former = {one: handler for one in _numbers() if callable(handler := signal.getsignal(one))}
    for number in former:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        if came:
            former[came[0][0]](*came[0])


def wake_by_signals() -> None:
    """Have signals end what the main thread waits for: after an import of Polars it would wait on.

    Polars puts a handler of its own before Python's, and has the system begin a wait again.
    """
    if hasattr(signal, "siginterrupt"):
        for number in _numbers():
            signal.siginterrupt(number, True)


@contextmanager
def keeping_handlers() -> Iterator[None]:
    """Have this process handle signals as before once the body is done, whatever a library sets."""
    if current_thread() is not main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in _numbers()}
    try:
        yield
    finally:
        for number, handler in former.items():
            if handler is not None:
                signal.signal(number, handler)


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in ENDINGS if hasattr(signal, name)]
