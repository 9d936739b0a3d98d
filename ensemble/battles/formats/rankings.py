"""A list of ranks, or the answers in their order: which of the two it is, and scores from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.turns import BadCell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.battles.formats.layout import Ranking

_CLEAR = ("rank", "ranks")
"""Columns that hold a rank for each answer, by their names."""


def scores_of_ranking(numbers: Sequence[float], name: str, said: Ranking | None) -> list[float]:
    """Give a score for each answer, the higher, the better.

    Parameters
    ----------
    numbers
        One for each of ``n`` answers: the rank of each, or the numbers of the answers with the best
        one first, counted from 0 or 1.
    name
        The column.
    said
        ``"ranks"`` or ``"order"``; None lets the column's name tell, or a list that says the same
        either way.

    Raises
    ------
    BadCell
        It may be both, and that makes a difference; or an order does not name each answer once.
    """
    order = _places(numbers)
    if said == "order" and order is None:
        raise BadCell(f"{name} is no order: it does not name each answer once")
    is_open = said is None and name not in _CLEAR
    if is_open and order and any(order[place] != at for at, place in enumerate(order)):
        raise BadCell(
            f"{name} may be ranks of the answers, or the answers in order: say "
            'ranking = "ranks" or ranking = "order"'
        )
    if said != "order" or order is None:
        return [-number for number in numbers]
    scores = [0.0] * len(order)
    for rank, place in enumerate(order):
        scores[place] = -float(rank)
    return scores


def _places(numbers: Sequence[float]) -> list[int] | None:
    """Read numbers that name each place once, from 0; None where they do not."""
    least = min(numbers, default=0)
    places = [number - least for number in numbers]
    if least not in (0, 1) or sorted(places) != list(range(len(numbers))):
        return None
    return [int(place) for place in places]
