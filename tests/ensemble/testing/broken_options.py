"""Broken learners: weights, labels and other options, and edges."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from tests.ensemble.testing.sound_learner import Noisy, Shifted, Sound, broken, characters

# Weights, labels and the rest.


@broken("sample weights", "sample_weight = None must mean that all rows count the same")
class NeedsWeights(Sound):
    def fit(self, battles: Any, labels: Any, *, sample_weight: Any = None, **options: Any) -> Self:
        return super().fit(battles, labels, sample_weight=sample_weight * 1.0, **options)


@broken("sample weights", "sample_weight changes nothing")
class NoWeights(Sound):
    def fit(self, battles: Any, labels: Any, *, sample_weight: Any = None, **options: Any) -> Self:
        return super().fit(battles, labels, **options)


@broken("sample weights", "only their ratios should matter")
class SumsWeights(Sound):
    def fit(self, battles: Any, labels: Any, *, sample_weight: Any = None, **options: Any) -> Self:
        super().fit(battles, labels, sample_weight=sample_weight, **options)
        self.state_["slope"] *= 1.0 if sample_weight is None else float(sample_weight.mean())
        return self


@broken("soft labels", "only the largest class is used")
class HardensLabels(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        return super().fit(battles, np.eye(3)[labels.argmax(axis=1)], **options)


@broken("soft labels", "fit must take soft labels")
class NeedsHardLabels(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        assert ((labels == 0) | (labels == 1)).all()
        return super().fit(battles, labels, **options)


@broken("groups", "groups = None must be taken")
class NeedsGroups(Sound):
    def fit(self, battles: Any, labels: Any, *, groups: Any = None, **options: Any) -> Self:
        groups.max()
        return super().fit(battles, labels, **options)


@broken("offset", "context.offset changes nothing")
class ForgetsOffset(Sound):
    takes_offset = True


@broken("teachers", "other logits of its teachers change nothing")
class IgnoresTeachers(Sound):
    def fit(self, battles: Any, labels: Any, *, context: Any, **options: Any) -> Self:
        from dataclasses import replace

        return super().fit(battles, labels, context=replace(context, teachers={}), **options)


@broken("pretrain", "pretrain must be followed by fit")
class PretrainLeavesTraces(Sound):
    def pretrain(self, battles: Any, labels: Any, **options: Any) -> Self:
        self.state_ = None  # type: ignore[assignment]
        self.pretrained_ = True
        return self

    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        if hasattr(self, "pretrained_"):
            raise RuntimeError("already fitted")
        return super().fit(battles, labels, **options)


# Edges.


@broken("odd texts", "responses that are null must be predicted: .*NaN")
class NullGivesNaN(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        text = battles["response_a"].list.first()
        return text.str.len_chars().cast(pl.Float64).to_numpy() / 1000


@broken("odd texts", "empty strings must be predicted: predict_logits raised ZeroDivisionError")
class DividesByNothing(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.array([1 / len(str(turns[0])) for turns in battles["prompt"].to_list()])


@broken("odd texts", "many turns must be predicted")
class FewTurns(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        table = np.zeros(20)
        return np.array([table[len(turns)] for turns in battles["prompt"].to_list()])


@broken("odd texts in training", "fit must take odd battles")
class NullEndsFit(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        [" ".join(turns) for turns in battles["response_a"].to_list()]
        return super().fit(battles, labels, **options)


@broken("no row", r"no row must give logits of shape \(0, 3\)")
class NeedsRows(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return (
            np.concatenate([characters(battles[[i]], "prompt") for i in range(len(battles))]) / 1e6
        )


@broken("one row", "a ValueError that says why not")
class NeedsTwoRows(Noisy):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        _ = labels.tolist()[1]
        return super().fit(battles, labels, **options)


@broken("one class", "must give finite logits")
class LogarithmOfNothing(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        with np.errstate(divide="ignore"):
            self.state_["prior"] = np.log(labels.mean(axis=0)).tolist()
        return self


@broken("labels without ties", "without ties must give finite logits")
class DividesByTies(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        with np.errstate(divide="ignore"):
            self.state_["prior"] = (labels.mean(axis=0) + 1e-9 / labels.sum(axis=0)).tolist()
        return self


@broken("order of classes", "not in the order of the classes")
class SidesExchanged(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles)[:, [1, 0, 2]]


@broken("order of classes", "not in the order of the classes")
class TiesFirst(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles)[:, [2, 0, 1]]


class _Steps(Sound):
    """Learns in steps, and keeps a checkpoint."""

    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        context = options["context"]
        if context.checkpoint_directory is None:
            return self
        place = context.checkpoint_directory / "step.json"
        done = json.loads(place.read_text()) if place.exists() else 0
        for step in range(done, 4):
            self.step(step)
            place.write_text(json.dumps(step + 1))
            context.progress((step + 1) / 4)
        return self

    def step(self, number: int) -> None:
        """Learn."""


@broken("interrupted fit", "was interrupted at report 1 of 5 and resumed|was interrupted at report")
class LosesSteps(_Steps):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        if options["context"].checkpoint_directory is None:
            options["context"] = _with_directory(options["context"])
        return super().fit(battles, labels, **options)

    def step(self, number: int) -> None:
        self.state_["prior"][0] += 0.1


def _with_directory(context: Any) -> Any:
    from dataclasses import replace

    return replace(context, checkpoint_directory=Path(tempfile.mkdtemp()))


@broken("interrupted fit", "swallows KeyboardInterrupt")
class SwallowsInterrupt(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        with suppress(BaseException):
            super().fit(battles, labels, **options)
        return self
