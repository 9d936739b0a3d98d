"""Processes beside others: they end with the one that started them, and share the cores."""

from __future__ import annotations

import os
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


_SPINS = "300"
"""Near the best of all, alone and side by side: ``benchmarks/waiting_threads.py``."""


def yield_cores() -> None:
    """Let threads that wait for one another give their core away soon.

    GNU's OpenMP, which LightGBM's wheels for Linux use, lets them spin for milliseconds, in which
    another process may not run. It reads this when it is loaded: before LightGBM is imported. What
    the user has set is left as it is.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def available_cores() -> int:
    """Say how many cores this process may use: what a container allows, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def end_with_parent(alive: Connection) -> None:
    """End this process when the other end of a pipe is closed, which the parent alone holds.

    That comes when the parent wants it, or when it is gone, even by ``kill -9``: a process that
    outlived it would go on writing to a run whose lock is free.
    """

    def watch() -> None:
        alive.poll(None)
        os._exit(1)  # a worker in the midst of a fit hears nothing gentler

    Thread(target=watch, name="end with parent", daemon=True).start()
