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
    from collections.abc import Mapping, Sequence

    Label = tuple[float, float, float]
    Winners = Mapping[str, str]

WINNER_COLUMN = "winner"
"""Hub-style label column, one word a row."""
TOLERANCE = 1e-3 + 1e-9
"""How far the sum of a label may be from 1: shares of three decimals are normalized."""

_A: Label = (1.0, 0.0, 0.0)
_B: Label = (0.0, 1.0, 0.0)
_TIE: Label = (0.0, 0.0, 1.0)
_WORDS: dict[str, Label] = {
    **dict.fromkeys(("a", "modela", "responsea", "answera", "assistanta"), _A),
    **dict.fromkeys(("b", "modelb", "responseb", "answerb", "assistantb"), _B),
    **dict.fromkeys(
        (
            *("tie", "tied", "draw", "drawn", "equal", "same", "both", "neither"),
            *("bothbad", "bothgood", "tiebothbad", "tiebothgood", "drawbothbad", "tieinconsistent"),
        ),
        _TIE,
    ),
}
"""Winners by their letters: case, spaces, underscores and brackets do not count."""
_TRUTH = {"true": 1.0, "false": 0.0}
_EXACT = 1e-6
"""How far it may be for the shares to count as they are given."""
UNKNOWN_WINNER = "unknown winner"
LABEL_FAULTS = (UNKNOWN_WINNER, "the label is not", "winner and winner_model_a")
"""How the reasons begin for which a label cannot be read."""
_WHOLE = re.compile(r"-?\d+\.0+")
_ASIDE = re.compile(r"""[\s_.,:;/()\[\]{}"'*`]+|(?<=.)-+(?=.)""", re.DOTALL)
"""Marks in a winner that say nothing; others may, as in ``!a``, ``-a`` and ``a?``."""


def label_of(cells: Mapping[str, Any], winners: Winners | None = None) -> Label | None:
    """Read the label of a row.

    Parameters
    ----------
    cells
        The row by column name. The three columns of ``CLASSES`` are used where one of them is
        filled, else the ``winner`` column. A file without a column of ties has none: the two others
        must sum to 1.
    winners
        What the values of ``winner`` mean, as ``winner_of``.

    Returns
    -------
    tuple or None
        Shares in ``CLASSES`` order, which sum to 1 (they may be soft); None where the row has no
        label.

    Raises
    ------
    BadCell
        The shares are no distribution, the winner is an unknown word, or the two differ.
    """
    shares = [cells.get(name) for name in CLASSES]
    exact = exact_label(shares)
    if exact is not None and cells.get(WINNER_COLUMN) is None:
        return exact
    winner = cells.get(WINNER_COLUMN)
    models = () if winners else (cells.get("model_a"), cells.get("model_b"))
    named = winner_of(winner, winners) if winners else winner_among(winner, models)
    if all(is_missing(share) for share in shares):
        return named
    label = _distribution(shares) if CLASSES[2] in cells else _without_tie(shares[:2])
    if named is not None and label[named.index(1.0)] < max(label):  # soft ones have a winner too
        told = ", ".join(f"{share:g}" for share in label)
        raise BadCell(
            f"winner and winner_model_a differ: winner is {winner!r:.40}, the others say {told}"
        )
    return label


def exact_label(shares: Sequence[Any]) -> Label | None:
    """Give shares that are a distribution as they stand, as those that formats make are."""
    a, b, tie = shares
    if not type(a) is type(b) is type(tie) is float:
        return None
    adds_up = a >= 0.0 and b >= 0.0 and tie >= 0.0 and abs(a + b + tie - 1.0) <= _EXACT
    return (a, b, tie) if adds_up else None


def is_missing(cell: object) -> bool:
    """Say whether a cell holds nothing: null, blank text, or NaN."""
    if cell is None:
        return True
    if isinstance(cell, float):
        return math.isnan(cell)
    return isinstance(cell, str) and (not cell or cell.isspace())


