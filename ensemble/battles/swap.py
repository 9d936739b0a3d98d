"""Exchanging sides A and B: the symmetry that every honest predictor has."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ensemble.plugin.base import SWAP

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    import polars as pl
    from numpy.typing import NDArray

    Scalar = TypeVar("Scalar", bound=np.generic[Any])

_ENDINGS = (("_a", "_b"), ("_A", "_B"), ("_left", "_right"), ("_1", "_2"))
_BEGINNINGS = (("a_", "b_"), ("A_", "B_"), ("left_", "right_"))


def side_pairs(columns: Iterable[str]) -> list[tuple[str, str]]:
    """Find columns of side A and side B: two names that differ in nothing but the side.

    Examples
    --------
    >>> side_pairs(["model_a", "language", "model_b", "left_judge", "right_judge"])
    [('model_a', 'model_b'), ('left_judge', 'right_judge')]
    """
    known, found = list(columns), []
    for name in known:
        partners = [
            name.removesuffix(a) + b for a, b in _ENDINGS if name.endswith(a) and len(name) > len(a)
        ]
        partners += [b + name.removeprefix(a) for a, b in _BEGINNINGS if name.startswith(a)]
        found += [(name, partner) for partner in partners[:1] if partner in known]
    return found


def swap_battles(battles: pl.DataFrame) -> pl.DataFrame:
    """Exchange the sides in a table of battles, in every column that has a side."""
    there = side_pairs(battles.columns)
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
