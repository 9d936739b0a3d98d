"""Two scores to a label: a winner, a tie of near-equal ones, or soft shares."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ensemble.battles.labels import is_missing
from ensemble.battles.turns import BadCell

if TYPE_CHECKING:
    from ensemble.battles.formats.layout import FormatOptions
    from ensemble.battles.labels import Label

A_WINS: Label = (1.0, 0.0, 0.0)
B_WINS: Label = (0.0, 1.0, 0.0)
TIE: Label = (0.0, 0.0, 1.0)


def number_of(cell: Any, name: str) -> float:
    """Read a score or a rank.

    Raises
    ------
    BadCell
        It is missing, or no finite number.
    """
    if type(cell) is float and math.isfinite(cell):
        return cell
    if is_missing(cell):
        raise BadCell(f"{name} is missing")
    try:
        number = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadCell(f"{name} is {cell!r:.40}, not a number")
    return number


def label_of_difference(difference: float, options: FormatOptions) -> Label:
    """Give the label of two answers by how much better the first is.

    Parameters
    ----------
    difference
        Score of the first answer less that of the second.
    options
        A difference of 0, or below ``tie_below``, is a tie. Others are a win, or with
        ``temperature`` the shares ``sigmoid(difference / temperature)``, without a tie.
    """
    if difference == 0 or abs(difference) < (options.tie_below or 0.0):
        return TIE
    if options.temperature is None:
        return A_WINS if difference > 0 else B_WINS
    share = 0.5 * (1.0 + math.tanh(0.5 * difference / options.temperature))
    return (share, 1.0 - share, 0.0)


def told_rule(options: FormatOptions) -> str:
    """Say by which rule scores become labels; empty for the usual one."""
    parts = []
    if options.tie_below:
        parts.append(f"a tie below {options.tie_below:g}")
    if options.temperature is not None:
        parts.append(f"soft at temperature {options.temperature:g}")
    return f"; {', '.join(parts)}" if parts else ""
