"""Which process writes to a run, so that another one can tell whether it is still there."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

State = Literal["alive", "gone", "unknown"]


def own_mark() -> dict[str, Any]:
    """Name this process: numbers of processes are given again, so its start is part of it.

    Where the system does not tell (it is no Linux), the entry is None.
    """
    pid = os.getpid()
    return {"host": platform.node(), "pid": pid, **_place(), "started": _start_of(pid)}


def state_of(mark: dict[str, Any]) -> State:
    """Say whether a process is there; unknown where it is one of another machine or container."""
    pid = mark.get("pid")
    if not isinstance(pid, int) or pid <= 0 or mark.get("host") != platform.node():
        return "unknown"
    here = _place()
    if mark.get("boot") != here["boot"]:
        return "gone"  # the machine was started again since
    if mark.get("namespace") != here["namespace"]:
        return "unknown"
    return "alive" if _is_there(pid, mark.get("started")) else "gone"


def _is_there(pid: int, started: Any) -> bool:
    now = _start_of(pid)
    if now is not None:
        return started is None or bool(now == started)
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _place() -> dict[str, str | None]:
    """Name where process numbers mean something: one start of one machine, one container."""
    found: dict[str, str | None] = {"boot": None, "namespace": None}
    with suppress(OSError):
        found["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    with suppress(OSError):
        found["namespace"] = str(Path("/proc/self/ns/pid").readlink())
    return found


def _start_of(pid: int) -> str | None:
    """Give when a process started, in ticks since the boot; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # its name, in brackets, may hold anything
    is_dead = fields[:1] in (["Z"], ["X"])
    return None if is_dead or len(fields) < 20 else fields[19]
