"""Battles from a file or a table, as a frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles import loading
from ensemble.battles.formats.layout import FormatOptions
from ensemble.battles.frames import as_polars
from ensemble.battles.schema import TEST_ROLE

if TYPE_CHECKING:
    import polars as pl

    from ensemble.battles.turns import TextFormat
    from ensemble.plugin.base import Loader


def load_battles(
    battles: Any,
    *,
    source: str = "battles",
    role: str = "target",
    text_format: TextFormat = "auto",
    **options: Any,
) -> pl.DataFrame:
    """Read battles of any known format into the toolkit's own table.

    Parameters
    ----------
    battles
        The path of a file, a pattern or a directory of shards, or a table of Polars, pandas or
        Arrow.
    source, role
        What the rows are recorded under; rows of role ``"test"`` need no labels.
    text_format
        What a string in a text column is: a JSON list of turns, or one plain turn; ``"auto"`` tells
        by the first rows.
    **options
        Of :class:`~ensemble.battles.formats.layout.FormatOptions`, which a config gives a source
        too: ``format``, ``columns``, ``winner``, ``pairs``, ``tie_below``, ``temperature``,
        ``score``, ``ranking``, ``make_ids``, ``sides``.

    Returns
    -------
    polars.DataFrame
        ``BATTLE_SCHEMA``, in the order given.

    Raises
    ------
    DataError
        It cannot be read, has wrong columns, unreadable rows, or an id more than once.
    """
    is_path = isinstance(battles, str | Path)
    return loading.load_battles(
        Path(battles) if is_path else Path("the table"),
        source=source,
        role=role,
        is_test=role == TEST_ROLE,
        text_format=text_format,
        options=FormatOptions(**options),
        loader=None if is_path else _loader_of(battles),
        loader_name="" if is_path else "table",
    ).battles


def _loader_of(table: Any) -> Loader:
    def load(path: Path, **options: Any) -> pl.DataFrame:  # noqa: ARG001 - the table is given
        return as_polars(table)

    return load
