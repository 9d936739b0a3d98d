"""A third-party learner that beats, waits and fails as it is asked to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.oof.spec import LearnerSpec
from ensemble.run_dir.reporter import Reporter
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from ensemble import Config
    from tests.fixture_types import Project


PLUGIN = """
import os
import time
from pathlib import Path
import numpy as np
from ensemble import BaseLearner, Resources, hookimpl
from ensemble.errors import LearnerError

class Own(LearnerError):
    def __init__(self, cause):
        super().__init__(f"no luck with {cause}", hint="try again")

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")

class Beats(BaseLearner):
    cheap = True
    def __init__(
        self, file: str = "", fails: str = "", wait: float = 0.0, gpus: int = 0
    ) -> None:
        self.file, self.fails, self.wait, self.gpus = file, fails, wait, gpus
    @property
    def resources(self):
        return Resources(gpus=self.gpus)
    def dependencies(self):
        if self.fails == "odd":
            raise Odd("this", "that")
        return {}
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.device = context.device
        if self.fails == "dies" and self.file != str(os.getpid()):
            os.kill(os.getpid(), 9)
        print("heard from fit")
        if self.fails == "raises":
            raise ValueError("boom")
        if self.fails == "own":
            raise Own("this")
        if self.fails == "plain":
            raise LearnerError("no luck today", hint="try tomorrow")
        while self.fails == "after":
            if Path(self.file).exists():
                raise LearnerError("no luck after all")
        time.sleep(self.wait)
        for beat in range(400 if "/" in self.file else 0):
            Path(self.file).write_text(str(beat))
            time.sleep(0.05)
        return self
    def predict_logits(self, battles):
        return np.zeros((len(battles), 3), dtype=np.float32)
    def save(self, directory):
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        (directory / "device").write_text(f"{self.device} of {seen}")
        (directory / "process").write_text(f"{os.getpid()}")
    def load(self, directory):
        return self

@hookimpl
def register_base_learners(register):
    register("beats", Beats)
"""


def prepare_beats(
    project: Project, executor: str, **learner: Any
) -> tuple[Config, LearnerSpec, Reporter]:
    learners = [{"name": "x", "plugin": "beats", **learner}]
    config = project.config(learners, execution={"executor": executor, "threads": 1})
    space = prepared(config)
    (item,) = config.learners
    spec = LearnerSpec(item.name, item.plugin, item.parameters, Path(config.base_dir))
    return config, spec, Reporter(space.run)
