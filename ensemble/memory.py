"""What a process holds in memory, and gives back."""

from __future__ import annotations

import ctypes


def release_memory() -> None:
    """Give the system what has been freed: C libraries keep it, and it counts as the process's.

    Done where a stage has freed most of what it held, such as a file's cells. Nothing happens where
    the C library is not that of GNU.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
