"""All installed features, and which of them look at the prompt alone or at the responses alone.

The core knows no feature by name: what a column looks at is found out by exchanging texts between
battles and seeing which columns mind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.features import FeatureMatrix, compute_features
from ensemble.plugin.manager import get_manager

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.plugin.base import BoolArray, IntArray, LogitArray
    from ensemble.plugin.feature import FeatureSet

_PROBED = 200
"""Battles whose texts are exchanged."""


@dataclass(frozen=True)
class Columns:
    """Features of some battles, and what each column looks at.

    Parameters
    ----------
    matrix
        Values of all registered feature sets.
    of_prompt, of_responses
        ``(k,)`` whether a column is about the prompt alone, or about the responses alone.
    """

    matrix: FeatureMatrix
    of_prompt: BoolArray
    of_responses: BoolArray

    def part(self, kept: BoolArray) -> tuple[LogitArray, IntArray]:
        """Give the values of some columns, and their indices."""
        places = np.flatnonzero(kept)
        return self.matrix.values[:, places], places


def feature_sets() -> list[FeatureSet]:
    """Give all registered feature sets."""
    registry = get_manager().feature_sets
    return [registry.get(entry.name) for entry in registry]


def compute_columns(battles: pl.DataFrame, cache_directory: Path | None) -> Columns:
    """Compute all features of battles, and sort their columns by what they look at.

    Parameters
    ----------
    battles
        At least one row.
    cache_directory
        As in ``compute_features``.
    """
    sets = feature_sets()
    matrix = compute_features(battles, sets, cache_directory=cache_directory)
    return Columns(matrix, *_looks_at(battles, sets))


def _looks_at(battles: pl.DataFrame, sets: list[FeatureSet]) -> tuple[BoolArray, BoolArray]:
    spread = np.linspace(0, len(battles) - 1, min(_PROBED, len(battles))).astype(int)
    some = battles[np.unique(spread)]
    as_they_are = _values(some, sets)
    other_prompts = _values(some.with_columns(_moved("prompt")), sets)
    other_responses = _values(some.with_columns(_moved("response_a"), _moved("response_b")), sets)
    minds_prompt = ~_same(as_they_are, other_prompts)
    minds_responses = ~_same(as_they_are, other_responses)
    return minds_prompt & ~minds_responses, minds_responses & ~minds_prompt


def _moved(column: str) -> pl.Expr:
    """Give each battle another's text, in a circle."""
    turns = pl.col(column)
    return pl.when(pl.int_range(pl.len()) == 0).then(turns.last()).otherwise(turns.shift(1))


def _values(battles: pl.DataFrame, sets: list[FeatureSet]) -> LogitArray:
    return compute_features(battles, sets).values


def _same(one: LogitArray, other: LogitArray) -> BoolArray:
    """Say of each column whether it is the same in all rows."""
    return np.asarray(np.isclose(one, other, rtol=1e-6, atol=0, equal_nan=True).all(axis=0))
