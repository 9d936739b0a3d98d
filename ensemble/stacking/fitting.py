"""The two convex problems behind blend and vector scaling, with analytic gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.evaluation.losses import over_classes

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray

_ITERATIONS = 300


def fit_simplex_weights(
    logits: FloatArray, labels: FloatArray, row_weight: FloatArray
) -> FloatArray:
    """Find the convex combination of logits with the lowest log loss.

    Parameters
    ----------
    logits
        ``(n, n_learners, k)`` float64.
    labels
        ``(n, k)`` distributions.
    row_weight
        ``(n,)``, summing to 1.

    Returns
    -------
    FloatArray
        ``(n_learners,)`` weights, none negative, summing to 1. Never worse on these rows than any
        single learner or the mean, whatever the solver (SLSQP) comes back with.
    """
    from scipy.optimize import minimize

    learners, classes = logits.shape[1:]
    columns = np.ascontiguousarray(logits.transpose(1, 0, 2)).reshape(learners, -1)

    def objective(weights: FloatArray) -> tuple[float, FloatArray]:
        loss, slope = _log_loss((weights @ columns).reshape(-1, classes), labels, row_weight)
        return loss, columns @ slope.ravel()

    start = np.full(learners, 1.0 / learners)
    found = minimize(
        objective,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * learners,
        constraints={
            "type": "eq",
            "fun": lambda weights: weights.sum() - 1.0,
            "jac": lambda weights: np.ones_like(weights),
        },
        options={"ftol": 1e-10, "maxiter": _ITERATIONS},
    )
    best = _onto_simplex(found.x)
    loss, slope = objective(best)
    # The loss is convex, so it lies above its tangent: only where that falls can it be lower.
    alone = np.flatnonzero(slope < slope @ best)
    others = [start, *np.eye(learners)[alone]]
    losses = [objective(start)[0]]
    losses += [_log_loss(columns[i].reshape(-1, classes), labels, row_weight)[0] for i in alone]
    return best if loss <= min(losses) else others[int(np.argmin(losses))]


def fit_scale_and_bias(
    logits: FloatArray, labels: FloatArray, row_weight: FloatArray, *, l2: float
) -> tuple[FloatArray, FloatArray]:
    """Find a scale and a bias per class: softmax of ``scale * logits + bias``.

    Parameters
    ----------
    logits
        ``(n, k)`` float64, row means removed.
    labels
        ``(n, k)`` distributions.
    row_weight
        ``(n,)``, summing to 1.
    l2
        Pull towards scale 1 and bias 0, in units of rows.

    Returns
    -------
    tuple of FloatArray
        ``(k,)`` scales and ``(k,)`` biases, by L-BFGS.
    """
    from scipy.optimize import minimize

    classes = logits.shape[1]
    neutral = np.repeat([1.0, 0.0], classes)
    strength = l2 / len(logits)

    def objective(parameters: FloatArray) -> tuple[float, FloatArray]:
        scaled = logits * parameters[:classes] + parameters[classes:]
        loss, slope = _log_loss(scaled, labels, row_weight)
        away = parameters - neutral
        gradient = np.concatenate([(slope * logits).sum(axis=0), slope.sum(axis=0)])
        return loss + strength / 2 * away @ away, gradient + strength * away

    found = minimize(
        objective,
        neutral,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "ftol": 1e-13, "gtol": 1e-8},
    )
    return found.x[:classes], found.x[classes:]


def _log_loss(
    logits: FloatArray, labels: FloatArray, row_weight: FloatArray
) -> tuple[float, FloatArray]:
    """Weighted mean log loss and its derivative by the logits ``(n, k)``."""
    shifted = logits - over_classes(np.maximum, logits)
    powers = np.exp(shifted)
    totals = over_classes(np.add, powers)
    loss = -row_weight @ over_classes(np.add, labels * (shifted - np.log(totals)))[:, 0]
    return float(loss), (powers / totals - labels) * row_weight[:, None]


def _onto_simplex(weights: FloatArray) -> FloatArray:
    """Take the solver's rounding off the weights."""
    positive = np.clip(weights, 0.0, None)
    return np.asarray(positive / positive.sum())
