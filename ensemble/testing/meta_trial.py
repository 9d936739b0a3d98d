"""A meta-learner that is tried out on logits and features with a known truth."""

from __future__ import annotations

import weakref
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ensemble.errors import EnsembleError, LearnerError
from ensemble.evaluation.losses import softmax
from ensemble.evaluation.ties import neutral_tie
from ensemble.plugin.base import FitContext, MetaFeatures
from ensemble.plugin.faults import call_plugin, plugin_errors
from ensemble.stacking.calls import predict_validated
from ensemble.storage.owned import OwnedPlace
from ensemble.testing.checks import NotAskedError
from ensemble.testing.class_state import class_state
from ensemble.testing.fresh import TRIALS, FreshProcess
from ensemble.testing.watch import Watch, restoring, watching

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.plugin.base import FloatArray, IntArray
    from ensemble.testing.subjects import Subject

ROWS = 300
TOLERANCE = 1e-6
SEED = 11


class MetaData(NamedTuple):
    """What a meta-learner is given."""

    meta: MetaFeatures
    labels: FloatArray
    weight: FloatArray | None
    groups: IntArray | None

    def copy(self) -> MetaData:
        """Copy all arrays."""
        weight = None if self.weight is None else self.weight.copy()
        groups = None if self.groups is None else self.groups.copy()
        return MetaData(copied(self.meta), self.labels.copy(), weight, groups)


def copied(meta: MetaFeatures) -> MetaFeatures:
    """Copy all arrays of what a meta-learner sees."""
    return replace(
        meta,
        logits=meta.logits.copy(),
        features=meta.features.copy(),
        feature_swap=meta.feature_swap.copy(),
        feature_sign=meta.feature_sign.copy(),
    )


