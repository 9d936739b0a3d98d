"""Fitted models as they come back from their files: one, or one for each seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from ensemble.errors import LearnerError
from ensemble.oof.calls import predict_validated
from ensemble.plugin.base import BaseLearner
from ensemble.plugin.contract import tolerance_of
from ensemble.plugin.faults import call_plugin

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import LogitArray


def seed_name(seed: int) -> str:
    """Name the directory of one seed's model."""
    return f"seed-{seed}"


def load_model(spec: LearnerSpec, directory: Path, where: str) -> BaseLearner:
    """Restore what a fit has stored.

    Returns
    -------
    BaseLearner
        The learner, or the mean over its seeds.

    Raises
    ------
    LearnerError
        ``load`` raised, or returned no learner.
    """
    if spec.seeds == 1:
        return load_one(spec, directory, where)
    return SeedMean(spec, directory, where)


def load_one(spec: LearnerSpec, directory: Path, where: str) -> BaseLearner:
    """Restore a learner from what its ``save`` wrote.

    Raises
    ------
    LearnerError
        ``load`` raised, or returned no learner.
    """
    spec.check_secrets()
    loaded = call_plugin("load", where, lambda: spec.make().load(directory))
    if not isinstance(loaded, BaseLearner):
        raise LearnerError(f"load returned {type(loaded).__name__}, not a learner", where=where)
    return loaded


def mean_logits(parts: list[LogitArray]) -> LogitArray:
    """Average logits over seeds, ``(n, 3)`` each."""
    return np.asarray(np.mean(parts, axis=0, dtype=np.float64), dtype=np.float32)


class SeedMean(BaseLearner):
    """Predicts with each seed's model in turn, one in memory at a time, and averages the logits.

    Parameters
    ----------
    spec
        The learner.
    directory
        Where ``seed-0``, ``seed-1`` and so on are.
    where
        For errors.
    """

    def __init__(self, spec: LearnerSpec, directory: Path, where: str) -> None:
        self.spec, self.directory, self.where = spec, directory, where
        # A class variable by contract; here it is that of the learner.
        vars(self)["batch_tolerance"] = tolerance_of(spec.prototype, where)

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        """Give the mean logits ``(n, 3)``."""
        return mean_logits([self._predict(seed, battles) for seed in range(self.spec.seeds)])

    def _predict(self, seed: int, battles: pl.DataFrame) -> LogitArray:
        where = f"{self.where}, seed {seed}"
        model = load_one(self.spec, self.directory / seed_name(seed), where)
        return predict_validated(model, battles, where)

    def fit(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: it is fitted already."""
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        """Refuse: it is stored already."""
        raise NotImplementedError

    def load(self, directory: Path) -> Self:
        """Refuse: it is loaded already."""
        raise NotImplementedError
