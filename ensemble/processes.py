"""Processes that must not outlive the one that started them."""

from __future__ import annotations

import os
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def end_with_parent(alive: Connection) -> None:
    """End this process when the other end of a pipe is closed, which the parent alone holds.

    That comes when the parent wants it, or when it is gone, even by ``kill -9``: a process that
    outlived it would go on writing to a run whose lock is free.
    """

    def watch() -> None:
        alive.poll(None)
        os._exit(1)  # a worker in the midst of a fit hears nothing gentler

    Thread(target=watch, name="end with parent", daemon=True).start()
