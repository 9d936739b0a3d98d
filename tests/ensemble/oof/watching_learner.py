"""A learner that remembers the tables that it was given, as a teacher and as its pupil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from ensemble import BaseLearner, hookimpl
from ensemble.plugin.base import LEARNER_COLUMNS

if TYPE_CHECKING:
    from ensemble import Config, FitContext
    from ensemble.plugin.base import FloatArray, IntArray, LogitArray, Register
    from tests.fixture_types import Project

COLUMNS = ["model_a", "model_b", "language"]
OWN = list(LEARNER_COLUMNS)


class Watcher(BaseLearner):
    """Remembers the tables that it was given."""

    seen: ClassVar[list[dict[str, Any]]] = []
    cheap = True

    def __init__(self, tag: str = "", teachers: tuple[str, ...] = ()) -> None:
        self.tag, self.teachers = tag, teachers

    def _note(self, verb: str, battles: pl.DataFrame) -> None:
        Watcher.seen.append({"tag": self.tag, "verb": verb, "battles": battles})

    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        assert list(context.privileged) == [c for c in battles.columns if c not in OWN]
        self._note("fit", battles)
        self.shares = labels.mean(axis=0)
        return self

    def pretrain(self, battles: pl.DataFrame, labels: FloatArray, **_: Any) -> Self:
        self._note("pretrain", battles)
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        self._note("predict", battles)
        return np.tile(np.log(self.shares + 0.1), (len(battles), 1)).astype(np.float32)

    def save(self, directory: Path) -> None:
        (directory / "shares.json").write_text(json.dumps(self.shares.tolist()))

    def load(self, directory: Path) -> Self:
        self.shares = np.asarray(json.loads((directory / "shares.json").read_text()))
        return self


class WatcherPlugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("watcher", Watcher)


TEACHER: dict[str, Any] = {
    "name": "teacher",
    "plugin": "watcher",
    "tag": "teacher",
    "privileged": COLUMNS,
}
PUPIL: dict[str, Any] = {
    "name": "pupil",
    "plugin": "watcher",
    "tag": "pupil",
    "teachers": ["teacher"],
}


def privileged_config(project: Project, *learners: dict[str, Any], **changes: Any) -> Config:
    return project.config(learners=list(learners or (PUPIL, TEACHER)), **changes)
