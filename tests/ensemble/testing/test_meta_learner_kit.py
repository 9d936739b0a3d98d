"""The kit on meta-learners: sound ones pass, each broken one is told what is wrong with it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from ensemble.evaluation.losses import softmax
from ensemble.plugin.base import MetaLearner
from ensemble.stacking.candidates import BestSingle, Blend, Mean, VectorScaling
from ensemble.testing import check_meta_learner

BROKEN: dict[str, tuple[type[MetaLearner], str]] = {}


def broken(says: str) -> Any:
    """Note a meta-learner among the broken ones."""

    def note(kind: type[MetaLearner]) -> type[MetaLearner]:
        BROKEN[kind.__name__] = (kind, says)
        return kind

    return note


class Scaled(MetaLearner):
    """The mean of logits, scaled; nothing is wrong with it."""

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength

    def fit(
        self,
        meta: Any,
        labels: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        context: Any,
    ) -> Self:
        weight = np.ones(len(labels)) if sample_weight is None else sample_weight
        self.bias_ = np.log((weight @ labels + 1) / (weight.sum() + 3)) * 0.1
        return self

    def predict_proba(self, meta: Any) -> Any:
        return softmax(meta.logits.mean(axis=1) * self.strength + self.bias_)

    def save(self, directory: Path) -> None:
        (directory / "bias.json").write_text(json.dumps(self.bias_.tolist()))

    def load(self, directory: Path) -> Self:
        self.bias_ = np.array(json.loads((directory / "bias.json").read_text()))
        return self


@broken("rows are not distributions")
class GivesLogits(Scaled):
    def predict_proba(self, meta: Any) -> Any:
        return meta.logits.mean(axis=1)


@broken(r"shape \(100, 2\)")
class TwoClasses(Scaled):
    def predict_proba(self, meta: Any) -> Any:
        return super().predict_proba(meta)[:, :2]


@broken("fit returned NoneType")
class FitsNothing(Scaled):
    def fit(self, *data: Any, **options: Any) -> Self:
        super().fit(*data, **options)
        return None  # type: ignore[return-value]


@broken("in another order|to a row alone")
class Centers(Scaled):
    def predict_proba(self, meta: Any) -> Any:
        logits = meta.logits.mean(axis=1)
        return softmax(logits - logits.mean(axis=0) + self.bias_)


@broken("in another order")
class NumbersRows(Scaled):
    def predict_proba(self, meta: Any) -> Any:
        rows = np.arange(len(meta))[:, None] * [0.01, 0, 0]
        return softmax(meta.logits.mean(axis=1) + rows)


@broken("after another fit with the same seed")
class Unseeded(Scaled):
    def fit(self, *data: Any, **options: Any) -> Self:
        super().fit(*data, **options)
        self.bias_ += np.random.default_rng().normal(size=3)
        return self


@broken("fit changes the logits or features")
class ChangesLogits(Scaled):
    def fit(self, meta: Any, labels: Any, **options: Any) -> Self:
        meta.logits[:] -= meta.logits.mean(axis=2, keepdims=True)
        return super().fit(meta, labels, **options)


@broken("predict_proba changes the arrays")
class ChangesAsked(Scaled):
    def predict_proba(self, meta: Any) -> Any:
        found = super().predict_proba(meta)
        meta.logits[:] = 0
        return found


@broken("fit changes the labels")
class ChangesLabels(Scaled):
    def fit(self, meta: Any, labels: Any, **options: Any) -> Self:
        labels *= 0.9
        return super().fit(meta, labels, **options)


@broken("features may be NaN: .*rows are not finite")
class NeedsFeatures(Scaled):
    def predict_proba(self, meta: Any) -> Any:
        known = np.isnan(meta.features).any() and not np.isnan(meta.features).all()
        extra = 0 if known or not meta.features.size else meta.features.mean()
        return softmax(meta.logits.mean(axis=1) + self.bias_ + extra)


@broken("no feature must do")
class IndexesFeature(Scaled):
    def fit(self, meta: Any, labels: Any, **options: Any) -> Self:
        meta.feature_names.index("turns")
        return super().fit(meta, labels, **options)


@broken("one learner must do")
class NeedsThree(Scaled):
    def predict_proba(self, meta: Any) -> Any:
        return softmax(meta.logits[:, 0] + meta.logits[:, 2] + self.bias_)


@broken("no row must do")
class NeedsRows(Scaled):
    def predict_proba(self, meta: Any) -> Any:
        logits = meta.logits.mean(axis=1) + self.bias_
        return softmax(logits - logits.max() * 0)


@broken("logits of 10,000 must do")
class Overflows(Scaled):
    def predict_proba(self, meta: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            odds = np.exp(meta.logits.mean(axis=1).astype(np.float64))
            return odds / odds.sum(axis=1, keepdims=True)


@broken("sample_weight = None must be taken")
class NeedsWeight(Scaled):
    def fit(self, meta: Any, labels: Any, *, sample_weight: Any = None, **options: Any) -> Self:
        return super().fit(meta, labels, sample_weight=sample_weight * 1.0, **options)


@broken("after save and load")
class Forgets(Scaled):
    def load(self, directory: Path) -> Self:
        self.bias_ = np.ones(3) * [1, 0, 0]
        return self


@broken("load returned NoneType")
class LoadsNothing(Scaled):
    def load(self, directory: Path) -> Self:
        return None  # type: ignore[return-value]


@broken(r"bias.pkl \(a pickle\)")
class Pickles(Scaled):
    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "bias.pkl").write_bytes(pickle.dumps(self.bias_))


@broken("says symmetric = True")
class FavorsA(Scaled):
    symmetric = True


@broken("after another instance was fitted")
class FitsItsClass(Scaled):
    def fit(self, *data: Any, **options: Any) -> Self:
        super().fit(*data, **options)
        FitsItsClass.bias_ = vars(self).pop("bias_")
        return self


@broken("that of the class prior")
class TiesFirst(Scaled):
    def predict_proba(self, meta: Any) -> Any:
        return super().predict_proba(meta)[:, [2, 0, 1]]


@broken("a task without ties must do")
class DividesByTies(Scaled):
    def fit(self, meta: Any, labels: Any, **options: Any) -> Self:
        super().fit(meta, labels, **options)
        with np.errstate(divide="ignore"):
            self.bias_ = self.bias_ + 1e-9 / labels.sum(axis=0)
        return self

    def predict_proba(self, meta: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return super().predict_proba(meta)


MODELS: dict[str, Any] = {}


@broken("cannot load and predict in another process: KeyError")
class InMemory(Scaled):
    def save(self, directory: Path) -> None:
        MODELS["last"] = self.bias_

    def load(self, directory: Path) -> Self:
        self.bias_ = MODELS["last"]
        return self


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_meta_learner_is_caught(name: str) -> None:
    kind, says = BROKEN[name]
    found = check_meta_learner(kind, raises=False)
    told = [one.detail for one in (*found.failed, *found.warnings)]
    with pytest.raises(ValueError, match=f"(?s){says}"):
        raise ValueError("\n".join(told))


@pytest.mark.parametrize("kind", [Scaled, BestSingle, Mean, Blend, VectorScaling])
def test_sound_meta_learners_pass(kind: type[MetaLearner]) -> None:
    assert [one.line() for one in check_meta_learner(kind).warnings] == []


@pytest.mark.slow
def test_the_stacker_of_the_toolkit_passes() -> None:
    assert [one.line() for one in check_meta_learner("lightgbm").warnings] == []
