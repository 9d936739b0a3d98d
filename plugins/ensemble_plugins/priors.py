"""Where trees start: the label shares of the rows, beside what is added to their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.prior import log_prior
from ensemble.battles.swap import swap_classes

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray

_ROUNDS = 100
_SETTLED = 1e-9


def smoothed_prior(
    labels: FloatArray, weight: FloatArray, added: FloatArray | None = None
) -> FloatArray:
    """Give the constants that fit the label shares over both orders: finite, ``(3,)``.

    One row is added to each class.

    Parameters
    ----------
    labels, weight
        ``(n, 3)`` distributions and ``(n,)`` weights.
    added
        ``(n, 3)`` what is added to the scores of each row; None where nothing is. The constants are
        then the logs of the shares.

    Notes
    -----
    With something added there is no closed form. The constants are moved until the mean
    probabilities are the shares (iterative scaling: Darroch and Ratcliff, 1972).
    """
    start = target = log_prior(weight @ labels)
    if added is None or not added.any():
        return start
    for _ in range(_ROUNDS):
        expected = weight @ _softmax(start + added)
        expected = (expected + swap_classes(expected)) / 2
        step = target - np.log(expected / expected.sum())
        start = start + step
        if np.abs(step).max() < _SETTLED:
            break
    return start


def _softmax(scores: FloatArray) -> FloatArray:
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: FloatArray = odds / odds.sum(axis=1, keepdims=True)
    return probabilities
