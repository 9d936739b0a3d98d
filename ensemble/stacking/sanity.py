"""Predictions that cannot be meant: labels themselves, classes in another order, a bad scale."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from ensemble.errors import DataError
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.evaluation.ties import TIE, number_of_classes
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray, LogitArray

_SURE = 0.99
"""A class with more probability is as good as said to be the label."""
_FEWEST_ROWS = 10
_TOO_GOOD = 0.1
"""Nats. People do not agree that well on which of two answers is better."""
_SCALES = (1e-3, 1e3)
_SCALE_ROWS = 10_000


def refuse_labels(name: str, logits: LogitArray, labels: FloatArray) -> None:
    """Refuse predictions that are the labels.

    Parameters
    ----------
    name
        Of the learner.
    logits
        ``(n, 3)``; rows of NaN are left out.
    labels
        ``(n, 3)`` distributions.

    Raises
    ------
    DataError
        Hardly a row differs from its label.
    """
    sure = (labels.max(axis=1) > _SURE) & ~np.isnan(logits).any(axis=1)
    if sure.sum() < _FEWEST_ROWS:
        return
    found = softmax(logits[sure])
    said = found[np.arange(len(found)), labels[sure].argmax(axis=1)]
    if np.mean(said > _SURE) > _SURE:
        raise DataError(
            "the predictions equal the labels",
            where=f'learner "{name}"',
            hint="give out-of-fold predictions: of models that saw neither the row nor its cluster",
        )


def doubts_about(name: str, logits: LogitArray, labels: FloatArray, prior: float) -> list[str]:
    """Say what is odd about a learner's scores, in sentences; none where nothing is.

    Parameters
    ----------
    name
        Of the learner.
    logits, labels
        ``(n, 3)``.
    prior
        Log loss of the class prior on the same rows.
    """
    loss = _loss(logits, labels)
    if loss < _TOO_GOOD:
        return [
            f"{name} has a log loss of {loss:.4f}, which is too good to be true: "
            "it may have seen the labels"
        ]
    if not loss > prior:
        return []
    said = f"{name} is worse than the class prior ({loss:.4f} against {prior:.4f})"
    return [f"{said}{_cure(logits, labels, min(loss, prior))}"]


def _cure(logits: LogitArray, labels: FloatArray, bound: float) -> str:
    """Say which order of classes, or which scale, would fix a learner."""
    classes = number_of_classes(ties=not np.isneginf(logits[:, TIE]).all())
    rest = tuple(range(classes, 3))
    orders = {
        (*order, *rest): _loss(logits[:, [*order, *rest]], labels)
        for order in permutations(range(classes))
    }
    best = min(orders, key=lambda order: orders[order])
    if best != (0, 1, 2) and orders[best] < bound:
        named = ", ".join(CLASSES[column] for column in np.argsort(best))
        return (
            f"; if its columns were in the order {named}, it would have {orders[best]:.4f}: "
            "is that the order of whoever made it?"
        )
    scale, scaled = _best_scale(logits, labels)
    if scaled < bound:
        what = f"divided by {1 / scale:.3g}" if scale < 1 else f"multiplied by {scale:.3g}"
        return f"; {what}, its logits would have {scaled:.4f}"
    return ""


def _best_scale(logits: LogitArray, labels: FloatArray) -> tuple[float, float]:
    """Search on a part of many rows, which settles as many digits as are said."""
    from scipy.optimize import minimize_scalar

    some = slice(None, None, -(-len(labels) // _SCALE_ROWS))
    found = minimize_scalar(
        lambda power: _loss(logits[some] * np.exp(power), labels[some]),
        bounds=tuple(np.log(_SCALES)),
        method="bounded",
    )
    scale = float(np.exp(found.x))
    return scale, _loss(logits * scale, labels)


def _loss(logits: LogitArray, labels: FloatArray) -> float:
    return float(row_log_loss(labels, softmax(logits)).mean())
