"""Broken learners: parameters, the constructor, and what comes back."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from tests.ensemble.testing.sound_learner import Sound, broken

# Parameters and the constructor.


@broken("constructor", r"takes \*\*options: its parameters cannot be told")
class TakesAnything(Sound):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)


@broken("constructor", 'default of parameter "layers" is a list, which all instances share')
class SharesDefault(Sound):
    def __init__(self, layers: list[int] = [64]) -> None:  # noqa: B006
        super().__init__()
        self.layers = layers


@broken("constructor", "the constructor writes files")
class WritesWhenMade(Sound):
    def __init__(self, strength: float = 1.0) -> None:
        super().__init__(strength)
        (Path(tempfile.gettempdir()) / "made-by-a-constructor").write_text("x")


@broken("constructor", r"the constructor takes \d\.\d s")
class SlowToMake(Sound):
    def __init__(self, strength: float = 1.0) -> None:
        super().__init__(strength)
        time.sleep(2.1)


@broken("constructor", '"seeds", which is a key of every')
class TakesSeeds(Sound):
    def __init__(self, seeds: int = 1) -> None:
        super().__init__()
        self.seeds = seeds


@broken("parameters stored as given", 'does not store parameter "rate" under its own name')
class Renames(Sound):
    def __init__(self, rate: float = 1.0) -> None:
        super().__init__(rate)


@broken("files in parameters", 'parameter "words" is a text, .* annotate words with Path')
class NamesFileByText(Sound):
    def __init__(self, words: tuple[str, ...] = ("none", __file__)) -> None:
        super().__init__()
        self.words = words


@broken("parameters stored as given", 'parameter "names" is not stored as given: None was given')
class FillsInDefault(Sound):
    def __init__(self, names: list[str] | None = None) -> None:
        super().__init__()
        self.names = names or ["length"]


@broken("parameters stored as given", 'parameter "rate" is not stored as given: 1.0 was given')
class Converts(Sound):
    def __init__(self, rate: float = 1.0) -> None:
        super().__init__()
        self.rate = int(rate)


@broken("parameters stored as given", "cannot be written as JSON")
class HoldsFunction(Sound):
    def __init__(self, activation: Any = abs) -> None:
        super().__init__()
        self.activation = activation


@broken("parameters in a config", 'do not come back from a config: parameter "rate"')
class WrongAnnotation(Sound):
    def __init__(self, rate: int = 0.5) -> None:  # type: ignore[assignment]
        super().__init__()
        self.rate = rate


@broken("parameters after a fit", 'fit changes the parameter "strength"')
class ChangesParameter(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        self.strength *= 2
        return self


@broken("contract", "fit cannot be called as it will be")
class OldSignature(Sound):
    def fit(self, battles: Any, labels: Any, weights: Any) -> Self:  # type: ignore[override]
        return self


@broken("contract", "batch_tolerance gives 'none'")
class OddTolerance(Sound):
    batch_tolerance = "none"  # type: ignore[assignment]


# What comes back.


@broken("fit", "fit raised KeyError")
class RaisesInFit(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        raise KeyError("winner")


@broken("fit returns the learner", "fit returned NoneType, not the learner")
class ReturnsNothing(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        return None  # type: ignore[return-value]


@broken("logits", r"no array|shape \(\)")
class PredictsNone(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return None


@broken("logits", r"shape \(\d+, 2\), not \(\d+, 3\)")
class TwoColumns(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles)[:, :2]


@broken("logits", "probabilities, not logits")
class Probabilities(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        odds = np.exp(super().predict_logits(battles))
        return odds / odds.sum(axis=1, keepdims=True)


@broken("logits", "not floats")
class Integers(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles).argsort(axis=1)


@broken("logits", "predict_logits changes the battles")
class ChangesAsked(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        battles.insert_column(0, pl.Series("bias", [1] * len(battles)))
        return super().predict_logits(battles)


@broken("inputs", "fit changes the labels")
class ChangesLabels(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        labels += 0.01
        return super().fit(battles, labels, **options)


@broken("inputs", "fit changes the sample_weight")
class ChangesWeights(Sound):
    def fit(self, battles: Any, labels: Any, *, sample_weight: Any = None, **options: Any) -> Self:
        if sample_weight is not None:
            sample_weight *= 2
        return super().fit(battles, labels, sample_weight=sample_weight, **options)


@broken("inputs", "fit changes the battles")
class ChangesBattles(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        nothing = pl.Series("prompt", [None] * len(battles), dtype=pl.List(pl.String))
        battles.replace_column(1, nothing)
        return super().fit(battles, labels, **options)


@broken("inputs", "once the arrays that fit was given have changed")
class KeepsReference(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        self.labels_ = labels
        return self

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles) + self.labels_[:, 0].mean() * np.eye(3)[0]

    def save(self, directory: Path) -> None:
        self.state_["prior"][0] += self.labels_[:, 0].mean()
        super().save(directory)
        self.state_["prior"][0] -= self.labels_[:, 0].mean()

    def load(self, directory: Path) -> Self:
        self.labels_ = np.zeros((1, 3))
        return super().load(directory)
