"""Learners of tiny models that fit in a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.plugin.manager import get_manager
from ensemble.plugin.parameters import build

if TYPE_CHECKING:
    from pathlib import Path

FAMILIES = {"gemma2-lora": "gemma2", "llama3-lora": "llama3", "deberta": "deberta"}
QUICK: dict[str, Any] = {
    "train_length": 150,
    "predict_length": 170,
    "batch_size": 6,
    "token_budget": 400,
    "predict_token_budget": 500,
    "learning_rate": 5e-3,
    "head_learning_rate": 5e-3,
    "rank": 4,
    "alpha": 8.0,
    "warmup_ratio": 0.0,
}


def make_learner(plugin: str, model: Path | str, **changes: Any) -> Any:
    kind = get_manager().base_learners.get(plugin)
    return build(kind, {"model": str(model), **QUICK, **changes}, where=plugin)
