"""Exchanging sides A and B: the symmetry that every honest predictor has."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ensemble.plugin.base import SWAP

if TYPE_CHECKING:
    from typing import Any

    import polars as pl
    from numpy.typing import NDArray

    Scalar = TypeVar("Scalar", bound=np.generic[Any])

_PAIRS = (("response_a", "response_b"), ("model_a", "model_b"), ("label_a", "label_b"))


def swap_battles(battles: pl.DataFrame) -> pl.DataFrame:
    """Exchange the sides in a table of battles, in every column that has a side."""
    there = [pair for pair in _PAIRS if pair[0] in battles.columns]
    names = dict(there) | {b: a for a, b in there}
    return battles.rename(names).select(battles.columns)


def swap_classes(values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Exchange "A wins" and "B wins" in ``(..., 3)`` labels, logits or probabilities.

    Where the last axis has two classes, there is no tie.
    """
    return values[..., list(SWAP)[: values.shape[-1]]]


def stack_orders(values: NDArray[Scalar], orders: int = 2) -> NDArray[Scalar]:
    """Lay labels, logits or probabilities of battles in each order one below the other.

    Parameters
    ----------
    values
        ``(n, 3)`` of the battles as they are.
    orders
        1, or 2 for the battles with A and B exchanged too.

    Returns
    -------
    NDArray
        ``(orders * n, 3)``.
    """
    return np.concatenate([values, swap_classes(values)][:orders])
