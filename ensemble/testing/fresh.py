"""A process that knows nothing of a fit: it loads what was saved and predicts, without a network.

It is started before it is needed, since it imports for a second.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from ensemble.errors import EnsembleError
from ensemble.testing.checks import NotAskedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from ensemble.testing.fresh_process import main; main(int(sys.argv[2]))"
)
TRIALS = "ensemble-check-"
"""How the directories of trials are called, among temporary files."""
_LONGEST = 300
"""Seconds that it may take for an answer."""


class FreshProcess:
    """Another Python process, in an empty directory of its own.

    Parameters
    ----------
    base
        The directory is made in it.
    """

    def __init__(self, base: Path) -> None:
        self.taken = False
        self.directory = Path(mkdtemp(prefix="fresh-", dir=base))
        path = [str(Path(entry).absolute()) for entry in sys.path]
        environment = {
            **os.environ,
            "TMPDIR": str(self.directory),
            "HF_HUB_OFFLINE": "1",
            "PYTHONHASHSEED": "random",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(path), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=environment,
            text=True,
        )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Have it do something, and end.

        Raises
        ------
        NotAskedError
            It cannot import the class, which only this process knows.
        EnsembleError
            It died without an answer; its last words are the message.
        """
        try:
            answer, words = self._process.communicate(json.dumps(request), timeout=_LONGEST)
        except subprocess.TimeoutExpired as error:
            raise EnsembleError(f"another process gave no answer in {_LONGEST} s") from error
        lines = answer.strip().splitlines()
        if not lines:
            last = (words.strip().splitlines() or ["no word"])[-1]
            raise EnsembleError(
                f"another process ended with status {self._process.returncode}: {last}"
            )
        reply: dict[str, Any] = json.loads(lines[-1])
        if "unknown" in reply:
            raise NotAskedError(f"another process cannot make it: {reply['unknown']}")
        return reply

    def close(self) -> None:
        """End it, and remove its directory."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self.directory, ignore_errors=True)
