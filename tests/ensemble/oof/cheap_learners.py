"""Cheap learners, which are also fitted without every pair of folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from ensemble import BaseLearner, hookimpl

if TYPE_CHECKING:
    from typing import Self

    from ensemble import FitContext
    from ensemble.plugin.base import FloatArray, LogitArray, Register


class Cheap(BaseLearner):
    """Predicts label shares, is cheap, is taught, and fails where it is told to."""

    cheap = True
    fails: ClassVar[set[int]] = set()
    taught: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, shift: float = 0.0, teachers: tuple[str, ...] = ()) -> None:
        self.shift, self.teachers = shift, teachers

    def fit(
        self, battles: pl.DataFrame, labels: FloatArray, *, context: FitContext, **_: object
    ) -> Self:
        Cheap.taught.append({"ids": battles["id"].to_list(), "teachers": dict(context.teachers)})
        if len(Cheap.taught) in Cheap.fails:
            raise RuntimeError("killed")
        self.shares = labels.mean(axis=0)
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        logits = np.log(self.shares + 1e-3) + np.array([self.shift, 0, 0])
        return np.tile(logits, (len(battles), 1)).astype(np.float32)

    def save(self, directory: Path) -> None:
        (directory / "shares.json").write_text(json.dumps(self.shares.tolist()))

    def load(self, directory: Path) -> Self:
        self.shares = np.asarray(json.loads((directory / "shares.json").read_text()))
        return self


class Outside(Cheap):
    """A learner whose predictions come from outside."""

    trains = False


class CheapPlugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("cheap", Cheap)
        register("outside", Outside)