@lru_cache(maxsize=2)
def made_up(rows: int = ROWS, seed: int = 5) -> MetaData:
    """Make logits of three learners, one better than the next, and four features with gaps."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(rows, 3)) * [1.5, 1.5, 0.7]
    noise = rng.normal(size=(rows, 3, 3)) * np.array([0.4, 0.7, 1.0])[:, None]
    logits = (truth[:, None, :] + noise).astype(np.float32)
    labels = np.eye(3)[[rng.choice(3, p=row) for row in softmax(truth)]]
    sides, even, odd = rng.normal(size=(rows, 2)), rng.normal(size=rows), rng.normal(size=rows)
    features = np.column_stack([sides, even, odd]).astype(np.float32)
    features[rng.random(features.shape) < 0.1] = np.nan
    meta = MetaFeatures(
        logits,
        ("good", "fair", "poor"),
        features,
        ("length_a", "length_b", "turns", "length_diff"),
        np.array([1, 0, 2, 3]),
        np.array([1, 1, 1, -1], dtype=np.float32),
    )
    return MetaData(meta, labels, np.ones(rows), np.arange(rows) // 2)


def without_features(meta: MetaFeatures) -> MetaFeatures:
    """Leave all features out."""
    return replace(
        meta,
        features=meta.features[:, :0],
        feature_names=(),
        feature_swap=meta.feature_swap[:0],
        feature_sign=meta.feature_sign[:0],
    )


def one_learner(meta: MetaFeatures) -> MetaFeatures:
    """Keep the first learner alone."""
    return replace(meta, logits=meta.logits[:, :1], learners=meta.learners[:1])


def without_ties(meta: MetaFeatures) -> MetaFeatures:
    """Give what a meta-learner sees in a task without ties."""
    return replace(meta, logits=neutral_tie(meta.logits, ties=False), ties=False)


class MetaTrial:
    """A meta-learner, and what it said of rows that it has not learned from.

    Parameters
    ----------
    subject
        The meta-learner.
    """

    fast = False

    def __init__(self, subject: Subject) -> None:
        self.subject, self.name, self.where = subject, subject.name, subject.where
        self._own = OwnedPlace(TRIALS)
        self.place = self._own.path / "trial"
        self.place.mkdir()
        every, self.train_rows = made_up(), ROWS * 2 // 3
        self.train = MetaData(
            every.meta.take(np.arange(self.train_rows)),
            every.labels[: self.train_rows],
            np.ones(self.train_rows),
            np.arange(self.train_rows) // 2,
        )
        self.asked = every.meta.take(np.arange(self.train_rows, ROWS))
        self.asked_labels = every.labels[self.train_rows :]
        self.watch, self.class_state = Watch(), class_state(subject.kind)
        self._made = 0
        self._fresh: list[FreshProcess] = []
        self._finalizer = weakref.finalize(self, _clean, self._own, self._fresh)

    def close(self) -> None:
        """Remove what the trial has written, and end its processes."""
        self._finalizer()

    def prepare(self) -> None:
        """Start the process that will be needed, where one can make the meta-learner."""
        with suppress(*plugin_errors()):
            if self.subject.origin() is not None:
                self._fresh.append(FreshProcess(self._own.path))

    def fresh_process(self) -> FreshProcess:
        """Take a process that knows nothing, or start one."""
        idle = [one for one in self._fresh if not one.taken]
        process = idle[0] if idle else FreshProcess(self._own.path)
        if not idle:
            self._fresh.append(process)
        process.taken = True
        return process

    def directory(self, name: str) -> Path:
        """Make an empty directory."""
        self._made += 1
        place = self.place / f"{name}-{self._made}"
        place.mkdir()
        return place

    def context(self, **changes: Any) -> FitContext:
        """Give the context of a fit."""
        return FitContext(**{"seed": SEED, "threads": 1} | changes)

    def fit(self, data: MetaData | None = None, **context: Any) -> Any:
        """Fit a new instance."""
        data = data or self.train.copy()
        learner = self.subject.make()

        def call() -> Any:
            return learner.fit(
                data.meta,
                data.labels,
                sample_weight=data.weight,
                groups=data.groups,
                context=self.context(**context),
            )

        with restoring(), watching(self.watch):
            found = call_plugin("fit", self.where, call)
        if found is not learner:
            raise self.fault(
                f"fit returned {type(found).__name__}, not the meta-learner",
                "end fit with `return self`",
            )
        return found

    def predict(self, learner: Any, meta: MetaFeatures) -> FloatArray:
        """Give probabilities, every row a distribution."""
        with restoring(), watching(self.watch):
            return predict_validated(learner, meta, self.where)

    @cached_property
    def _base(self) -> tuple[Any, MetaData] | EnsembleError:
        try:
            data = self.train.copy()
            return self.fit(data), data
        except EnsembleError as error:
            return error

    def base(self) -> tuple[Any, MetaData]:
        """Give the first fit, and what it was given; its error too."""
        if isinstance(self._base, EnsembleError):
            raise self._base
        return self._base

    @property
    def learner(self) -> Any:
        """The first fit; ``NotAskedError`` where there is none."""
        if isinstance(self._base, EnsembleError):
            raise NotAskedError("it cannot be fitted")
        return self._base[0]

    @cached_property
    def _said(self) -> FloatArray | EnsembleError:
        try:
            return self.predict(self.base()[0], self.asked)
        except EnsembleError as error:
            return error

    def first(self) -> FloatArray:
        """Give its probabilities of ``asked``; its error too."""
        if isinstance(self._said, EnsembleError):
            raise self._said
        return self._said

    @property
    def said(self) -> FloatArray:
        """Its probabilities of ``asked``; ``NotAskedError`` where there are none."""
        if isinstance(self._said, EnsembleError):
            raise NotAskedError("it gives no probabilities")
        return self._said

    def same(
        self, again: Any, what: str, hint: str, tolerance: float = TOLERANCE
    ) -> dict[str, float]:
        """See that probabilities are those of the first fit."""
        difference = float(np.abs(np.asarray(again) - self.said).max(initial=0.0))
        if not difference <= tolerance:
            raise self.fault(
                f"predict_proba gives other probabilities {what}: they differ by up to "
                f"{difference:.3g}, and at most {tolerance:g} was expected",
                hint,
            )
        return {"difference": difference}

    def fault(self, message: str, hint: str) -> LearnerError:
        """Make an error of this meta-learner."""
        return LearnerError(message, where=self.where, hint=hint)


def _clean(place: OwnedPlace, processes: list[FreshProcess]) -> None:
    for process in processes:
        process.close()
    place.remove()
