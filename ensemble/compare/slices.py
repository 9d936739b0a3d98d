"""Parts of the target that learners are compared on, which need no plugin.

Edges of lengths are taken from all target rows, so that they do not move with the learners that are
compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.language import languages
from ensemble.battles.schema import LABEL_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ensemble.compare.runs import ComparedRun
    from ensemble.plugin.base import FloatArray

_LABELS = ("A wins", "B wins", "tie")
"""How the classes are called here, in ``CLASSES`` order; a soft label is ``soft``."""
PARTS = 4
"""Quantile slices of a number."""
_FEW = 6
"""A number with so few values is sliced by value."""
_TURNS = ("1", "2", "3 or more")


@dataclass(frozen=True, eq=False)
class Slice:
    """One part of the target.

    Parameters
    ----------
    by
        What rows are parted by.
    value
        What those of this part have in common.
    rows
        ``(n,)`` mask.
    """

    by: str
    value: str
    rows: NDArray[np.bool_]

    def take(self, rows: NDArray[np.bool_]) -> Slice:
        """Keep the rows of a mask ``(n,)``."""
        return Slice(self.by, self.value, self.rows[rows])


def builtin_slices(compared: ComparedRun) -> list[Slice]:
    """Part the target by source, label, length, turns and language.

    Length is the number of characters of both responses together, in quartiles.
    """
    battles = compared.eval_set.rows
    lengths = _characters(battles)
    return [
        *by_value("source", battles["source"]),
        *by_value("label", _labels(battles), order=_LABELS),
        *by_number("length", lengths, write=whole_numbers),
        *by_value("turns", _turns(battles["prompt"].list.len()), order=_TURNS),
        *by_value("language", languages(battles)),
    ]


def by_value(name: str, values: pl.Series, *, order: Sequence[str] = ()) -> list[Slice]:
    """Part rows by what they have: in a given order, and what is not in it by falling frequency."""
    counts = values.alias("value").value_counts(name="rows")
    rest = counts.sort(["rows", "value"], descending=[True, False])["value"].to_list()
    found = [value for value in dict.fromkeys([*order, *rest]) if value in rest]
    return [Slice(name, value, (values == value).to_numpy()) for value in found]


def by_number(
    name: str, values: FloatArray, *, write: Callable[[float, float], str]
) -> list[Slice]:
    """Part rows by a number: one slice a value where there are few, else quartiles.

    Equal numbers stay together, so that parts may be fewer and of other sizes than a fourth. NaN is
    ``missing``.
    """
    missing = np.isnan(values)
    known = values[~missing]
    different = np.unique(known)
    absent = [Slice(name, "missing", missing)] if missing.any() else []
    if len(different) <= _FEW:
        return [Slice(name, f"{v:,.6g}", values == v) for v in different.tolist()] + absent
    shares = np.arange(1, PARTS) / PARTS
    inner = np.unique(np.quantile(known, shares, method="inverted_cdf"))
    edges = [-np.inf, *inner[inner < different[-1]].tolist(), np.inf]
    parts = [
        Slice(name, write(low, high), (values > low) & (values <= high))
        for low, high in pairwise(edges)
    ]
    return parts + absent


def numbers(low: float, high: float) -> str:
    """Name the numbers over ``low`` and up to ``high``."""
    if low == -np.inf:
        return f"up to {high:.4g}"
    return f"over {low:.4g}" if high == np.inf else f"over {low:.4g} to {high:.4g}"


def whole_numbers(low: float, high: float) -> str:
    """Name the whole numbers over ``low`` and up to ``high``."""
    if low == -np.inf:
        return f"up to {high:,.0f}"
    return f"over {low:,.0f}" if high == np.inf else f"{low + 1:,.0f} to {high:,.0f}"


def _characters(battles: pl.DataFrame) -> FloatArray:
    """Count the characters of both responses together."""
    sides = [
        pl.col(name).list.join("", ignore_nulls=True).str.len_chars()
        for name in ("response_a", "response_b")
    ]
    return battles.select(pl.sum_horizontal(sides)).to_series().to_numpy().astype(np.float64)


def _labels(battles: pl.DataFrame) -> pl.Series:
    """Name the class of hard labels; a soft one has none."""
    names = pl.lit("soft")
    for column, name in zip(LABEL_COLUMNS, _LABELS, strict=True):
        names = pl.when(pl.col(column) == 1).then(pl.lit(name)).otherwise(names)
    return battles.select(names.alias("label")).to_series()


def _turns(counts: pl.Series) -> pl.Series:
    place = counts.clip(1, len(_TURNS)).cast(pl.Int64).to_numpy() - 1
    return pl.Series("turns", np.array(_TURNS, dtype=object)[place].tolist(), dtype=pl.String)
