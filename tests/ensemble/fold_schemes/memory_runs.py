"""Runs of a learner that knows the label of each prompt that it was taught: a leak shows."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from ensemble import BaseLearner, hookimpl
from ensemble.config.load import load_config

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble import Config, Run
    from ensemble.plugin.base import FloatArray, LogitArray, Register

ROWS, UNKNOWN = 160, math.log(3)


class Memory(BaseLearner):
    """Knows the label of each prompt that it has been taught, and nothing else."""

    version = "1"
    cheap = True

    def fit(self, battles: pl.DataFrame, labels: FloatArray, **_: Any) -> Self:
        prompts = [turns[0] for turns in battles["prompt"]]
        self.known = {p: label.tolist() for p, label in zip(prompts, labels, strict=True)}
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        known = [self.known.get(turns[0], [0.0] * 3) for turns in battles["prompt"]]
        return 4 * np.array(known, dtype=np.float32).reshape(-1, 3)

    def save(self, directory: Path) -> None:
        (directory / "known.json").write_text(json.dumps(self.known))

    def load(self, directory: Path) -> Self:
        self.known = json.loads((directory / "known.json").read_text())
        return self


class MemoryPlugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("memory", Memory)


def made_rows(prefix: str, count: int, seed: int) -> dict[str, Any]:
    """Battles in pairs of one prompt and one label, so that a leaked prompt tells the label."""
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice(list("bcdfglmnprst"), 7)) for _ in range(600)])
    pair = np.arange(count) % (count // 2)
    prompts = [" ".join(rng.choice(words, 12)) for _ in range(count // 2)]
    return {
        "id": [f"{prefix}{i}" for i in range(count)],
        "prompt": [prompts[k] for k in pair],
        "response_a": [" ".join(rng.choice(words, 9)) for _ in range(count)],
        "response_b": [" ".join(rng.choice(words, 9)) for _ in range(count)],
        "winner": [("model_a", "model_b", "tie")[k % 3] for k in pair],
    }


def write_config(place: Path, folds: str, extra: str = "extra.csv", stack: str = "none") -> Config:
    text = f"""
run_dir = "run"
seed = 5
[[sources]]
name = "arena"
path = "train.csv"
role = "target"
text_format = "plain"
[[sources]]
name = "extra"
path = "{extra}"
role = "train"
text_format = "plain"
[test]
path = "test.csv"
text_format = "plain"
[folds]
{folds}
[[learners]]
name = "memory"
plugin = "memory"
[[learners]]
name = "prior"
plugin = "prior"
[stack]
meta_learner = "{stack}"
resamples = 200
"""
    (place / "config.toml").write_text(text)
    return load_config(place / "config.toml")


def log_loss_of_memory(done: Run) -> float:
    rows = done.scores().filter(pl.col("name") == "memory")
    return float(rows["log_loss"][0])


def read_fold_record(place: Path) -> dict[str, Any]:
    return dict(json.loads((place / "run" / "folds.json").read_text()))
