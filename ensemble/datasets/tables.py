"""Generated rows as tables: the competition's columns, the true distributions, drawn labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.datasets.rows import Row
    from ensemble.datasets.rules import Distribution
    from ensemble.plugin.base import FloatArray, IntArray

TRUTH_COLUMNS = ("p_a", "p_b", "p_tie")
"""The true probabilities of a row, in ``CLASSES`` order."""

PLANTED_SCHEMA = dict.fromkeys(("id_a", "id_b", "kind"), pl.String)
"""Columns of the table of planted pairs."""


def draw_labels(p: FloatArray, key: Sequence[int]) -> IntArray:
    """Draw a label for each row of ``p`` ``(n, 3)``, as an index into ``CLASSES``.

    ``key`` seeds a stream of its own, so that the first labels do not depend on the number of rows.
    """
    draws = np.random.default_rng(key).random(len(p))
    label: IntArray = (draws[:, None] > p.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return label


def distributions(p: Sequence[Distribution]) -> FloatArray:
    """Stack the rows' distributions: ``(n, 3)``, also where there is no row."""
    return np.array(p, dtype=np.float64).reshape(-1, len(CLASSES))


def truth_table(rows: Sequence[Row], source: str, p: FloatArray, label: IntArray) -> pl.DataFrame:
    """Give ``id``, ``source``, the true probabilities and the drawn label of each row."""
    return pl.DataFrame(
        {
            "id": pl.Series([row.id for row in rows], dtype=pl.String),
            "source": pl.Series([source] * len(rows), dtype=pl.String),
            **{name: p[:, k] for k, name in enumerate(TRUTH_COLUMNS)},
            "label": pl.Series(label, dtype=pl.Int64),
        }
    )


def battle_table(rows: Sequence[Row]) -> pl.DataFrame:
    """Give the competition's columns but the labels."""
    turns = pl.List(pl.String)
    return pl.DataFrame(
        {
            "id": pl.Series([row.id for row in rows], dtype=pl.String),
            "model_a": pl.Series([row.names[0] for row in rows], dtype=pl.String),
            "model_b": pl.Series([row.names[1] for row in rows], dtype=pl.String),
            "prompt": pl.Series([row.prompt.turns for row in rows], dtype=turns),
            "response_a": pl.Series([row.responses[0].turns for row in rows], dtype=turns),
            "response_b": pl.Series([row.responses[1].turns for row in rows], dtype=turns),
        }
    )


def labeled_table(rows: Sequence[Row], truth: pl.DataFrame) -> pl.DataFrame:
    """Give the competition's columns, with a 0/1 column for each of ``CLASSES``."""
    labels = [
        (pl.col("label") == index).cast(pl.Int64).alias(name) for index, name in enumerate(CLASSES)
    ]
    return battle_table(rows).join(truth.select("id", *labels), on="id", maintain_order="left")


def planted_table(planted: Sequence[tuple[str, str, str]]) -> pl.DataFrame:
    """Give the planted pairs as a table."""
    return pl.DataFrame(planted, schema=PLANTED_SCHEMA, orient="row")
