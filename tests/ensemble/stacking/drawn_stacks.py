"""Target rows drawn at random, and stacks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble import MetaFeatures
from ensemble.evaluation.losses import softmax
from ensemble.stacking.data import StackData
from ensemble.stacking.stack import run_stack
from ensemble_plugins.lightgbm_stacker import LightGBMStacker

if TYPE_CHECKING:
    from pathlib import Path


def small_stacker() -> LightGBMStacker:
    return LightGBMStacker(n_estimators=40, min_child_samples=30, learning_rate=0.15, seeds=1)


def draw_data(
    rows: int = 1200, *, kind: str = "noise", learners: int = 2, seed: int = 0
) -> StackData:
    """Draw target rows: learners alike but for noise, or each good on battles of its length."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(rows, 3)) * 1.5
    length = rng.normal(size=rows)
    by_length = np.where(np.column_stack([length > 0, length <= 0]), 0.3, 4.0)
    noise = by_length if kind == "by length" else np.ones((rows, learners))
    logits = truth[:, None] + noise[:, :, None] * rng.normal(size=(rows, learners, 3))
    drawn = (rng.random(rows)[:, None] > softmax(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    clusters = np.arange(rows) // 2
    return StackData(
        ids=[f"battle {i}" for i in range(rows)],
        sources=["arena" if i % 3 else "extra" for i in range(rows)],
        meta=MetaFeatures(
            logits.astype(np.float32),
            ("first", "second", "third")[:learners],
            length.astype(np.float32)[:, None],
            ("length",),
            np.array([0]),
            np.ones(1, np.float32),
        ),
        labels=np.eye(3)[drawn],
        clusters=clusters,
        folds=clusters % 3,
    )


def stack_data(directory: Path, data: StackData, **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "meta_learner": small_stacker,
        "meta_learner_name": "lightgbm",
        "choose": "auto",
        "seed": 0,
        "threads": 1,
        "manifest": {"key": "k"},
        "resamples": 300,
    }
    return run_stack(directory, data, **{**settings, **options})
