"""Small LightGBM models for looking at sources: never a learner, never in a submission."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.groups import assign_by_hash
from ensemble.battles.prior import log_prior
from ensemble.battles.swap import stack_orders, swap_classes
from ensemble.battles.trees import MULTICLASS, common_settings, hard_rows

if TYPE_CHECKING:
    import lightgbm

    from ensemble.battles.features import FeatureMatrix
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray, LogitArray

PARTS = 3
"""Parts that clusters are assigned to; rows are scored by a model of the other parts."""
_ROUNDS = 80
_BINARY = {"objective": "binary", "learning_rate": 0.1, "num_leaves": 16}
# Labels are noise for the most part, and a side may have a thousand of them.
_MULTICLASS = {**MULTICLASS, "learning_rate": 0.05, "num_leaves": 8}
_SETTINGS: dict[str, Any] = {
    "min_child_samples": 20,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "lambda_l2": 3.0,
    "seed": 0,
}


def assign_parts(clusters: IntArray) -> IntArray:
    """Assign rows to ``PARTS`` parts by whole clusters: ``(n,)``."""
    return assign_by_hash(clusters, PARTS, "shift part")


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
        ``(n,)``, of ``assign_parts``.
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
        booster = _train(values[learned], is_target[learned], weight, None, _BINARY, threads)
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
        both = stack_orders(labels)
        rows = hard_rows(both, np.ones(len(both)))
        values = matrix.stacked_orders()[rows.row]
        self._booster = _train(values, rows.label, rows.weight, self.prior, _MULTICLASS, threads)

    def logits(self, matrix: FeatureMatrix) -> FloatArray:
        """Give the logits of rows, ``(n, 3)``; exchanging sides exchanges the first two."""
        one, other = (
            np.asarray(self._booster.predict(each.values, raw_score=True), dtype=np.float64)
            for each in (matrix, matrix.swapped())
        )
        return np.asarray(self.prior + (one + swap_classes(other)) / 2)


def _train(
    values: LogitArray,
    answers: BoolArray | IntArray,
    weight: FloatArray,
    start: FloatArray | None,
    own: dict[str, Any],
    threads: int,
) -> lightgbm.Booster:
    import lightgbm

    init = None if start is None else np.tile(start, (len(answers), 1))
    data = lightgbm.Dataset(values, answers, weight=weight, init_score=init)
    settings = {**_SETTINGS, **common_settings(threads), **own}
    return lightgbm.train(settings, data, _ROUNDS)