def whole_number(cell: object) -> int | None:
    """Read a whole number, also where a program has written it as a float or as text."""
    if isinstance(cell, bool) or is_missing(cell):
        return None
    try:
        number = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() else None


def _distribution(shares: list[Any]) -> Label:
    a, b, tie = (_share(share, name) for share, name in zip(shares, CLASSES, strict=True))
    total = a + b + tie
    if not abs(total - 1.0) <= TOLERANCE:
        raise BadCell(f"the label is not a distribution: {a:g}, {b:g}, {tie:g} do not sum to 1")
    if abs(total - 1.0) <= _EXACT:
        return a, b, tie
    return a / total, b / total, tie / total


def _without_tie(sides: list[Any]) -> Label:
    try:
        return _distribution([*sides, 0.0])
    except BadCell as error:
        raise BadCell(f"{error}, and there is no column {CLASSES[2]}") from error


def _share(cell: object, name: str) -> float:
    if is_missing(cell):
        raise BadCell(f"the label is not a distribution: {name} is empty")
    try:
        share = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        truth = _TRUTH.get(str(cell).strip().lower())
        if truth is not None:
            return truth
        raise BadCell(f"the label is not a distribution: {name} is {cell!r:.40}") from error
    if not (math.isfinite(share) and 0.0 <= share <= 1.0 + TOLERANCE):
        raise BadCell(f"the label is not a distribution: {name} is {share:g}")
    return share


def winner_of(cell: object, winners: Winners | None = None) -> Label | None:
    """Read who wins from one word.

    Parameters
    ----------
    cell
        The word; None and blank text are no label, where ``winners`` says nothing of them.
    winners
        ``"a"``, ``"b"`` or ``"tie"`` by value, as :func:`spelled` writes it; None takes the words
        that everyone uses.

    Raises
    ------
    BadCell
        The word is unknown.
    """
    if winners is not None:
        return _mapped(cell, winners)
    if is_missing(cell):
        return None
    word = _ASIDE.sub("", cell.strip().lower()) if isinstance(cell, str) else ""
    label = _WORDS.get(word)
    if label is None:
        known = "known are model_a, model_b, tie, both bad"
        raise BadCell(f"{UNKNOWN_WINNER} {cell!r:.40}; {known}")
    return label


def winner_among(cell: object, models: Sequence[object]) -> Label | None:
    """Read who wins from a word that everyone uses, or from the name of one of the two models.

    Raises
    ------
    BadCell
        It is neither, or means one side as a word and the other as a name.
    """
    named = _by_model(cell, models)
    try:
        label = winner_of(cell)
    except BadCell:
        if named is None:
            raise
        return named
    if named is not None and named != label:
        what = "is a word for one side and the model of the other"
        raise BadCell(f"{UNKNOWN_WINNER} {cell!r:.40}; it {what}")
    return label


def _by_model(cell: object, models: Sequence[object]) -> Label | None:
    """Say which side's model a text names; None for neither, and for the model of both."""
    if not isinstance(cell, str) or len(models) != 2 or cell not in models:
        return None
    first, second = models
    if first == second:
        return None
    return _A if cell == first else _B


def spelled(cell: object) -> str:
    """Spell a value as a config does: ``true``, ``1`` for 1.0 too, nothing for what is missing."""
    if is_missing(cell):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _mapped(cell: object, winners: Winners) -> Label | None:
    value = spelled(cell)
    meant = winners.get(value)
    if meant is None and not value:
        return None
    if meant is None:
        by_case = {name.lower(): name for name in winners}
        meant = winners.get(by_case.get(value.lower(), ""))
    if meant is None and _WHOLE.fullmatch(value):
        meant = winners.get(str(int(float(value))))
    if meant is None:
        raise BadCell(f"{UNKNOWN_WINNER} {cell!r:.40}; known are {', '.join(winners)}")
    return _WORDS[meant]
