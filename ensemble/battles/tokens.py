"""About how many tokens battles have, without a tokenizer."""

from __future__ import annotations

import polars as pl

from ensemble.battles.schema import TEXT_COLUMNS

BYTES_PER_TOKEN = 4
"""Of UTF-8, about: English has fewer letters a token and others more bytes a letter."""


def estimated_tokens(battles: pl.DataFrame) -> pl.Series:
    """Estimate the tokens of each battle, prompt and responses, from its bytes."""
    lengths = pl.sum_horizontal(
        pl.col(name).list.join("", ignore_nulls=True).str.len_bytes() for name in TEXT_COLUMNS
    )
    return battles.select((lengths // BYTES_PER_TOKEN).cast(pl.Int64).alias("tokens")).to_series()
