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

_SIDES: tuple[tuple[str, str, bool], ...] = (
    *(("_a", "_b", True), ("_A", "_B", True), ("a_", "b_", False), ("A_", "B_", False)),
    *(("_left", "_right", True), ("left_", "right_", False), ("_1", "_2", True)),
)
"""How names tell of a side, the plainest first; whether they end so or begin so."""


def side_pairs(columns: Iterable[str]) -> list[tuple[str, str]]:
    """Find columns of side A and side B: two names that differ in nothing but the side.

    No name is in two pairs: of ``a_judge_1`` and its like, ``a`` and ``b`` are the sides.

    Examples
    --------
    >>> side_pairs(["model_a", "language", "model_b", "left_judge", "right_judge"])
    [('model_a', 'model_b'), ('left_judge', 'right_judge')]
    """
    known = list(columns)
    partners: dict[str, str] = {}
    for first, second, ends in _SIDES:
        for name in known:
            other = _other_side(name, first, second, ends=ends)
            if other in known and not {name, other} & {*partners, *partners.values()}:
                partners[name] = other
    return [(name, partners[name]) for name in known if name in partners]


def _other_side(name: str, first: str, second: str, *, ends: bool) -> str | None:
    """Name the column of side B that one of side A has; None of a column without that side."""
    if ends and name.endswith(first) and len(name) > len(first):
        return name.removesuffix(first) + second
    if not ends and name.startswith(first):
        return second + name.removeprefix(first)
    return None


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
