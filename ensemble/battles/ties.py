"""Labels of a task without ties: ties in the target are refused, those of other sources halved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.errors import DataError

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
