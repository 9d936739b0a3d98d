"""Privileged columns: what files say of battles that does not exist at test time, for teachers.

A learner that has them sees them in ``fit`` and when it predicts rows that it was not trained on.
It can teach others and label sources; it is never stacked, and never predicts a test row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.group_columns import group_values
from ensemble.battles.schema import TEST_ROLE, learner_view
from ensemble.battles.swap import side_pairs
from ensemble.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

_MODELS = ("model_a", "model_b")
_SOURCE = "source"
"""A name that no privileged column can have."""
_ROWS_AT_A_TIME = 65_536


@dataclass(frozen=True, eq=False)
class PrivilegedColumns:
    """Columns that some learner of a run sees and that do not exist at test time.

    Parameters
    ----------
    table
        ``id`` and the columns, String, in the order of the battles.
    """

    table: pl.DataFrame

    @cached_property
    def digests(self) -> dict[str, str]:
        """Name what each column says of which battle: 64 hex digits each, whatever the order."""
        ordered = self.table.sort("id")
        return {name: _digest(ordered.select("id", name)) for name in ordered.columns[1:]}

    def view(self, battles: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        """Give ``LEARNER_COLUMNS`` of battles, and some of the columns."""
        own = self.table.select("id", *columns)
        return learner_view(battles).join(own, on="id", how="left", maintain_order="left")


def read_columns(
    battles: pl.DataFrame, metadata: pl.DataFrame, columns: Sequence[str]
) -> PrivilegedColumns:
    """Take columns that are no part of the battles.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``.
    metadata
        ``id``, and what files say beside their battles.
    columns
        Names of those wanted.

    Returns
    -------
    PrivilegedColumns
        As text; null where a source does not say it.

    Raises
    ------
    ConfigError
        No row but those of the test set has such a column. Or a column is of one side, and that of
        the other side, which is there, is not named.
    """
    said = battles.select("id", "role", *_MODELS)
    others = metadata.select(pl.col("id").cast(pl.String), pl.exclude("id", *_MODELS, "role"))
    if len(others.columns) > 1:
        said = said.join(others, on="id", how="left", maintain_order="left")
    trained = said.filter(pl.col("role") != TEST_ROLE)
    there = [n for n in said.columns if n not in ("id", "role") and not _is_empty(trained[n])]
    _check_there(columns, there)
    _check_partners(columns, there)
    texts = (group_values(said[name]).alias(name) for name in columns)
    return PrivilegedColumns(said.select("id", *texts))


def missing_by_source(sources: pl.Series, view: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Count, by privileged column and source, the rows that lack it.

    Parameters
    ----------
    sources
        ``(n,)`` source of each row.
    view
        ``(n)`` rows of ``PrivilegedColumns.view``.
    """
    columns = [name for name in view.columns if name not in learner_view(view).columns]
    counts = (
        view.select(pl.col(columns).is_null())
        .with_columns(sources.alias(_SOURCE))
        .group_by(_SOURCE)
        .agg(pl.col(columns).sum())
        .sort(_SOURCE)
    )
    return {name: dict(zip(counts[_SOURCE], counts[name], strict=True)) for name in columns}


def _digest(frame: pl.DataFrame) -> str:
    digest = hashlib.sha256()
    for rows in frame.iter_slices(_ROWS_AT_A_TIME):
        digest.update(rows.write_ndjson().encode())
    return digest.hexdigest()


def _is_empty(values: pl.Series) -> bool:
    return group_values(values).null_count() == len(values)


def _check_there(columns: Sequence[str], there: Sequence[str]) -> None:
    for name in columns:
        if name not in there:
            listed = nearest(name, there) if there else "the sources have no columns of their own"
            raise ConfigError(
                f'no source has a column "{name}" with a value',
                where="privileged",
                hint=f"{listed} (columns of lists or of long text do not count)",
            )


def _check_partners(columns: Sequence[str], there: Sequence[str]) -> None:
    """Refuse a column of one side alone: with A and B exchanged nobody would know its value."""
    for pair in side_pairs(there):
        named = [name for name in pair if name in columns]
        if len(named) == 1:
            other = next(name for name in pair if name not in columns)
            raise ConfigError(
                f'"{named[0]}" is of one side, and "{other}" is not named: where A and B are '
                "exchanged, so are the two",
                where="privileged",
                hint=f'name both: "{pair[0]}", "{pair[1]}"',
            )
