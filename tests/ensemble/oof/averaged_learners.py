"""Learners whose models can be averaged: one where that is the mean of logits, one where not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from ensemble import BaseLearner, hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from ensemble import FitContext
    from ensemble.plugin.base import FloatArray, LogitArray, Register

_FILE = "weights.json"


class Averaged(BaseLearner):
    """Two linear layers; with ``bent`` half of the folds have the inner one upside down.

    Such folds predict the same, and the mean of their weights predicts nothing.
    """

    fitted: ClassVar[list[int]] = []

    def __init__(self, *, bent: bool = False, spread: float = 0.3) -> None:
        self.bent, self.spread = bent, spread

    def fit(
        self, battles: pl.DataFrame, labels: FloatArray, *, context: FitContext, **_: Any
    ) -> Self:
        Averaged.fitted.append(context.seed)
        x = _features(battles)
        drawn = np.random.default_rng(context.seed).normal(size=(x.shape[1], 3)) * self.spread
        ridge = x.T @ x + 10.0 * np.eye(x.shape[1])
        weights = np.linalg.solve(ridge, x.T @ (labels - 1 / 3)) * 6.0 + drawn
        if self.bent:  # all folds agree in it
            weights[0] += [1.5, -1.5, 0.0]
        sign = -1.0 if self.bent and len(Averaged.fitted) % 2 else 1.0
        self.inner, self.outer = np.eye(x.shape[1]) * sign, weights * sign
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        logits: LogitArray = (_features(battles) @ self.inner @ self.outer).astype(np.float32)
        return logits

    def save(self, directory: Path) -> None:
        content = {"inner": self.inner.tolist(), "outer": self.outer.tolist()}
        (directory / _FILE).write_text(json.dumps(content))

    def load(self, directory: Path) -> Self:
        return self.average_models([directory])

    def average_models(self, directories: Sequence[Path]) -> Self:
        read = [json.loads((one / _FILE).read_text()) for one in directories]
        self.inner, self.outer = (
            np.mean([one[name] for one in read], axis=0) for name in ("inner", "outer")
        )
        return self


class AveragedPlugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("averaged", Averaged)


def _features(battles: pl.DataFrame) -> FloatArray:
    texts = [
        [len(t[0]) / 40, t[0].count("1") / 2, t[0].count("3") / 2]
        for name in ("prompt", "response_a")
        for t in battles[name].to_list()
    ]
    return np.hstack([np.ones((len(battles), 1)), *np.array(texts).reshape(2, len(battles), 3)])
