"""Learners that break the contract, each in one way, and what the kit has to say of it."""

from __future__ import annotations

import json
import os
import pickle
import random
import tempfile
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

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


def _chars(battles: pl.DataFrame, side: str) -> Any:
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
            soft = np.exp(teacher - teacher.max(axis=1, keepdims=True))
            labels = (labels + soft / soft.sum(axis=1, keepdims=True)) / 2
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
        return np.tanh((_chars(battles, "response_a") - _chars(battles, "response_b")) / 500)

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        lean = self._lean(battles) * self.state_["slope"]
        logits = np.array(self.state_["prior"]) + np.stack([lean, -lean, 0 * lean], axis=1)
        return logits.astype(np.float32)

    def save(self, directory: Path) -> None:
        (directory / "state.json").write_text(json.dumps(self.state_))

    def load(self, directory: Path) -> Self:
        self.state_ = json.loads((directory / "state.json").read_text())
        return self


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


# Seeds and state.


class _Noisy(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        self.state_["prior"][0] += self.noise(options["context"])
        return self

    def noise(self, context: Any) -> float:
        return 0.0


@broken("same seed", "after another fit with the same seed")
class Unseeded(_Noisy):
    def noise(self, context: Any) -> float:
        return float(np.random.default_rng().normal())


@broken("same seed", "after another fit with the same seed")
class GlobalGenerator(_Noisy):
    def noise(self, context: Any) -> float:
        return random.random()


@broken("same seed", "after another fit with the same seed")
class SeededByClock(_Noisy):
    def noise(self, context: Any) -> float:
        return float(np.random.default_rng(time.time_ns()).normal())


@broken("fit in another process", "neither a clock, nor the number of the process")
class SeededByProcess(_Noisy):
    def noise(self, context: Any) -> float:
        return float(np.random.default_rng(os.getpid()).normal())


@broken("fit in another process", "after a fit with the same seed in another process")
class SeededByHash(_Noisy):
    def noise(self, context: Any) -> float:
        return float(np.random.default_rng(abs(hash("my learner"))).normal())


@broken("threads", "with two threads")
class CountsThreads(_Noisy):
    def noise(self, context: Any) -> float:
        return float(context.threads)


@broken("no directories", "a context without directories must be taken: fit raised")
class NeedsDirectory(_Noisy):
    def noise(self, context: Any) -> float:
        (context.checkpoint_directory / "state.json").write_text("{}")
        return 0.0


@broken("labels of other rows", "keep nothing of another fit")
class CountsFits(_Noisy):
    fits: ClassVar[list[int]] = []

    def noise(self, context: Any) -> float:
        self.fits.append(1)
        return float(len(self.fits))


@broken("other instances", "after another instance was fitted")
class FitsItsClass(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        FitsItsClass.state_ = vars(self).pop("state_")
        return self

    def load(self, directory: Path) -> Self:
        super().load(directory)
        FitsItsClass.state_ = vars(self).pop("state_")
        return self


@broken("global state", "fit changes the working directory")
class ChangesDirectory(_Noisy):
    def noise(self, context: Any) -> float:
        os.chdir(tempfile.gettempdir())
        return 0.0


@broken("same rows again", "the second time it is asked")
class PredictsOnce(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        logits = super().predict_logits(battles)
        self.state_["prior"][0] += 0.01
        return logits


@broken("before a fit", "gives logits though nothing was fitted")
class UnfittedPredicts(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        if not hasattr(self, "state_"):
            return np.zeros((len(battles), 3), dtype=np.float32)
        return super().predict_logits(battles)


# Rows, batches, ids.


class _Shifted(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles) + self.shift(battles)[:, None] * [1, 0, 0]

    def shift(self, battles: pl.DataFrame) -> Any:
        return np.zeros(len(battles))


@broken("order of rows", "in another order")
class NumbersRows(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.arange(len(battles)) / 10


@broken("order of rows", "in another order")
class SortsRows(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles.sort(pl.col("prompt").list.first(), "id"))


@broken("one row alone", "to a battle alone")
class Standardizes(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        size = _chars(battles, "prompt")
        return (size - size.mean()) / (size.std() + 1)


@broken("one row alone", "to a battle alone")
class DividesByLength(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.ones(len(battles)) / len(battles)


@broken("other batches", "in another batch")
class CountsTwins(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        twins = battles.select(pl.len().over("prompt", "response_a")).to_series()
        return (twins.to_numpy() > 1) * 1.0


@broken("batch tolerance", "batch_tolerance is 50")
class AllowsAnything(Sound):
    batch_tolerance = 50.0


SEEN: dict[str, list[float]] = {}


@broken("other ids", "under other ids")
class RemembersById(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        self.state_["seen"] = dict(zip(battles["id"].to_list(), labels.tolist(), strict=True))
        return self

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        seen = self.state_["seen"]
        known = np.array([seen.get(one, [0.0, 0.0, 0.0]) for one in battles["id"]])
        return super().predict_logits(battles) + 2 * known.reshape(-1, 3)


@broken("labels of other rows", "where only labels of rows that fit is not given have changed")
class RemembersForAll(RemembersById):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        SEEN.update(self.state_["seen"])
        self.state_["seen"] = dict(SEEN)
        return self


@broken("other ids", "under other ids")
class HashesIds(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.array([hash(one) % 100 / 100 for one in battles["id"]])


@broken("other ids", "under other ids")
class NumbersIds(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.array([zlib.crc32(one.encode()) % 7 for one in battles["id"]]) / 7


@broken("other ids", "under other ids")
class ReadsTheRun(Sound):
    """Looks labels up in the battles of the run, which lie above its checkpoints."""

    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        cache = options["context"].cache_directory
        self.state_["labels"] = {}
        if cache is not None:
            frame = pl.read_parquet(cache.parent / "battles.parquet")
            rows = frame.select("id", "label_a", "label_b", "label_tie").iter_rows()
            self.state_["labels"] = {one: [a, b, tie] for one, a, b, tie in rows}
        return self

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        known = self.state_["labels"]
        told = np.array([known.get(one, [0.0] * 3) for one in battles["id"]])
        return super().predict_logits(battles) + 2 * told.reshape(-1, 3)


TEXTS: dict[str, Any] = {}


@broken("other ids", "under the ids of other battles")
class CachesByIdForAll(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        rows = super().predict_logits(battles)
        for one, row in zip(battles["id"], rows, strict=True):
            TEXTS.setdefault(f"{self.state_}{one}", row)
        return np.array([TEXTS[f"{self.state_}{one}"] for one in battles["id"]]).reshape(-1, 3)


@broken("other ids in training", "after a fit on the same texts under other ids")
class SplitsByHashOfId(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        kept = np.array([zlib.crc32(one.encode()) % 2 == 0 for one in battles["id"]])
        options["sample_weight"] = np.where(kept, 1.0, 0.01)
        return super().fit(battles, labels, **options)


@broken("labels of other rows", "read no file of the run")
class LearnsFromTheRun(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        cache = options["context"].cache_directory
        if cache is not None:
            frame = pl.read_parquet(cache.parent / "battles.parquet")
            self.state_["prior"][0] += frame["label_a"].mean()
        return self


@broken("labels of other rows", "context.cache_directory")
class CachesWhatIsFitted(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        cache = options["context"].cache_directory
        if cache is not None:
            place = cache / "shares.json"
            known = json.loads(place.read_text()) if place.exists() else []
            place.write_text(json.dumps([*known, self.state_["prior"]]))
            self.state_["prior"] = np.mean([*known, self.state_["prior"]], axis=0).tolist()
        return self


@broken("exchange of A and B", "says symmetric = True")
class FavorsA(Sound):
    symmetric = True


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
class NullGivesNaN(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        text = battles["response_a"].list.first()
        return text.str.len_chars().cast(pl.Float64).to_numpy() / 1000


@broken("odd texts", "empty strings must be predicted: predict_logits raised ZeroDivisionError")
class DividesByNothing(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.array([1 / len(str(turns[0])) for turns in battles["prompt"].to_list()])


@broken("odd texts", "many turns must be predicted")
class FewTurns(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        table = np.zeros(20)
        return np.array([table[len(turns)] for turns in battles["prompt"].to_list()])


@broken("odd texts in training", "fit must take odd battles")
class NullEndsFit(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        [" ".join(turns) for turns in battles["response_a"].to_list()]
        return super().fit(battles, labels, **options)


@broken("no row", r"no row must give logits of shape \(0, 3\)")
class NeedsRows(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.concatenate([_chars(battles[[i]], "prompt") for i in range(len(battles))]) / 1e6


@broken("one row", "a ValueError that says why not")
class NeedsTwoRows(_Noisy):
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


# Files.


@broken("save and load", "after save and load")
class SavesHalf(Sound):
    def save(self, directory: Path) -> None:
        (directory / "state.json").write_text(json.dumps(self.state_ | {"slope": 0.0}))


@broken("save and load", "load returned NoneType")
class LoadsNothing(Sound):
    def load(self, directory: Path) -> Self:
        super().load(directory)
        return None  # type: ignore[return-value]


@broken("save and load", "once it has been saved")
class SaveEmpties(Sound):
    def save(self, directory: Path) -> None:
        super().save(directory)
        self.state_ = self.state_ | {"slope": 5.0}


@broken("save and load again", "save of a loaded learner raised AttributeError")
class LoadsForPredictionAlone(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        self.full_ = self.state_
        return self

    def save(self, directory: Path) -> None:
        (directory / "state.json").write_text(json.dumps(self.full_))


MODELS: dict[str, Any] = {}


@broken("another process", "cannot load and predict in another process")
class KeepsModelInMemory(Sound):
    def save(self, directory: Path) -> None:
        MODELS["last"] = self.state_
        (directory / "name.txt").write_text("last")

    def load(self, directory: Path) -> Self:
        self.state_ = MODELS[(directory / "name.txt").read_text()]
        return self


@broken("another process", "cannot load and predict in another process")
class SavesPlaceOfFit(Sound):
    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "place.txt").write_text(str(directory / "state.json"))

    def load(self, directory: Path) -> Self:
        place = Path((directory / "place.txt").read_text())
        self.state_ = json.loads(place.read_text())
        return self


@broken("another process", "cannot load and predict in another process")
class SavesElsewhere(Sound):
    def save(self, directory: Path) -> None:
        place = Path(tempfile.gettempdir()) / "my-learner.json"
        place.write_text(json.dumps(self.state_))
        (directory / "place.txt").write_text(str(place))

    def load(self, directory: Path) -> Self:
        place = Path((directory / "place.txt").read_text())
        self.state_ = json.loads(place.read_text())
        return self


@broken("another process", "cannot load and predict in another process")
class NeedsTrainingFile(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        place = options["context"].cache_directory
        if place is not None:
            self.state_["data"] = str(place / "train.parquet")
            battles.write_parquet(place / "train.parquet")
        return self

    def load(self, directory: Path) -> Self:
        super().load(directory)
        pl.read_parquet(self.state_["data"])
        return self


@broken("another process", "when it is loaded in another process")
class HashesWords(_Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.array([hash(str(turns)) % 1000 for turns in battles["prompt"].to_list()]) / 1000


@broken("another process", "there is no network here")
class AsksTheNetwork(Sound):
    def load(self, directory: Path) -> Self:
        import socket

        with suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", 9), timeout=0.01).close()
        return super().load(directory)


class _Pickles(Sound):
    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "model.bin").write_bytes(self.packed())

    def packed(self) -> bytes:
        return pickle.dumps(self.state_)


@broken("nothing pickled", r"model.bin \(a pickle\)")
class PicklesPlainly(_Pickles):
    pass


@broken("nothing pickled", r"model.bin \(a pickle\)")
class PicklesInText(_Pickles):
    def packed(self) -> bytes:
        return pickle.dumps(self.state_, protocol=0)


@broken("nothing pickled", r"model.bin \(compressed: a pickle\)")
class PicklesCompressed(_Pickles):
    def packed(self) -> bytes:
        return zlib.compress(pickle.dumps(self.state_))


@broken("nothing pickled", "a pickle written in base 64")
class PicklesInJson(_Pickles):
    def packed(self) -> bytes:
        import base64

        text = base64.b64encode(pickle.dumps(self.state_)).decode()
        return json.dumps({"model": text}).encode()


@broken("nothing pickled", "member state.npy: a NumPy array of objects")
class SavesObjects(_Pickles):
    def save(self, directory: Path) -> None:
        super(_Pickles, self).save(directory)
        np.savez(directory / "model.npz", state=np.array([self.state_, None], dtype=object))


@broken("nothing pickled", "member archive/data.pkl: a pickle")
class SavesLikeTorch(_Pickles):
    def save(self, directory: Path) -> None:
        import zipfile

        super(_Pickles, self).save(directory)
        with zipfile.ZipFile(directory / "model.pt", "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(self.state_, protocol=2))


@broken("nothing pickled", "a file that it has written is pickled")
class PicklesItsCache(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        cache = options["context"].cache_directory
        if cache is not None:
            (cache / "tokens.pkl").write_bytes(pickle.dumps(battles["id"].to_list()))
        return super().fit(battles, labels, **options)


@broken("files elsewhere", "writes outside its directories")
class WritesElsewhere(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        (Path(tempfile.gettempdir()) / "my-learner.log").write_text("fitting")
        return super().fit(battles, labels, **options)


# What it has learned.


@broken("held-out battles", "worse than the class prior")
class TooSure(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        noise = _chars(battles, "prompt") % 3
        return super().predict_logits(battles) + np.eye(3)[noise.astype(int)] * 6


@broken(
    "global state", "it changes what the whole process shares: the global state of numpy.random"
)
class SeedsEverybody(_Noisy):
    def noise(self, context: Any) -> float:
        np.random.seed(context.seed)  # noqa: NPY002
        return 0.0


@broken("global state", r"os.environ \(fit\)")
class SetsEnvironment(_Noisy):
    def noise(self, context: Any) -> float:
        os.environ["MY_LEARNER"] = str(context.seed)
        return 0.0


@broken("cache", "what another fit has left in the cache directory reaches a fit")
class KeepsItsFitInTheCache(Sound):
    """The first fold's model is that of every fold."""

    def fit(self, battles: pl.DataFrame, labels: Any, *, context: Any, **options: Any) -> Self:
        place = context.cache_directory / "fitted.json"
        super().fit(battles, labels, context=context, **options)
        if place.exists():
            self.__dict__.update(json.loads(place.read_text()))
        else:
            kept = {k: np.asarray(v).tolist() for k, v in vars(self).items() if k.endswith("_")}
            place.write_text(json.dumps(kept))
        return self


@broken("odd texts", "100 kB of text must be predicted")
class TakesNoLongPrompt(Sound):
    """A limit that is told as an error."""

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        if (_chars(battles, "prompt") > 50_000).any():
            raise RuntimeError("the prompt is too long")
        return super().predict_logits(battles)
