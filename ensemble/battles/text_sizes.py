"""How much text rows have, without a copy of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.schema import TEXT_COLUMNS

if TYPE_CHECKING:
    from ensemble.battles.shingles import Integers


def text_bytes(battles: pl.DataFrame) -> Integers:
    """Count the bytes of text of each row: ``(n,)``; what is null has none."""
    sizes = np.zeros(len(battles), dtype=np.int64)
    for column in TEXT_COLUMNS:
        each = pl.col(column).list.eval(pl.element().str.len_bytes().cast(pl.Int64)).list.sum()
        sizes += battles.select(each.fill_null(0)).to_series().to_numpy()
    return sizes
