"""What a splitter is told of its rows: in arrays, or by the columns of a table of battles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from ensemble.battles.group_columns import codes_of, group_values, joined
from ensemble.battles.schema import ROLES, TEST_ROLE
from ensemble.errors import FoldError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from ensemble.battles.turns import TextFormat
    from ensemble.plugin.base import IntArray

_TEXTS = ("prompt", "conversation_a")
"""One of them is in every table of battles."""


class SaidOfRows(NamedTuple):
    """Groups, and roles and sources where they are known, each ``(n,)``."""

    groups: NDArray[Any]
    roles: Sequence[str] | None
    sources: Sequence[str] | None


def said_of_rows(
    table: Any,
    groups: ArrayLike | None,
    roles: Sequence[str] | None,
    sources: Sequence[str] | None,
    text_format: TextFormat,
    group_columns: Sequence[str] = (),
) -> SaidOfRows:
    """Take what is given, and else what a table of battles says; columns of it join groups.

    Raises
    ------
    FoldError
        There are neither groups nor battles, the table lacks a column, or one holds lists.
    """
    roles = _column(table, "role") if roles is None else roles
    sources = _column(table, "source") if sources is None else sources
    groups = _column(table, "cluster") if groups is None else groups
    if groups is None:
        groups = _found_clusters(table, text_format)
    return SaidOfRows(_joined(np.asarray(groups), table, group_columns), roles, sources)


def _joined(groups: NDArray[Any], table: Any, columns: Sequence[str]) -> NDArray[Any]:
    """Join groups that share a value of a column of the table; an empty one joins nothing."""
    if not columns:
        return groups
    codes = [np.unique(groups, return_inverse=True)[1].astype(np.int64)]
    for name in columns:
        values = _column(table, name)
        if values is None:
            known = [str(one) for one in getattr(table, "columns", ())]
            raise FoldError(f'the table has no column "{name}"', hint=nearest(name, known))
        codes.append(codes_of(group_values(_cells(of_length(values, len(groups), name), name))))
    return joined(codes)


def _cells(values: NDArray[Any], name: str) -> pl.Series:
    """Write the cells of a column as texts; those of pandas are of any kind, NaN among them."""
    cells = values.tolist()
    if any(isinstance(cell, list | tuple | dict | set | np.ndarray) for cell in cells):
        return pl.Series(name, [[]])
    texts = [None if cell is None else str(cell) for cell in cells]
    return pl.Series(name, texts, dtype=pl.String)


def clusters_of(battles: pl.DataFrame) -> IntArray:
    """Find the clusters of near duplicates among battles with ids: ``(n,)``."""
    from ensemble.battles.duplicates import find_duplicates

    return find_duplicates(battles).clusters["cluster"].to_numpy()


def read_roles(roles: Sequence[str] | None, rows: int) -> NDArray[Any]:
    """Give the role of each row: ``(rows,)``, all ``target`` where None are given.

    Raises
    ------
    FoldError
        A role is unknown, or the length differs.
    """
    if roles is None:
        return np.full(rows, "target")
    known = (*ROLES, TEST_ROLE)
    unknown = sorted({str(role) for role in roles} - set(known))
    if unknown:
        raise FoldError(f'unknown role "{unknown[0]}"', hint=nearest(unknown[0], known))
    return of_length(roles, rows, "roles")


def of_length(values: ArrayLike, rows: int, name: str) -> NDArray[Any]:
    """Give values as an array.

    Raises
    ------
    FoldError
        They are more or fewer than there are rows.
    """
    array = np.asarray(values)
    if len(array) != rows:
        raise FoldError(f"{name} has {len(array)} rows and groups {rows}")
    return array


def _column(table: Any, name: str) -> Any:
    """Give a column of a table; None where it has none, or is none."""
    return np.asarray(table[name]) if name in getattr(table, "columns", ()) else None


def _found_clusters(table: Any, text_format: TextFormat) -> IntArray:
    if not set(_TEXTS) & set(getattr(table, "columns", ())):
        raise FoldError(
            "split needs groups: without them near duplicates leak between folds",
            hint="give groups, or a table of battles as X, among which they are found",
        )
    from ensemble.battles.frames import read_table

    return clusters_of(read_table(table, text_format))
