"""A sound learner, and the list of those that are made of it and break the contract."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from ensemble.plugin.base import BaseLearner

BROKEN: dict[str, tuple[type[BaseLearner], str, str]] = {}
"""By name: the learner, the check that finds it, and what that says."""


def broken(check: str, says: str) -> Any:
    """Note a learner among the broken ones."""

    def note(kind: type[BaseLearner]) -> type[BaseLearner]:
        BROKEN[kind.__name__] = (kind, check, says)
        return kind

    return note


def characters(battles: pl.DataFrame, side: str) -> Any:
    text = battles[side].list.join(" ", ignore_nulls=True)
    return text.fill_null("").str.len_chars().cast(pl.Float64).to_numpy()


class Sound(BaseLearner):
    """Class shares, and a slope on the difference of lengths; nothing is wrong with it."""

    def __init__(self, strength: float = 1.0, teachers: Sequence[str] = ()) -> None:
        self.strength = strength
        self.teachers = teachers

    def fit(
        self,
        battles: pl.DataFrame,
        labels: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        context: Any,
    ) -> Self:
        weight = np.ones(len(battles)) if sample_weight is None else sample_weight
        for teacher in context.teachers.values():
            spoken = np.isfinite(teacher).any(axis=1, keepdims=True)
            said = np.where(spoken, teacher, 0.0)
            soft = np.exp(said - said.max(axis=1, keepdims=True))
            soft /= soft.sum(axis=1, keepdims=True)
            labels = np.where(spoken, (labels + soft) / 2, labels)
        weight = weight / weight.mean()
        shares = (weight @ labels + 1) / (weight.sum() + 3)
        lean = self._lean(battles) * weight
        self.state_ = {
            "prior": np.log(shares).tolist(),
            "slope": float(self.strength * lean @ (labels[:, 0] - labels[:, 1]) / len(battles)),
        }
        context.progress(1.0, "done")
        return self

    def _lean(self, battles: pl.DataFrame) -> Any:
        return np.tanh(
            (characters(battles, "response_a") - characters(battles, "response_b")) / 500
        )

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        lean = self._lean(battles) * self.state_["slope"]
        logits = np.array(self.state_["prior"]) + np.stack([lean, -lean, 0 * lean], axis=1)
        return logits.astype(np.float32)

    def save(self, directory: Path) -> None:
        (directory / "state.json").write_text(json.dumps(self.state_))

    def load(self, directory: Path) -> Self:
        self.state_ = json.loads((directory / "state.json").read_text())
        return self


class Averages(Sound):
    def average_models(self, directories: Sequence[Path]) -> Self:
        read = [json.loads((one / "state.json").read_text()) for one in directories]
        self.state_ = {
            name: np.mean([state[name] for state in read], axis=0).tolist() for name in read[0]
        }
        return self


class Noisy(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        self.state_["prior"][0] += self.noise(options["context"])
        return self

    def noise(self, context: Any) -> float:
        return 0.0


class Shifted(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles) + self.shift(battles)[:, None] * [1, 0, 0]

    def shift(self, battles: pl.DataFrame) -> Any:
        return np.zeros(len(battles))
