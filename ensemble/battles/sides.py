"""Which of two answers stands first where a source says nothing of sides."""

from __future__ import annotations

from hashlib import blake2b

import polars as pl

from ensemble.battles.swap import side_pairs, swap_battles


def sides_by_hash(battles: pl.DataFrame) -> pl.DataFrame:
    """Exchange the sides of about half of the battles: which, a hash of the id says.

    For sources that have the better answer always on one side, which says nothing of sides. What
    is kept beside battles, with their ``id``, is exchanged alike.
    """
    battles = _alike(battles)
    exchanged = [blake2b(one.encode(), digest_size=1).digest()[0] % 2 == 1 for one in battles["id"]]
    rows = pl.Series(exchanged, dtype=pl.Boolean)
    swapped = swap_battles(battles)
    return battles.select(
        pl.when(rows).then(swapped[name]).otherwise(battles[name]).alias(name)
        for name in battles.columns
    )


def _alike(rows: pl.DataFrame) -> pl.DataFrame:
    """Give both columns of a pair one type, as text where they have two."""
    odd = [pair for pair in side_pairs(rows.columns) if rows[pair[0]].dtype != rows[pair[1]].dtype]
    return rows.with_columns(pl.col(name).cast(pl.String) for pair in odd for name in pair)
