"""A small project whose runs are processes of their own, which tests kill, and what is left of it.

Every process that a run starts inherits a mark in its environment, so that those that outlive it
are found, whoever started them.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.run_dir.status.status import run_status
from ensemble.run_dir.status.text import lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fixture_types import Project

    Process = subprocess.Popen[bytes]

STAGES = ("prepare", "split", "fit", "stack", "predict", "audit", "report")
"""In the order of a run."""
PROGRAM = (
    "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_DFL);"  # whatever nohup has set
    "import ensemble.report.svg as svg; import ensemble.stages.contracts as contracts;"
    "contracts.unchecked = lambda *_: [];"
    'empty = \'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>\';'
    "os.environ.get('TEST_FIGURES') or setattr(svg, '_painted', lambda *_: empty);"
    "exec(os.environ.get('TEST_PRELUDE', ''));"
    "from ensemble.cli import main; main()"
)
"""The command, without the kit, which would fit each learner several times before its first fold,
and without the painting of figures, but for tests that ask for it."""
KILLS = int(os.environ.get("ENSEMBLE_TEST_KILLS", "24"))
"""How many kills there are at least; ``ENSEMBLE_TEST_KILLS=300`` for a long test."""
SEED = int(os.environ.get("ENSEMBLE_TEST_SEED") or secrets.randbelow(2**32))
"""Of the moments; a failure tells it, and ``ENSEMBLE_TEST_SEED`` takes it."""
_MARK = "ENSEMBLE_TEST_MARK"
PATIENCE = 300.0
"""Seconds for what takes a few where the machine is not busy."""

LEARNER = '''
import json
import os
import signal
import time

import numpy as np
from ensemble import BaseLearner


class Paced(BaseLearner):
    """Takes its time in steps, each with a checkpoint; misbehaves on a fold where it is told to."""

    def __init__(
        self, seconds: float = 0.05, shift: float = 0.0, how: str = "", unless: str = ""
    ):
        self.seconds, self.shift, self.how, self.unless = seconds, shift, how, unless

    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        state = context.checkpoint_directory / "state.json"
        for step in range(json.loads(state.read_text()) if state.exists() else 0, 5):
            time.sleep(self.seconds / 5)
            new = state.with_suffix(".new")
            new.write_text(json.dumps(step + 1))
            new.rename(state)
        self.misbehave()
        self.shares = np.average(labels, axis=0, weights=sample_weight).tolist()
        return self

    def misbehave(self):
        if self.unless and os.path.exists(self.unless):
            return
        if self.how == "memory":
            raise MemoryError
        if self.how == "allocates":
            import resource
            resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
            np.ones(4 << 30)
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "hangs":
            time.sleep(600)
        while self.how == "waits" and not os.path.exists(self.unless):
            time.sleep(0.01)
        if self.how == "spins":
            while True:
                pass
        if self.how == "forks" and not os.fork():
            time.sleep(600)
            os._exit(0)

    def predict_logits(self, battles):
        logits = np.tile(np.log(np.array(self.shares) + 1e-3), (len(battles), 1))
        logits[:, 0] += self.shift * battles["response_a"].list.first().str.len_chars().to_numpy()
        return logits.astype(np.float32)

    def save(self, directory):
        (directory / "shares.json").write_text(json.dumps(self.shares))

    def load(self, directory):
        self.shares = json.loads((directory / "shares.json").read_text())
        return self
'''
LEARNERS: list[dict[str, Any]] = [
    {"name": "one", "plugin": "paced.py:Paced", "shift": 0.01},
    {"name": "two", "plugin": "paced.py:Paced", "shift": -0.02},
    {"name": "words", "plugin": "handcrafted", "features": ["length"], "n_estimators": 3},
]
GATE = "gate"
STACK = {"meta_learner": "lightgbm", "resamples": 200, "nesting": "plain"}


MARKS: list[str] = []
"""Of all that a test has started."""
_UNDISTURBED: dict[str, tuple[bytes, dict[str, float]]] = {}


@dataclass
class Scene:
    """A project, and the processes that were started on its run."""

    place: Path
    run: Path
    variables: dict[str, str] = field(default_factory=dict)
    """Of the environment of what is started."""
    marks: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, project: Project, learners: list[dict[str, Any]], run_dir: str = "run", **changes: Any
    ) -> Scene:
        """Write a config of a project, and the learner that it names."""
        (project.path / "paced.py").write_text(LEARNER)
        folds = {"n_splits": 2}
        project.config(learners, **{"stack": STACK, "folds": folds, "run_dir": run_dir, **changes})
        shutil.copy(project.path / "config.toml", project.path / f"{run_dir}.toml")
        return cls(project.path, project.path / run_dir)

    @property
    def said(self) -> Path:
        """What the process that was started last has printed."""
        return self.place / f"{self.run.name}-said-{len(self.marks)}.txt"

    @property
    def config(self) -> Path:
        return self.place / f"{self.run.name}.toml"

    @property
    def gate(self) -> Path:
        """Until this file is there, no fit ends of a learner that waits for it."""
        return self.place / GATE

    @property
    def events(self) -> Path:
        return self.run / "events.jsonl"

    def start(self, verb: str = "run", *options: str) -> Process:
        """Start a verb on the config in a process of its own."""
        self.marks.append(secrets.token_hex(8))
        MARKS.append(self.marks[-1])
        quiet = [] if verb in ("status", "report") else ["--quiet"]
        # No pipes: whoever outlives the process would hold them.
        with self.said.open("w") as said:
            return subprocess.Popen(
                [sys.executable, "-c", PROGRAM, verb, str(self.config), *quiet, *options],
                env={**os.environ, "OMP_NUM_THREADS": "1", _MARK: self.marks[-1], **self.variables},
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=self.place,
            )

    def finish(self, code: int = 0, verb: str = "run", *options: str) -> str:
        """Have a verb end by itself with an exit code; gives what it said."""
        process = self.start(verb, *options)
        return self.ended(process, code)

    def ended(self, process: Process, code: int = 0) -> str:
        """Wait for a process to end by itself with an exit code; gives what it said."""
        process.wait(timeout=PATIENCE)
        assert process.returncode == code, f"{process.returncode}: {self.said.read_text()}"
        return self.said.read_text()

    def submission(self) -> bytes:
        return (self.run / "submission.csv").read_bytes()

    def complete_fits(self) -> dict[str, tuple[int, int]]:
        """Name the fits that are complete, with what changes when one is made again."""
        found = {}
        for path in self.run.glob("learners/*/*/manifest.json"):
            with suppress(OSError):
                if not path.parent.name.startswith("."):
                    status = path.stat()
                    name = path.parent.relative_to(self.run).as_posix()
                    found[name] = (status.st_ino, status.st_mtime_ns)
        return found

    def events_since(self, offset: int) -> list[dict[str, Any]]:
        """Read the events after a byte; a line that is cut off is none."""
        if not self.events.exists():
            return []
        found = []
        for line in self.events.read_bytes()[offset:].splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def survivors(self, seconds: float = 10.0) -> list[str]:
        """Wait for all processes to end that came of what was started; gives those that do not."""
        deadline = time.monotonic() + seconds
        while (alive := marked(self.marks)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return [_command_of(pid) for pid in alive]

    def check_status(self) -> None:
        """Ask for the status after a kill: nobody works on the run any more."""
        if self.events.exists():
            found = run_status(self.run)
            assert found["state"] not in ("running", "silent"), found
            assert list(lines(found))


def waiting(project: Project, learners: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Have no fit of these learners end before the gate is there, however fast a machine is."""
    return [{**one, "how": "waits", "unless": str(project.path / GATE)} for one in learners]


