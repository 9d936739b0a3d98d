"""Processes beside others: they end with the one that started them, and share the cores."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from ensemble.control_groups import memory_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection

_USABLE = 0.8
"""Share of the free memory that is taken; the rest is for files and for whoever else is here."""


def available_cores() -> int:
    """Say how many cores this process may use: of its affinity, its container's share, its job's.

    joblib knows where systems and containers tell; ``LOKY_MAX_CPU_COUNT`` sets a bound by hand.
    Slurm does not bind a job to its cores unless it is set up to.
    """
    from joblib import cpu_count

    cores, of_job = int(cpu_count()), os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cores, max(1, int(of_job))) if of_job.isdecimal() else cores


def one_thread_of_blas() -> AbstractContextManager[Any]:
    """Have BLAS use one thread, so that every machine and executor finds the same numbers.

    It divides vectors of more than about 10,000 elements among its threads, and adds up in another
    order on each number of cores. Other libraries keep theirs.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits


def affordable_copies() -> int:
    """Say how many processes like this one, at its largest so far, there is memory for.

    Where the system does not tell, there is room for as many as there are cores.
    """
    largest, free = _largest_so_far(), free_memory()
    if largest is None or free is None:
        return available_cores()
    return int(free * _USABLE // largest)


def _largest_so_far() -> int | None:
    """Say how many bytes this process has had at most; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident_bytes(process: int) -> int | None:
    """Say how much main memory a process has; None where the system is silent, or it is gone."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError, IndexError):
        return None


def free_memory() -> int | None:
    """Say how many bytes are free, here and in the container; None where the system is silent."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = dict(line.split(":") for line in lines)
        free = int(sizes["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None
    return min([free, *(max(0, bound.limit - bound.used) for bound in memory_bounds())])


def total_memory() -> int | None:
    """Say how many bytes there are, here and in the container; None where the system is silent."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    return min([whole, *(bound.limit for bound in memory_bounds())])


_QUERY = ("--query-gpu=index,uuid,name,memory.total,compute_cap", "--format=csv,noheader,nounits")
_SECONDS = 20
"""A driver that hangs is as good as none."""


def gpu_table() -> str:
    """Ask the driver's own program which GPUs there are, one a line; empty where it is not there.

    Each line is index, UUID, name, memory in MiB and compute capability, after commas.
    """
    try:
        done = subprocess.run(
            ["nvidia-smi", *_QUERY],  # noqa: S607 - the driver's program, wherever it lies
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return done.stdout


def visible_among(gpus: Mapping[str, str]) -> list[str]:
    """Say which GPUs ``CUDA_VISIBLE_DEVICES`` leaves this process, as CUDA reads it.

    Parameters
    ----------
    gpus
        UUIDs by index.

    Returns
    -------
    list of str
        UUIDs in its order; a part of a GPU (MIG) is named as it stands there.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not gpus:
        return [*gpus.values()]
    found: list[str] = []
    for name in map(str.strip, visible.split(",")):
        alike = [uuid for uuid in gpus.values() if name and uuid.startswith(name)]
        known = [gpus[name]] if name in gpus else [name] if name.startswith("MIG-") else alike
        if len(known) != 1:
            break  # what comes after a name that is none is hidden
        found += [one for one in known if one not in found]
    return found


def visible_gpus() -> list[str]:
    """Name the GPUs that this process may use, by UUID: their numbers depend on who counts."""
    rows = [[cell.strip() for cell in line.split(",")] for line in gpu_table().splitlines()]
    return visible_among({row[0]: row[1] for row in rows if len(row) == 5 and row[0].isdigit()})


def exit_with_parent(alive: Connection) -> None:
    """End this process when the other end of a pipe is closed, which the parent alone holds.

    That comes when the parent wants it, or when it is gone, even by ``kill -9``: a process that
    outlived it would go on writing to a run whose lock is free.
    """
    leave = os._exit  # as it is now: while a plugin's code runs, it is kept from leaving

    def watch() -> None:
        alive.poll(None)
        leave(1)  # a worker in the midst of a fit hears nothing gentler

    Thread(target=watch, name="end with parent", daemon=True).start()
