"""Folds that the user assigns: a column of the target's files, or a file of ids and folds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.fold_files import read_folds
from ensemble.battles.group_columns import group_values, values_of
from ensemble.errors import FoldError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.config.settings import Folds
    from ensemble.plugin.base import BoolArray, IntArray

MOST_FOLDS = 100
_INTEGER = re.compile(r"[+-]?[0-9]+")
_SHOWN = 5
_HINT = "give every target row one fold: its id and the fold's name or number"


@dataclass(frozen=True)
class GivenFolds:
    """An assignment of rows to folds.

    Parameters
    ----------
    names
        What the user calls the folds: fold ``k`` of the plan is ``names[k]``.
    folds
        ``(n,)`` int64 fold of each target row, in their order.
    """

    names: tuple[str, ...]
    folds: IntArray

    @property
    def n_splits(self) -> int:
        """Number of folds."""
        return len(self.names)


def given_folds(
    settings: Folds, target: pl.Series, others: pl.Series, metadata: pl.DataFrame
) -> GivenFolds:
    """Read the user's assignment of the target rows.

    Parameters
    ----------
    settings
        Of the config; either ``file`` or ``column`` is there.
    target, others
        Ids of the target rows, ``(n,)``, and of all other rows.
    metadata
        ``id`` and what files say beside their battles.

    Raises
    ------
    FoldError
        Rows have no fold, two or one that is no name; the file names rows that the target does not
        have; there are fewer than two folds or very many.
    """
    if settings.file is not None:
        column = settings.column or "fold"
        values, where = _of_file(Path(settings.file), column, target, others), settings.file
    else:
        where = f'column "{settings.column}" of the target'
        values = group_values(values_of(target, metadata, str(settings.column)))
        _refuse_missing(target.filter(values.is_null()), where)
    fractions = values.filter(values.str.contains(r"^[+-]?\d+\.\d+$"))
    if len(fractions):
        raise FoldError(f"{fractions[0]} is the name of no fold", where=where, hint=_HINT)
    values = _plain_integers(values)
    names = sorted(values.unique().to_list(), key=_order)
    _refuse_number(len(names), names, where)
    refuse_other_number(settings, names, where)
    number = {name: k for k, name in enumerate(names)}
    return GivenFolds(tuple(names), np.array([number[v] for v in values], dtype=np.int64))


def refuse_other_number(settings: Folds, names: Sequence[str], where: str) -> None:
    """Refuse a config that says another number of folds than the user's assignment has.

    Raises
    ------
    FoldError
        It does.
    """
    if "n_splits" in settings.model_fields_set and settings.n_splits != len(names):
        raise FoldError(
            f"there are {len(names)} folds ({', '.join(names[:_SHOWN])}), and folds.n_splits is "
            f"{settings.n_splits}",
            where=where,
            hint="leave n_splits out of [folds]: the assignment says how many folds there are",
        )


def split_clusters(clusters: IntArray, folds: IntArray) -> BoolArray:
    """Mark the rows whose cluster lies in several folds: ``(n,)``."""
    pairs = np.unique(np.column_stack([clusters, folds]), axis=0)
    numbers, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.asarray(np.isin(clusters, numbers[counts > 1]))


def refuse_split(
    ids: Sequence[str], clusters: IntArray, given: GivenFolds, columns: Sequence[str] = ()
) -> None:
    """Refuse an assignment that splits clusters, which columns of groups may have joined.

    Raises
    ------
    FoldError
        With how many clusters and rows, and some of them.
    """
    torn = split_clusters(clusters, given.folds)
    if not torn.any():
        return
    numbers = np.unique(clusters[torn])
    members = np.flatnonzero(clusters == numbers[0])[:_SHOWN]
    shown = ", ".join(f"{ids[i]} in fold {given.names[given.folds[i]]}" for i in members)
    raise FoldError(
        f"the assignment splits {len(numbers):,} clusters of near duplicates{_joined_by(columns)} "
        f"({int(torn.sum()):,} rows) between folds, such as {shown}",
        where="folds",
        hint="give the rows of a cluster one fold, or leave the assignment out; with "
        "allow_split_clusters = true in [folds] it is used as it is, and no score is proven",
    )


def _joined_by(columns: Sequence[str]) -> str:
    return f", or of the same {' or '.join(columns)}," if columns else ""


def _of_file(path: Path, column: str, target: pl.Series, others: pl.Series) -> pl.Series:
    table = read_folds(path, column)
    faults = []
    if blank := int(table["id"].is_null().sum()):
        faults.append(f"{blank:,} rows have no id")
    ids = table["id"].drop_nulls()
    if len(twice := ids.filter(ids.is_duplicated()).unique(maintain_order=True)):
        faults.append(f"{len(twice):,} ids are there more than once ({_some(twice)})")
    unknown = ids.filter(~ids.is_in(target.implode()))
    elsewhere = unknown.filter(unknown.is_in(others.implode()))
    if len(elsewhere):
        faults.append(f"{len(elsewhere):,} ids are of no target row ({_some(elsewhere)})")
    if len(foreign := unknown.filter(~unknown.is_in(others.implode()))):
        faults.append(f"{len(foreign):,} ids are unknown ({_some(foreign)})")
    said = table.drop_nulls()
    missing = target.filter(~target.is_in(said["id"].implode()))
    if len(missing):
        count = f"{len(missing):,} of {len(target):,}"
        faults.append(f"{count} target rows have no fold ({_some(missing)})")
    if faults:
        raise FoldError("; ".join(faults), where=str(path), hint=_HINT)
    ordered = pl.DataFrame({"id": target}).join(table, on="id", how="left", maintain_order="left")
    return ordered["fold"]


def _plain_integers(values: pl.Series) -> pl.Series:
    """Write integers alike where all are integers, so that ``01`` is ``1``."""
    if not all(_INTEGER.fullmatch(value) for value in values.unique()):
        return values
    return pl.Series([str(int(value)) for value in values], dtype=pl.String)


def _order(name: str) -> tuple[int, int, list[tuple[int, str]]]:
    """Integers by size; else text, numbers in it by size: ``fold-2`` before ``fold-10``."""
    if _INTEGER.fullmatch(name):
        return (0, int(name), [])
    parts = re.split(r"([0-9]+)", name)
    return (1, 0, [(int(p) if p.isdigit() else -1, p) for p in parts])


def _refuse_missing(ids: pl.Series, where: str) -> None:
    if len(ids):
        raise FoldError(
            f"{len(ids):,} target rows have no fold ({_some(ids)})", where=where, hint=_HINT
        )


def _refuse_number(n_folds: int, names: Sequence[str], where: str) -> None:
    if 2 <= n_folds <= MOST_FOLDS:
        return
    shown = ", ".join(names[:_SHOWN])
    raise FoldError(
        f"there are {n_folds:,} folds ({shown}), and folds are 2 to {MOST_FOLDS}",
        where=where,
        hint="name the column whose values are the folds",
    )


def _some(ids: pl.Series) -> str:
    more = ", \N{HORIZONTAL ELLIPSIS}" if len(ids) > _SHOWN else ""
    return ", ".join(ids.head(_SHOWN)) + more
