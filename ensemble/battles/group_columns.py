"""Clusters joined by what files say beside battles: one session, one judge, whatever is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.partition import Partition
from ensemble.errors import FoldError, nearest
from ensemble.run_dir.folds_record import GroupRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ensemble.plugin.base import IntArray

NOTHING = ("", "nan", "nat", "<na>", "none", "null")
"""What programs write where there is no value, in lower case."""
_SHOWN = 100


def values_of(ids: pl.Series, metadata: pl.DataFrame, column: str) -> pl.Series:
    """Give what the files say of each row: ``(n,)``, null where they say nothing.

    Parameters
    ----------
    ids
        ``(n,)``, each once.
    metadata
        ``id`` and the columns that sources have beside their battles.
    column
        The one wanted.

    Raises
    ------
    FoldError
        No source has such a column.
    """
    known = [name for name in metadata.columns if name != "id"]
    if column not in known:
        there = nearest(column, known) if known else "the sources have no columns of their own"
        raise FoldError(
            f'no source has a column "{column}"',
            where="folds",
            hint=f"{there} (columns of long text and those that make the battle do not count)",
        )
    said = metadata.select(pl.col("id").cast(pl.String), pl.col(column).alias("value"))
    return pl.DataFrame({"id": ids}).join(said, on="id", how="left", maintain_order="left")["value"]


def group_values(values: pl.Series) -> pl.Series:
    """Write values as text, so that equal ones are equal: ``1`` is ``1.0``, ``True`` is ``true``.

    What stands for nothing is null.

    Raises
    ------
    FoldError
        Values are lists or records.
    """
    if values.dtype.is_nested() or values.dtype == pl.Object:
        raise FoldError(
            f'values of the column "{values.name}" are lists or records',
            hint="name a column with one number or text in each row",
        )
    text = filled(_texts(values)).str.replace(r"^(-?\d+)\.0+$", "$1")
    lower = text.str.to_lowercase()
    return pl.select(
        pl.when(lower.is_in(["true", "false"])).then(lower).otherwise(text)
    ).to_series()


def filled(texts: pl.Series) -> pl.Series:
    """Strip texts, and give null for those that stand for nothing, as programs write it."""
    text = texts.str.strip_chars()
    return pl.select(pl.when(~text.str.to_lowercase().is_in(list(NOTHING))).then(text)).to_series()


def _texts(values: pl.Series) -> pl.Series:
    if not values.dtype.is_float():
        return values.cast(pl.String)
    known = values.fill_nan(None)
    whole = known.cast(pl.Int64, strict=False)  # 1e+16 is how a float would be written
    is_whole = whole.cast(values.dtype) == known
    written = pl.when(is_whole).then(whole.cast(pl.String)).otherwise(known.cast(pl.String))
    return pl.select(written).to_series()


def codes_of(values: pl.Series) -> IntArray:
    """Give values numbers: ``(n,)``, equal ones alike; -1 for null."""
    return (values.rank("dense").cast(pl.Int64).fill_null(0) - 1).to_numpy()


def join_groups(
    ids: pl.Series, clusters: IntArray, metadata: pl.DataFrame, columns: Sequence[str]
) -> IntArray:
    """Join clusters that share a value of a column, transitively, in whatever source it stands.

    Parameters
    ----------
    ids, clusters
        ``(n,)`` id and cluster of each row.
    metadata, columns
        As in ``values_of``; rows without a value join nothing.

    Returns
    -------
    ndarray of int64, shape (n,)
        The joined clusters, numbered in the order of their first rows; without columns the same.
    """
    if not columns:
        return clusters
    every = [clusters, *(_codes(ids, metadata, column) for column in columns)]
    return joined(every)


def joined(groupings: Sequence[IntArray]) -> IntArray:
    """Join rows that any grouping has in one group: ``(n,)`` each, below 0 is in no group."""
    partition = Partition(len(groupings[0]))
    for codes in groupings:
        partition.merge(*_edges(codes))
    return partition.numbers()


def group_pairs(ids: pl.Series, metadata: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Give links between rows of one value: ``id_a``, ``id_b``, ``kind``, enough to connect all."""
    parts = [pl.DataFrame(schema={"id_a": pl.String, "id_b": pl.String, "kind": pl.String})]
    for column in columns:
        first, other = _edges(_codes(ids, metadata, column))
        pairs = {"id_a": ids.gather(first), "id_b": ids.gather(other)}
        parts.append(pl.DataFrame(pairs).with_columns(kind=pl.lit(kind_of(column))))
    return pl.concat(parts)


def kind_of(column: str) -> str:
    """Name the link that a column makes, as reasons of cuts do."""
    return f"the same {column}"


def describe_groups(
    ids: pl.Series,
    clusters: IntArray,
    is_target: pl.Series,
    metadata: pl.DataFrame,
    columns: Sequence[str],
) -> Iterator[GroupRecord]:
    """Say what each column joins, alone, among the clusters that texts make.

    Parameters
    ----------
    ids, clusters, metadata, columns
        As in ``join_groups``; the clusters are those before the join.
    is_target
        ``(n,)`` mask.
    """
    targets = int(is_target.sum())
    for column in columns:
        values = group_values(values_of(ids, metadata, column))
        frame = pl.DataFrame({"value": values, "cluster": clusters, "target": is_target})
        groups = (
            frame.drop_nulls("value")
            .group_by("value")
            .agg(rows=pl.len(), clusters=pl.col("cluster").n_unique(), target=pl.sum("target"))
            .sort(["target", "rows", "value"], descending=[True, True, False])
        )
        joining = groups.filter(pl.col("clusters") > 1)
        largest = groups.row(0, named=True) if len(groups) else None
        yield GroupRecord(
            column=column,
            rows=int(groups["rows"].sum()),
            values=len(groups),
            rows_joined=int(joining["rows"].sum()),
            clusters_joined=_n_joined(clusters, _codes(ids, metadata, column)),
            largest=None if largest is None else largest["value"][:_SHOWN],
            largest_rows=0 if largest is None else largest["rows"],
            largest_share=0.0 if largest is None or not targets else largest["target"] / targets,
        )


def _n_joined(clusters: IntArray, codes: IntArray) -> int:
    """By how many the clusters become fewer."""
    return len(np.unique(clusters)) - len(np.unique(joined([clusters, codes])))


def _codes(ids: pl.Series, metadata: pl.DataFrame, column: str) -> IntArray:
    """Give each row the number of its value: ``(n,)``, -1 for none."""
    return codes_of(group_values(values_of(ids, metadata, column)))


def _edges(codes: IntArray) -> tuple[IntArray, IntArray]:
    """Connect the first row of each group with its others."""
    rows = np.flatnonzero(codes >= 0)
    _, first, group = np.unique(codes[rows], return_index=True, return_inverse=True)
    return rows[first[group]].astype(np.int64), rows.astype(np.int64)
