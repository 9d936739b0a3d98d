"""A learner that says what it was given, for tests of scikit-learn's tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ensemble.plugin.base import BaseLearner

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray


class Spy(BaseLearner):
    """Predicts the label shares, and remembers each fit."""

    fits: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, *, rate: float = 1.0, kept: str = "all") -> None:
        self.rate = rate
        self.kept = kept

    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        self.fits.append(
            {
                "ids": battles["id"].to_list(),
                "columns": battles.columns,
                "labels": labels,
                "weight": sample_weight,
                "groups": groups,
                "context": context,
                "rate": self.rate,
                "pretrained": getattr(self, "pretrained", []),
            }
        )
        assert sample_weight is not None
        self.shares = np.average(labels, axis=0, weights=sample_weight) + 1e-3
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        logits = np.log(self.shares) * self.rate + np.zeros((len(battles), 1))
        return logits.astype(np.float32)

    def save(self, directory: Path) -> None:
        (directory / "shares.json").write_text(json.dumps(self.shares.tolist()))

    def load(self, directory: Path) -> Self:
        self.shares = np.array(json.loads((directory / "shares.json").read_text()))
        return self


class PretrainedSpy(Spy):
    """Has a stage for rows of role pretrain."""

    def pretrain(self, battles: pl.DataFrame, labels: FloatArray, **options: Any) -> Self:
        self.pretrained = battles["id"].to_list()
        return self