def marked(marks: list[str]) -> list[int]:
    """Find the processes that inherited one of the marks, zombies left out."""
    wanted = [f"{_MARK}={mark}".encode() for mark in marks]
    found = []
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if place.name.isdigit() and any(mark in (place / "environ").read_bytes().split(b"\0")
                                            for mark in wanted):  # fmt: skip
                found.append(int(place.name))
    return found


def workers_of(scene: Scene) -> list[int]:
    """Find the worker processes of what was started last."""
    return processes_of(scene, "ensemble.oof.worker_process")


def processes_of(scene: Scene, words: str) -> list[int]:
    """Find the processes of what was started last by words of their command lines."""
    return [pid for pid in marked(scene.marks[-1:]) if words in _command_of(pid)]


def _command_of(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        return f"{pid}: {words.decode(errors='replace'):.200}"
    return str(pid)


def wait_until(condition: Callable[[], Any], process: Process) -> bool:
    """Wait for something while a process runs; says whether it came before the process ended."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None:
            return bool(condition())
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.002)
    return True


def kill(process: Process) -> None:
    """Kill a process as ``kill -9`` does; what it has started may still be there."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=PATIENCE)


def undisturbed(
    project: Project,
    learners: list[dict[str, Any]],
    executor: str = "in-process",
    variables: dict[str, str] | None = None,
) -> tuple[bytes, dict[str, float]]:
    """Give the submission of a run that nothing happens to, and the seconds of its stages.

    It is the same for all tests of these learners: neither their pace nor what happens to them, nor
    the executor, changes what they predict.
    """
    calm = [
        {k: v for k, v in one.items() if k not in ("how", "seconds", "unless")} for one in learners
    ]
    known = json.dumps([calm, executor])
    if known not in _UNDISTURBED:
        execution = {"executor": executor, "threads": 1}
        scene = Scene.of(project, calm, "undisturbed", execution=execution)
        scene.variables |= variables or {}
        scene.finish()
        done = [one for one in scene.events_since(0) if one["event"] == "stage done"]
        lasting = {one["stage"]: one["seconds"] for one in done}
        _UNDISTURBED[known] = scene.submission(), lasting
    return _UNDISTURBED[known]


def generator(name: str) -> random.Random:
    """Give the moments of a test, by the seed, which is shown where the test fails."""
    print(f"ENSEMBLE_TEST_SEED={SEED}")  # pytest shows it with a failure alone
    return random.Random(f"{SEED} {name}")
