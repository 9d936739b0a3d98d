"""The process that knows nothing of a fit ends with the one that asks it, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

HANGS = """
import os, time
from pathlib import Path

class Hangs:
    def load(self, directory):
        Path(directory, "pid").write_text(str(os.getpid()))
        time.sleep(600)
"""
ASKS = """
import sys
from pathlib import Path
from ensemble.testing.fresh import FreshProcess

place = Path(sys.argv[1])
origin = {"module": "hangs", "file": str(place / "hangs.py"), "qualname": "Hangs", "parameters": {}}
FreshProcess(place).ask({"origin": origin, "model": str(place), "asked": ""})
"""


def _is_there(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", ASKS, str(tmp_path)], env=environment)
    deadline, told = time.monotonic() + 120, tmp_path / "pid"
    while not (told.exists() and told.read_text()):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.02)
    pid = int(told.read_text())
    assert _is_there(pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while _is_there(pid):
        assert time.monotonic() < deadline, "it outlived its parent"
        time.sleep(0.05)
