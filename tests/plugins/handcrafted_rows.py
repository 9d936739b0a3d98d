"""Rows whose answers have a shape that tells the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray, IntArray

FAST: dict[str, Any] = {
    "features": ["length", "markdown"],
    "n_models": 2,
    "n_estimators": 40,
    "early_stopping_rounds": 10,
    "learning_rate": 0.1,
    "feature_fraction": 0.5,
}
CLASS_OF_SHAPE = np.eye(3)


def make_rows(rows: int, seed: int = 0) -> tuple[pl.DataFrame, FloatArray, IntArray]:
    """Battles in which the longer response mostly wins; equal lengths are a tie."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 4, size=(rows, 2)) * 20 + 1
    a, b = (["x " * n for n in lengths[:, side]] for side in (0, 1))
    winner = np.where(
        lengths[:, 0] > lengths[:, 1], 0, np.where(lengths[:, 0] < lengths[:, 1], 1, 2)
    )
    winner = np.where(random.random(rows) < 0.1, random.integers(0, 3, rows), winner)
    battles = pl.DataFrame(
        {
            "id": [f"{seed}-{i}" for i in range(rows)],
            "prompt": [[f"question {i} {seed}"] for i in range(rows)],
            "response_a": [[text, None] for text in a],
            "response_b": [[text, None] for text in b],
        }
    )
    return battles, CLASS_OF_SHAPE[winner], np.arange(rows, dtype=np.int64) // 2


def log_loss(logits: np.ndarray, labels: FloatArray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(labels * log_probability).sum(axis=1).mean())
