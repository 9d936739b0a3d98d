"""A time limit on a plugin's code that runs in this process.

Code that computes in C for long is stopped only when it comes back to Python, and a limit holds in
the main thread alone, as signals do. What has to be stopped for certain runs in a process of its
own, which can be killed.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ensemble.errors import TimeLimitError
from ensemble.plugin.faults import own_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.errors import PluginError


class _Expired(BaseException):
    """No ``Exception``: a plugin that goes on after any error must not go on after this one."""


@contextmanager
def time_limit(
    seconds: float | None, where: str, *, kind: type[PluginError] = TimeLimitError
) -> Iterator[None]:
    """Stop the body when its time is over.

    Parameters
    ----------
    seconds
        The limit; None sets none.
    where
        What is limited, for the error.
    kind
        Of the error.

    Raises
    ------
    PluginError
        The time was over; it names the line of the plugin's own code that was running.
    """
    if seconds is None or not can_limit():
        yield
        return

    def expire(*_: Any) -> None:
        raise _Expired

    former = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _Expired as error:
        line = own_line(error)
        raise took_too_long(seconds, f"{where}, {line}" if line else where, kind) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def can_limit() -> bool:
    """Say whether this thread can be stopped: signals reach the main thread, and not on Windows."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and hasattr(signal, "setitimer")


def took_too_long(
    seconds: float, where: str, kind: type[PluginError] = TimeLimitError
) -> PluginError:
    """Make the error for a time limit that is over."""
    return kind(
        f"it was stopped: it took longer than time_limit = {seconds:g} s",
        where=where,
        hint="raise time_limit where the work needs longer; else look for what never ends",
    )
