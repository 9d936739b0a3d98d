"""A file of the user's folds: ``id`` and a fold, in any kind of table that battles can come in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.files.read import read_chunks
from ensemble.battles.group_columns import group_values
from ensemble.errors import DataError, FoldError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.battles.files.raw import BadRow

_HINT = "give each row an id, and the name or number of its fold"


def read_folds(path: Path, column: str) -> pl.DataFrame:
    """Read ``id`` and ``fold``, as text, of any kind of table that battles can come in.

    Parameters
    ----------
    path
        The file.
    column
        The name of the column with the fold.

    Returns
    -------
    polars.DataFrame
        ``id`` as the run spells it, and ``fold`` as ``group_values`` does; null where there is
        nothing.

    Raises
    ------
    FoldError
        The file cannot be read, lacks a column, or a cell is a list.
    """
    cells: dict[str, list[Any]] = {"id": [], column: []}
    present: tuple[str, ...] = ()
    bad: list[BadRow] = []
    try:
        for chunk in read_chunks(path, lambda names: [n for n in cells if n in names]):
            present = present or chunk.present
            bad += chunk.bad_rows
            for name in cells:
                cells[name] += chunk.columns.get(name, [None] * len(chunk.lines))
    except DataError as error:
        hint = error.hint or "fix folds.file in the config"
        raise FoldError(
            f"the folds cannot be read: {error.message}", where=str(path), hint=hint
        ) from error
    lacking = [name for name in cells if name not in present]
    if lacking:
        raise FoldError(
            f'no column "{lacking[0]}"',
            where=str(path),
            hint=f"it has {', '.join(present)}; folds.column names the one with the fold",
        )
    if bad:
        raise FoldError(
            f"{len(bad):,} rows cannot be read, such as {bad[0]}", where=str(path), hint=_HINT
        )
    ids, folds = (_texts(name, values, path) for name, values in cells.items())
    return pl.DataFrame({"id": _plain_ids(ids), "fold": group_values(folds)})


def _texts(name: str, cells: Sequence[Any], path: Path) -> pl.Series:
    """Write cells as texts; whole numbers without a point."""
    if any(isinstance(cell, list | dict) for cell in cells):
        raise FoldError(f'values of "{name}" are lists or records', where=str(path), hint=_HINT)
    texts = [
        None if cell is None else str(int(cell)) if _is_whole(cell) else str(cell) for cell in cells
    ]
    return pl.Series(name, texts, dtype=pl.String)


def _is_whole(cell: object) -> bool:
    return isinstance(cell, float) and cell.is_integer()


def _plain_ids(ids: pl.Series) -> pl.Series:
    """Read ids as the run has them: where a program has made floats of all, they are integers."""
    text = ids.str.strip_chars()
    blank = (text == "").fill_null(value=True)
    are_floats = text.filter(~blank).str.contains(r"^-?[0-9]+\.0$")
    ids = text.str.strip_suffix(".0") if len(are_floats) and are_floats.all() else ids
    return pl.select(pl.when(~blank).then(ids).alias("id")).to_series()
