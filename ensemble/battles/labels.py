"""Label cells to distributions over the classes.

Hub-style files spell a tie in several ways. The spelling "tie (bothbad)" matters: public data sets
that were converted without it lost two thirds of their ties (10% in place of about 30%). Every
spelling met so far is a tie here, and an unknown word makes the row a bad row.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from ensemble.battles.turns import BadCell
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    Label = tuple[float, float, float]

WINNER_COLUMN = "winner"
"""Hub-style label column, one word a row."""
TOLERANCE = 1e-6
"""How far the sum of a label may be from 1."""

_A: Label = (1.0, 0.0, 0.0)
_B: Label = (0.0, 1.0, 0.0)
_TIE: Label = (0.0, 0.0, 1.0)
_WORDS: dict[str, Label] = {
    "modela": _A,
    "a": _A,
    "modelb": _B,
    "b": _B,
    "tie": _TIE,
    "tiebothbad": _TIE,
    "bothbad": _TIE,
}
"""Winners by their letters alone: case, spaces, underscores and brackets do not count."""
_NOT_A_LETTER = re.compile(r"[\W_]+")


def label_of(cells: Mapping[str, Any]) -> Label | None:
    """Read the label of a row.

    Parameters
    ----------
    cells
        The row by column name. The three columns of ``CLASSES`` are used where one of them is
        filled, else the ``winner`` column.

    Returns
    -------
    tuple or None
        Shares in ``CLASSES`` order, as given (they may be soft); None where the row has no label.

    Raises
    ------
    BadCell
        The shares are no distribution, or the winner is an unknown word.
    """
    shares = [cells.get(name) for name in CLASSES]
    if not all(_is_empty(share) for share in shares):
        return _distribution(shares)
    winner = cells.get(WINNER_COLUMN)
    return None if _is_empty(winner) else _winner(winner)


def _is_empty(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _distribution(shares: list[Any]) -> Label:
    a, b, tie = (_share(share, name) for share, name in zip(shares, CLASSES, strict=True))
    if not abs(a + b + tie - 1.0) <= TOLERANCE:
        raise BadCell(f"the label is not a distribution: {a:g}, {b:g}, {tie:g} do not sum to 1")
    return a, b, tie


def _share(cell: object, name: str) -> float:
    if _is_empty(cell):
        raise BadCell(f"the label is not a distribution: {name} is empty")
    try:
        share = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise BadCell(f"the label is not a distribution: {name} is {cell!r:.40}") from error
    if not (math.isfinite(share) and 0.0 <= share <= 1.0 + TOLERANCE):
        raise BadCell(f"the label is not a distribution: {name} is {share:g}")
    return share


def _winner(cell: object) -> Label:
    word = _NOT_A_LETTER.sub("", cell.lower()) if isinstance(cell, str) else ""
    label = _WORDS.get(word)
    if label is None:
        raise BadCell(f"unknown winner {cell!r:.40}; known are model_a, model_b, tie, both bad")
    return label
