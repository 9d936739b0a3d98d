"""Labels that somebody has looked through: rows to leave out of training, and labels to change.

Nothing that is scored changes: a score on rows that were chosen by what a model says of them would
be better whatever the model learned. What a list says reaches training alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ensemble.config.settings import Config, Source

KEEP, EXCLUDE = "keep", "exclude"
LABELS = {"a": (1.0, 0.0, 0.0), "b": (0.0, 1.0, 0.0), "tie": (0.0, 0.0, 1.0)}
"""Actions that give a row another label."""
ACTIONS = (KEEP, EXCLUDE, *LABELS)

CORRECTION_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "source": pl.String(),
    **{name: pl.Float64() for name in LABEL_COLUMNS},
}
"""``corrections.parquet``: the label that training takes in place of a row's own; null in rows that
it leaves out."""

_HINT = "a list is a CSV file with the columns id and action, as `ensemble review` writes it"


def read_corrections(path: Path, source: str, ids: Iterable[str]) -> pl.DataFrame:
    """Read the list of a source.

    Parameters
    ----------
    path
        A CSV file with the columns ``id`` and ``action``: one of ``ACTIONS``, in any case; an empty
        cell keeps the row as it is. Other columns are ignored.
    source
        Name of the source.
    ids
        Those of the run's battles that are of this source.

    Returns
    -------
    polars.DataFrame
        ``CORRECTION_SCHEMA``; rows that are kept are left out.

    Raises
    ------
    DataError
        The file cannot be read, lacks a column, has an action that nobody knows, says two things of
        one row, or names a row that is not of the source.
    """
    table = read_list(path)
    said = pl.col("action").fill_null("").str.strip_chars().str.to_lowercase()
    table = table.with_columns(action=said).filter(pl.col("action") != "")
    _refuse(table.filter(~pl.col("action").is_in(ACTIONS)), "actions that nobody knows", path)
    table = table.unique(maintain_order=True)
    refuse_contradictions(table, path)
    asked = table.filter(pl.col("action") != KEEP)
    known = pl.Series("id", list(ids), dtype=pl.String)
    _refuse(
        asked.filter(~pl.col("id").is_in(known.implode())), f"rows not of source {source}", path
    )
    labels = {
        name: pl.col("action").replace_strict(
            {action: label[i] for action, label in LABELS.items()},
            default=None,
            return_dtype=pl.Float64,
        )
        for i, name in enumerate(LABEL_COLUMNS)
    }
    return asked.select("id", source=pl.lit(source), **labels).select(
        pl.col(name).cast(kind) for name, kind in CORRECTION_SCHEMA.items()
    )


def corrections_of(config: Config, battles: pl.DataFrame) -> pl.DataFrame | None:
    """Read the lists of all sources; None where no source has one.

    Parameters
    ----------
    config
        The config.
    battles
        ``BATTLE_SCHEMA``.
    """
    lists = [source for source in config.sources if source.labels is not None]
    if not lists:
        return None
    found = pl.concat(_list_of(source, battles) for source in lists)
    if not config.task.ties:
        _refuse_ties(found, lists)
    return found


def _list_of(source: Source, battles: pl.DataFrame) -> pl.DataFrame:
    path, ids = Path(str(source.labels)), battles.filter(pl.col("source") == source.name)["id"]
    found = read_corrections(path, source.name, ids)
    if len(ids) and excluded(ids, found).all():
        raise DataError(
            f"the list leaves no row of source {source.name} to learn from",
            where=str(path),
            hint='exclude fewer rows, or give the source role = "ignore"',
        )
    return found


def _refuse_ties(found: pl.DataFrame, lists: Sequence[Source]) -> None:
    """Refuse lists that make ties where the task has none."""
    tied = found.filter(pl.col(LABEL_COLUMNS[2]) > 0)
    if len(tied):
        path = next(str(one.labels) for one in lists if one.name == tied["source"][0])
        raise DataError(
            f"{len(tied):,} rows are to become ties, and the task has none ([task] ties = false): "
            + ", ".join(tied["id"].head(5)),
            where=path,
            hint='write "exclude" for these rows, or leave them as they are',
        )


def corrected(rows: pl.DataFrame, corrections: pl.DataFrame | None) -> pl.DataFrame:
    """Give rows that are learned from the labels of a list; those that it leaves out must be gone.

    Parameters
    ----------
    rows
        ``BATTLE_SCHEMA``.
    corrections
        ``CORRECTION_SCHEMA``; None changes nothing.
    """
    if corrections is None:
        return rows
    joined = rows.join(
        corrections.drop("source"), on="id", how="left", maintain_order="left", suffix="_corrected"
    )
    labels = [pl.coalesce(f"{name}_corrected", name).alias(name) for name in LABEL_COLUMNS]
    return joined.with_columns(labels).select(rows.columns)


def excluded(ids: pl.Series, corrections: pl.DataFrame | None) -> pl.Series:
    """Mark the rows that training leaves out."""
    if corrections is None:
        return pl.repeat(value=False, n=len(ids), eager=True)
    out = corrections.filter(pl.col(LABEL_COLUMNS[0]).is_null())["id"]
    return ids.is_in(out.implode())


def counts_of(corrections: pl.DataFrame | None, source: str) -> dict[str, int]:
    """Count the rows of a source that training leaves out and that it relabels."""
    if corrections is None:
        return {}
    own = corrections.filter(pl.col("source") == source)
    out = int(own[LABEL_COLUMNS[0]].is_null().sum())
    return {"excluded": out, "relabeled": len(own) - out} if len(own) else {}


def read_list(path: Path) -> pl.DataFrame:
    """Read ``id`` and ``action`` of a list as they stand there, as text.

    Raises
    ------
    DataError
        The file cannot be read or lacks a column, or a row has no id.
    """
    try:
        table = pl.read_csv(path, infer_schema=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"the list cannot be read: {error}", where=str(path), hint=_HINT) from error
    missing = [name for name in ("id", "action") if name not in table.columns]
    if missing:
        raise DataError(f"no column {missing[0]}", where=str(path), hint=_HINT)
    nameless = table.filter(pl.col("id").is_null())
    _refuse(nameless.with_columns(id=pl.lit("(empty)")), "rows without an id", path)
    return table.select("id", "action")


def refuse_contradictions(table: pl.DataFrame, path: Path) -> None:
    """Refuse a list that says two things of one row: ``id``, ``action``, each line once."""
    twice = table.filter(pl.col("id").is_duplicated()).sort("id")
    _refuse(twice, "lines that contradict each other", path)


def _refuse(rows: pl.DataFrame, what: str, path: Path) -> None:
    if not len(rows):
        return
    shown = ", ".join(f"{one['id']}: {one['action']}" for one in rows.head(3).iter_rows(named=True))
    raise DataError(
        f"{len(rows):,} {what}: {shown}",
        where=str(path),
        hint=f"actions are {', '.join(ACTIONS)}, or empty to keep a row",
    )
