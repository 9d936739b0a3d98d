"""The forms that a submission can have: probabilities of three classes or of two, or winners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.labels import WINNER_COLUMN
from ensemble.evaluation.ties import TIE, number_of_classes
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.config.settings import Task
    from ensemble.plugin.base import FloatArray

WINNERS = ("model_a", "model_b", "tie")
"""What stands in the column ``winner``, in ``CLASSES`` order."""


@dataclass(frozen=True)
class Form:
    """One form of a submission.

    Parameters
    ----------
    told
        What its rows hold, in words.
    columns
        Its header.
    ties
        Whether a row can be a tie.
    """

    told: str
    columns: tuple[str, ...]
    ties: bool = True

    @property
    def is_winner(self) -> bool:
        """Whether a row names the winner alone."""
        return WINNER_COLUMN in self.columns

    @property
    def winners(self) -> tuple[str, ...]:
        """The winners that a row can name."""
        return WINNERS[: number_of_classes(ties=self.ties)]


PROBABILITIES = Form("probabilities of three classes", ("id", *CLASSES))
SIDES = Form("probabilities of two classes, without ties", ("id", *CLASSES[:TIE]), ties=False)
WINNER = Form("winners", ("id", WINNER_COLUMN))
WINNER_WITHOUT_TIES = Form("winners, without ties", ("id", WINNER_COLUMN), ties=False)


def form_for(task: Task) -> Form:
    """Give the form that a task asks for."""
    if task.submission == "winner":
        return WINNER if task.ties else WINNER_WITHOUT_TIES
    return PROBABILITIES if task.ties else SIDES


def form_of(header: Sequence[str], *, ties: bool | None = None) -> Form:
    """Tell the form of a file by its header; what fits none is held against the nearest.

    Parameters
    ----------
    header
        The names of its columns.
    ties
        Whether the task has ties; None leaves it to the header.
    """
    if WINNER_COLUMN in header and not {*CLASSES} & {*header}:
        return WINNER_WITHOUT_TIES if ties is False else WINNER
    both_sides = {*SIDES.columns} <= {*header} and CLASSES[TIE] not in header
    if ties is False or (ties is None and both_sides):
        return SIDES
    return PROBABILITIES


def submission_frame(form: Form, ids: pl.Series, probabilities: FloatArray) -> pl.DataFrame:
    """Put predictions beside their ids, in the form that is asked for.

    Parameters
    ----------
    form
        The form. Of classes that are equally likely, the first in ``CLASSES`` order wins.
    ids
        ``(n,)``.
    probabilities
        ``(n, 3)`` in ``CLASSES`` order.
    """
    if form.is_winner:
        likeliest = probabilities[:, : len(form.winners)].argmax(axis=1)
        return pl.DataFrame({"id": ids, WINNER_COLUMN: np.array(WINNERS)[likeliest]})
    columns = {name: probabilities[:, i] for i, name in enumerate(form.columns[1:])}
    return pl.DataFrame({"id": ids, **columns})
