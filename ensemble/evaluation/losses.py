"""Probabilities and log losses of single rows."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike

    from ensemble.config.settings import Metric
    from ensemble.plugin.base import FloatArray, IntArray

SMALLEST_PROBABILITY = 1e-15
"""Probabilities below it count as it, so that one sure mistake cannot make a score infinite."""


def softmax(logits: ArrayLike) -> FloatArray:
    """Turn logits ``(..., k)`` into probabilities ``(..., k)`` float64, over the last axis.

    The same as SciPy's to the bit, in half the time where there are three classes.
    """
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - over_classes(np.maximum, values))
    return np.asarray(powers / over_classes(np.add, powers))


def over_classes(operation: np.ufunc, values: FloatArray) -> FloatArray:
    """Reduce the last axis ``(..., k)``, a short one, to ``(..., 1)``.

    Column by column: NumPy's own reductions of three numbers take several times as long.
    """
    columns = [values[..., i : i + 1] for i in range(values.shape[-1])]
    return np.asarray(reduce(operation, columns))


def row_log_loss(labels: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Score each row: ``-sum(label * log(probability))``, in nats.

    Parameters
    ----------
    labels
        ``(n, 3)`` distributions over ``CLASSES``.
    probabilities
        ``(n, 3)``; NaN where no fold has predicted the row.

    Returns
    -------
    FloatArray
        ``(n,)`` float64; NaN where a probability is NaN.
    """
    logarithms = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    return np.asarray(-over_classes(np.add, labels * logarithms)[..., 0], dtype=np.float64)


def row_divergence(reference: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Give the Kullback-Leibler divergence of each row from a reference, in nats.

    Parameters
    ----------
    reference, probabilities
        ``(n, 3)`` distributions; a class that the reference gives 0 adds nothing.

    Returns
    -------
    FloatArray
        ``(n,)`` float64, 0 where the two are the same.
    """
    own = row_log_loss(reference, probabilities) - row_log_loss(reference, reference)
    return np.maximum(own, 0.0)  # below 0 by rounding alone


def row_errors(labels: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Score each row by what its label has beside the likeliest class: 1 minus its accuracy.

    Of classes that are equally likely the first in ``CLASSES`` order counts, as in a submission of
    winners. A soft label counts by its share.

    Parameters
    ----------
    labels
        ``(..., 3)`` distributions over ``CLASSES``.
    probabilities
        ``(..., 3)``; NaN where no fold has predicted the row.

    Returns
    -------
    FloatArray
        ``(...,)`` float64 in [0, 1]; NaN where a probability is NaN.
    """
    labels, probabilities = np.broadcast_arrays(labels, probabilities)
    likeliest = probabilities.argmax(axis=-1)[..., None]
    met = np.take_along_axis(labels, likeliest, axis=-1)[..., 0]
    total = labels.sum(axis=-1)
    return np.where(np.isnan(probabilities).any(axis=-1), np.nan, total - met)


METRICS: Mapping[Metric, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "log_loss": row_log_loss,
    "accuracy": row_errors,
}
"""What each row of labels and probabilities ``(n, 3)`` adds to a metric, the lower the better."""


def class_prior_losses(
    labels: FloatArray, folds: IntArray, metric: Metric = "log_loss"
) -> FloatArray:
    """Score, on each fold, the label shares of the other folds.

    Parameters
    ----------
    labels
        ``(n, 3)`` distributions.
    folds
        ``(n,)``.
    metric
        What is scored.

    Returns
    -------
    FloatArray
        ``(n,)`` log loss or error of each row; NaN where there is one fold.
    """
    losses = np.full(len(labels), np.nan)
    for fold in np.unique(folds):
        held_out = folds == fold
        if not held_out.all():
            shares = labels[~held_out].mean(axis=0)
            losses[held_out] = METRICS[metric](labels[held_out], shares)
    return losses
