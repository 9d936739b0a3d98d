"""Privileged columns as numbers: one column for each value that training rows have.

Of columns of one side each, such as ``model_a`` and ``model_b``, a value has two: the difference of
the sides, which changes its sign where they are exchanged, and their sum, which does not. A value
that no two training rows have is 0 everywhere, and so is one that is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from ensemble.battles.swap import side_pairs
from ensemble.errors import LearnerError
from ensemble.storage.json_files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.battles.features import FeatureMatrix
    from ensemble.plugin.base import LogitArray

MOST_LEVELS = 256
"""Values of a column that are told apart, the most frequent ones."""
_LEAST_ROWS = 2
_FILE = "privileged.json"


@dataclass(frozen=True)
class Levels:
    """The values of privileged columns that a learner knows.

    Parameters
    ----------
    known
        Values, by the names of a pair of sides or by that of a column alone.
    """

    known: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, battles: pl.DataFrame, columns: Sequence[str]) -> Self:
        """Learn the values of training rows."""
        pairs = side_pairs(columns)
        paired = {name for pair in pairs for name in pair}
        groups = [*pairs, *((name,) for name in columns if name not in paired)]
        return cls(tuple((group, _values(battles, group)) for group in groups))

    def __len__(self) -> int:
        return sum(len(values) * len(group) for group, values in self.known)

    @property
    def names(self) -> tuple[str, ...]:
        """Name the columns of ``odd`` and then those of ``even``."""
        odd = (f"{g[0]} - {g[1]} = {v}" for g, values in self.known if len(g) == 2 for v in values)
        even = (f"{' + '.join(g)} = {v}" for g, values in self.known for v in values)
        return *odd, *even

    def odd(self, battles: pl.DataFrame) -> LogitArray:
        """Give columns ``(n, k)`` that change their sign where A and B are exchanged."""
        parts: list[LogitArray] = [
            np.subtract(_is(battles, group[0], values), _is(battles, group[1], values))
            for group, values in self.known
            if len(group) == 2
        ]
        return _joined(parts, len(battles))

    def even(self, battles: pl.DataFrame) -> LogitArray:
        """Give columns ``(n, k)`` that stay as they are."""
        parts: list[LogitArray] = [
            np.asarray(sum(_is(battles, name, values) for name in group), dtype=np.float32)
            for group, values in self.known
        ]
        return _joined(parts, len(battles))

    def beside(self, matrix: FeatureMatrix, battles: pl.DataFrame) -> FeatureMatrix:
        """Put the columns beside those of feature sets."""
        from ensemble.battles.features import FeatureMatrix

        if not self.known:
            return matrix
        odd, even = self.odd(battles), self.even(battles)
        signs = [-1.0] * odd.shape[1] + [1.0] * even.shape[1]
        first = len(matrix.names)
        return FeatureMatrix(
            matrix.ids,
            (*matrix.names, *self.names),
            np.concatenate([matrix.values, odd, even], axis=1),
            np.concatenate([matrix.swap, np.arange(first, first + len(signs))]),
            np.concatenate([matrix.sign, np.array(signs, dtype=np.float32)]),
        )

    def save(self, directory: Path) -> None:
        """Write the values, where there are any."""
        if self.known:
            write_json(directory / _FILE, {"known": self.known})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Restore what ``save`` wrote."""
        if not (directory / _FILE).exists():
            return cls()
        stored: Any = read_json(directory / _FILE)["known"]
        return cls(tuple((tuple(group), tuple(values)) for group, values in stored))


def column(battles: pl.DataFrame, name: str) -> pl.Series:
    """Give a privileged column of battles.

    Raises
    ------
    LearnerError
        They have none of that name.
    """
    if name not in battles.columns:
        raise LearnerError(
            f'the learner was fitted with the privileged column "{name}", and the battles lack it',
            hint="it can only predict rows that have it: ask a learner that it teaches",
        )
    return battles[name]


def _values(battles: pl.DataFrame, group: Sequence[str]) -> tuple[str, ...]:
    every = pl.concat([column(battles, name).cast(pl.String).alias("value") for name in group])
    counts = every.drop_nulls().value_counts().filter(pl.col("count") >= _LEAST_ROWS)
    ordered = counts.sort(["count", "value"], descending=[True, False])
    return tuple(ordered["value"].head(MOST_LEVELS).to_list())


def _is(battles: pl.DataFrame, name: str, values: Sequence[str]) -> LogitArray:
    places = {value: i for i, value in enumerate(values)}
    codes = column(battles, name).replace_strict(places, default=-1, return_dtype=pl.Int64)
    known = codes.fill_null(-1).to_numpy()
    table = np.zeros((len(battles), len(values)), dtype=np.float32)
    rows = np.flatnonzero(known >= 0)
    table[rows, known[rows]] = 1.0
    return table


def _joined(parts: Sequence[LogitArray], rows: int) -> LogitArray:
    return np.concatenate([np.zeros((rows, 0), dtype=np.float32), *parts], axis=1)
