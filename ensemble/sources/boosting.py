"""Small LightGBM models for looking at sources: never a learner, never in a submission."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.prior import log_prior
from ensemble.battles.source_rows import cluster_fractions
from ensemble.battles.swap import swap_classes
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    import lightgbm

    from ensemble.battles.features import FeatureMatrix
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray, LogitArray

PARTS = 3
"""Parts that clusters are dealt into; rows are scored by a model of the other parts."""
_ROUNDS = 80
_OF = {
    "binary": {"learning_rate": 0.1, "num_leaves": 16},
    # Labels are noise for the most part, and a side may have a thousand of them.
    "multiclass": {"learning_rate": 0.05, "num_leaves": 8, "num_class": len(CLASSES)},
}
_SETTINGS: dict[str, Any] = {
    "min_child_samples": 20,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 3.0,
    "deterministic": True,
    "force_col_wise": True,
    "seed": 0,
    "verbosity": -1,
}


def deal(clusters: IntArray) -> IntArray:
    """Deal rows into ``PARTS`` parts by whole clusters: ``(n,)``."""
    numbers, inverse = np.unique(clusters, return_inverse=True)
    order = np.argsort(cluster_fractions(numbers, "shift part"), kind="stable")
    part = np.empty(len(numbers), dtype=np.int64)
    part[order] = np.arange(len(numbers)) % PARTS
    return part[inverse]


def tell_apart(
    values: LogitArray, is_target: BoolArray, part: IntArray, threads: int
) -> tuple[FloatArray, FloatArray]:
    """Tell two sides apart by features, each row by a model of other clusters.

    Parameters
    ----------
    values
        ``(n, k)``, NaN where undefined.
    is_target
        ``(n,)``; both sides weigh the same.
    part
        ``(n,)``, of ``deal``.
    threads
        CPU threads.

    Returns
    -------
    tuple[FloatArray, FloatArray]
        Scores ``(n,)``, higher where the target is likelier, and what each column gave, ``(k,)``.
        NaN scores where the other parts hold one side only.
    """
    scores = np.full(len(values), np.nan)
    gains = np.zeros(values.shape[1])
    for number in range(PARTS):
        learned, scored = part != number, part == number
        if len(np.unique(is_target[learned])) < 2 or not scored.any():
            continue
        share = is_target[learned].mean()
        weight = np.where(is_target[learned], 0.5 / share, 0.5 / (1 - share))
        booster = _train(
            values[learned], is_target[learned].astype(float), weight, None, "binary", threads
        )
        scores[scored] = booster.predict(values[scored], raw_score=True)
        gains += booster.feature_importance("gain")
    return scores, gains


class ConceptShift:
    """Which label features lead to, indifferent to sides.

    Parameters
    ----------
    matrix, labels
        Rows to learn from: features, and ``(n, 3)`` distributions.
    threads
        CPU threads.
    """

    def __init__(self, matrix: FeatureMatrix, labels: FloatArray, threads: int) -> None:
        self.prior = log_prior(labels.sum(axis=0))
        both = np.concatenate([labels, swap_classes(labels)])
        rows, classes = np.nonzero(both)
        values = np.concatenate([matrix.values, matrix.swapped().values])
        answers, weight = classes.astype(float), both[rows, classes]
        self._booster = _train(values[rows], answers, weight, self.prior, "multiclass", threads)

    def logits(self, matrix: FeatureMatrix) -> FloatArray:
        """Give the logits of rows, ``(n, 3)``; exchanging sides exchanges the first two."""
        one, other = (
            np.asarray(self._booster.predict(each.values, raw_score=True), dtype=np.float64)
            for each in (matrix, matrix.swapped())
        )
        return np.asarray(self.prior + (one + swap_classes(other)) / 2)


def _train(
    values: LogitArray,
    answers: FloatArray,
    weight: FloatArray,
    start: FloatArray | None,
    objective: str,
    threads: int,
) -> lightgbm.Booster:
    import lightgbm

    init = None if start is None else np.tile(start, (len(answers), 1))
    data = lightgbm.Dataset(values, answers, weight=weight, init_score=init)
    settings = {**_SETTINGS, "objective": objective, "num_threads": threads, **_OF[objective]}
    return lightgbm.train(settings, data, _ROUNDS)
