"""Ties: those of a task without them are refused or halved; halves that may be ties are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.errors import DataError
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

A, B, TIE = LABEL_COLUMNS
_SHOWN = 5


def without_ties(battles: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Count a tie half for either side, as Bradley-Terry models of battles do.

    Parameters
    ----------
    battles
        With ``LABEL_COLUMNS``, which may be null.

    Returns
    -------
    tuple
        The battles without ties, and how many rows had one, or a part of one.
    """
    tied = int((battles[TIE] > 0).sum())
    half = pl.col(TIE) / 2
    halved = battles.with_columns(
        (pl.col(A) + half).alias(A),
        (pl.col(B) + half).alias(B),
        pl.when(pl.col(TIE).is_null()).then(None).otherwise(0.0).alias(TIE),
    )
    return (halved if tied else battles), tied


def refuse_ties(battles: pl.DataFrame, places: Sequence[str], *, where: str) -> None:
    """Refuse rows of the target with a tie where the task has none.

    Parameters
    ----------
    battles
        ``n`` rows with ``id`` and ``LABEL_COLUMNS``.
    places
        ``(n,)`` where each stands in its file.
    where
        Names the file.

    Raises
    ------
    DataError
        There are some: counts them, and names the first.
    """
    ties = battles[TIE].fill_null(0.0).to_numpy()
    tied = np.flatnonzero(ties > 0)
    if not len(tied):
        return
    shown = ", ".join(f'"{battles["id"][int(i)]}" ({places[int(i)]})' for i in tied[:_SHOWN])
    more = ", ..." if len(tied) > _SHOWN else ""
    soft = int((ties[tied] < 1).sum())
    parts = f", in {soft:,} of them a part of the label" if soft else ""
    raise DataError(
        f"{len(tied):,} of {len(battles):,} rows of the target are ties{parts}, and the task has "
        f"none ([task] ties = false): {shown}{more}",
        where=where,
        hint="set ties = true in [task] to predict ties; or take these rows out of the file, or "
        'give them a source of their own with role = "train", where a tie counts half for either '
        "side",
    )


def refuse_halves(battles: pl.DataFrame, *, where: str) -> None:
    """Refuse halves for either side that may be ties, of a file without a column of ties.

    Parameters
    ----------
    battles
        With ``LABEL_COLUMNS``, which may be null.
    where
        Names the file.

    Raises
    ------
    DataError
        Some labels are halves, and all others name one winner.
    """
    labels = battles.select(LABEL_COLUMNS).drop_nulls()
    half = (labels[A] == 0.5) & (labels[B] == 0.5)
    whole = labels.select(pl.max_horizontal(LABEL_COLUMNS) == 1.0).to_series()
    if half.any() and (half | whole).all():
        raise DataError(
            f"{int(half.sum()):,} of {len(labels):,} labels are 0.5 and 0.5, all others name one "
            f"winner, and there is no column {CLASSES[2]}: are they ties, or shares?",
            where=where,
            hint=f"say it by a column {CLASSES[2]}: 1 in these rows, and 0 in the two others, if "
            "they are ties; 0 in every row if they are shares",
        )
