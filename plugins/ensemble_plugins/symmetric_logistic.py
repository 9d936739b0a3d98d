"""Multinomial logistic regression that cannot tell side A from side B.

With features ``d`` that change their sign when the sides are exchanged, and features ``s`` that do
not, the logits are ``(d·w, -d·w, s·v + c)``. That is what a multinomial logistic regression with a
ridge penalty converges to when it learns every row in both orders; stated so, it needs half of the
rows and a third of the weights, and the symmetry holds exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ensemble.errors import LearnerError
from ensemble.processes import one_thread_of_blas

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from ensemble.plugin.base import FloatArray

_MOST_ITERATIONS = 500
_TOLERANCE = 1e-8
"""Relative decrease of the loss at which the descent stops."""


@dataclass(frozen=True)
class SymmetricLogistic:
    """A fitted model.

    Parameters
    ----------
    odd
        Weights of features that change their sign with the sides, ``(n_odd,)``.
    even
        Weights of features that do not, ``(n_even,)``.
    intercept
        Logit of a tie where all even features are 0.
    """

    odd: FloatArray
    even: FloatArray
    intercept: float

    def logits(self, odd: csr_array, even: csr_array) -> FloatArray:
        """Give logits ``(n, 3)`` in ``CLASSES`` order; each row depends on itself alone."""
        return _logits(odd @ self.odd, even @ self.even + self.intercept)


def fit_symmetric_logistic(
    odd: csr_array,
    even: csr_array,
    labels: FloatArray,
    weight: FloatArray,
    *,
    ridge: float,
    offset: FloatArray | None = None,
) -> SymmetricLogistic:
    """Minimize the weighted log loss plus ``ridge / 2`` times the squared weights, by L-BFGS.

    Parameters
    ----------
    odd, even
        ``(n, n_odd)`` and ``(n, n_even)`` float64.
    labels
        ``(n, 3)`` distributions in ``CLASSES`` order.
    weight
        ``(n,)``; the ridge is against their sum.
    ridge
        Strength of the penalty, at least 0; the intercept is not penalized.
    offset
        ``(n, 3)``, added to the logits of each row while fitting; None adds nothing. In the other
        order it is exchanged as the labels are, and so the loss is the same in both.

    Raises
    ------
    LearnerError
        The descent ended in numbers that are not finite.
    """
    from scipy.optimize import minimize

    n_odd = odd.shape[1]
    by_column = odd.T, even.T
    added = 0.0 if offset is None else offset

    def loss_and_gradient(theta: FloatArray) -> tuple[float, FloatArray]:
        w, v = theta[:n_odd], theta[n_odd:-1]
        log_p = _log_softmax(_logits(odd @ w, even @ v + theta[-1]) + added)
        penalty = 0.5 * ridge * float(w @ w + v @ v)
        excess = (np.exp(log_p) - labels) * weight[:, None]
        gradient = np.concatenate(
            [
                by_column[0] @ (excess[:, 0] - excess[:, 1]) + ridge * w,
                by_column[1] @ excess[:, 2] + ridge * v,
                [excess[:, 2].sum()],
            ]
        )
        return float(-(labels * log_p).sum(axis=1) @ weight) + penalty, gradient

    options = {"maxiter": _MOST_ITERATIONS, "ftol": _TOLERANCE}
    start = np.zeros(n_odd + even.shape[1] + 1)
    with one_thread_of_blas():
        found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    theta = found.x
    # Where the loss is NaN from the start, L-BFGS gives the start back.
    if not (np.isfinite(found.fun) and np.isfinite(theta).all()):
        raise LearnerError(
            "the logistic regression did not converge to finite weights",
            hint="raise ridge, and look for labels or weights that are not finite",
        )
    return SymmetricLogistic(theta[:n_odd], theta[n_odd:-1], float(theta[-1]))


def _logits(gap: FloatArray, tie: FloatArray) -> FloatArray:
    return np.stack([gap, -gap, tie], axis=1)


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    normalized: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normalized
