"""Predictions of several files, averaged by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from ensemble.battles.schema import LOGIT_COLUMNS, PREDICTION_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILES = "files"
TABLE_SCHEMA: dict[str, Any] = {**PREDICTION_SCHEMA, FILES: pl.UInt32()}
"""Logits, and how many files they are the mean of."""
LEAST_PROBABILITY = 1e-6
"""Probabilities below it count as this much when they are turned into logits."""


def averaged(
    tables: Sequence[pl.DataFrame], average: Literal["logits", "probabilities"]
) -> pl.DataFrame:
    """Average the rows that have the same id: ``TABLE_SCHEMA``.

    Parameters
    ----------
    tables
        ``PREDICTION_SCHEMA`` in float64; no id is twice in one of them.
    average
        What the mean is of; that of probabilities becomes logits again.
    """
    table = pl.concat(tables).select("id", *LOGIT_COLUMNS)
    if len(tables) > 1 and average == "probabilities":
        table = table.with_columns(*_softmax())
    mean = table.group_by("id", maintain_order=True).agg(
        pl.col(LOGIT_COLUMNS).mean(), pl.len().alias(FILES)
    )
    if len(tables) > 1 and average == "probabilities":
        mean = mean.with_columns(pl.col(LOGIT_COLUMNS).clip(lower_bound=LEAST_PROBABILITY).log())
    return mean.cast(pl.Schema(TABLE_SCHEMA))


def _softmax() -> Iterator[pl.Expr]:
    top = pl.max_horizontal(LOGIT_COLUMNS)
    powers = {name: (pl.col(name) - top).exp() for name in LOGIT_COLUMNS}
    total = pl.sum_horizontal(*powers.values())
    yield from ((power / total).alias(name) for name, power in powers.items())
