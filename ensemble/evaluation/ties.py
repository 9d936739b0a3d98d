"""What becomes of a tie's logit and probability in a task without ties.

Learners give three logits in any task, so that none has to know of two. The tie's is left out
where logits are read for scoring or stacking, and where learners teach others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from ensemble.plugin.base import FloatArray

    Scalar = TypeVar("Scalar", bound=np.floating[Any])

TIE = 2
"""The tie's place in ``CLASSES``."""
IMPROBABLE = 100
"""How far below the others the logit of what is not to happen is."""


def number_of_classes(*, ties: bool) -> int:
    """Count the classes of a task."""
    return 3 if ties else TIE


def leave_out_tie(logits: NDArray[Scalar], *, ties: bool) -> NDArray[Scalar]:
    """Give the logits of a task: without ties, that of the tie is minus infinity.

    Softmax then gives the tie 0, exactly, and the others what they have between the two of them.

    Parameters
    ----------
    logits
        ``(..., 3)``; rows of NaN stay NaN.
    ties
        Whether the task has ties.
    """
    if ties:
        return logits
    left = np.array(logits)
    left[..., TIE] = np.where(np.isnan(left[..., TIE]), left[..., TIE], -np.inf)
    return left


def neutral_tie(logits: NDArray[Scalar], *, ties: bool) -> NDArray[Scalar]:
    """Give finite logits that say nothing of a tie, for models that learn from logits.

    Without ties a row is half the difference of A and B, its negative, and 0: whatever the learner
    said of ties, and whatever it added to all three, is gone.

    Parameters
    ----------
    logits
        ``(..., 3)``; rows of NaN stay NaN.
    ties
        Whether the task has ties.
    """
    if ties:
        return logits
    half = (logits[..., 0] - logits[..., 1]) / 2
    return np.stack([half, -half, half * 0], axis=-1)


def improbable_tie(logits: NDArray[Scalar], *, ties: bool) -> NDArray[Scalar]:
    """Give finite logits in which a tie is as good as impossible, for learners that others teach.

    Without ties that of the tie is ``IMPROBABLE`` below the lesser of the others: softmax gives it
    nothing, at any temperature that teachers are softened by, and no product of it is NaN.

    Parameters
    ----------
    logits
        ``(..., 3)``.
    ties
        Whether the task has ties.
    """
    if ties:
        return logits
    sides = logits[..., :TIE]
    return np.concatenate([sides, sides.min(axis=-1, keepdims=True) - IMPROBABLE], axis=-1)


def with_no_tie(probabilities: FloatArray) -> FloatArray:
    """Complete probabilities of A and B ``(n, 2)`` by a tie's, which is 0: ``(n, 3)``."""
    return np.concatenate([probabilities, np.zeros((len(probabilities), 1))], axis=1)


def renormalized(probabilities: FloatArray) -> FloatArray:
    """Leave the tie out of ``(n, 3)``; a row that gives all to it is divided evenly."""
    sides = probabilities[:, :TIE]
    total = sides.sum(axis=1, keepdims=True)
    shares = np.divide(sides, total, out=np.full_like(sides, 0.5), where=total > 0)
    return with_no_tie(shares)
