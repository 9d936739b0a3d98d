"""Tables in memory as sources of a run: kept in its directory, and known by their content."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.frames import as_polars, is_table
from ensemble.battles.schema import TEST_SOURCE
from ensemble.errors import InputError
from ensemble.run_dir.inputs import input_path, store_input
from ensemble.stages.work import writing

if TYPE_CHECKING:
    import polars as pl

    from ensemble.config.settings import Config

_DATA = "data"


def with_stored_tables(raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
    """Put paths in the run directory in the place of tables.

    Parameters
    ----------
    raw
        A config's tables; a source, or the test set, may have ``data`` in place of ``path``.

    Returns
    -------
    tuple
        The same with paths alone, and the tables by the name of their source.

    Raises
    ------
    InputError
        A source has both, or what is given is no table.
    DataError
        As ``as_polars``.
    """
    tables: dict[str, pl.DataFrame] = {}
    run_dir = raw.get("run_dir", ".")
    run = Path(run_dir) if isinstance(run_dir, str | os.PathLike) else Path()
    sources = raw.get("sources")
    if isinstance(sources, list | tuple):
        kept = [_with_path(one, _name_of(one), run, tables) for one in sources]
        raw = {**raw, "sources": kept}
    if is_table(raw.get("test")):
        raw = {**raw, "test": {_DATA: raw["test"]}}
    if "test" in raw:
        raw = {**raw, "test": _with_path(raw["test"], TEST_SOURCE, run, tables)}
    return raw, tables


def store_inputs(config: Config, tables: dict[str, pl.DataFrame]) -> None:
    """Write tables into the run directory; one that is there already is left as it is.

    Raises
    ------
    RunLockedError
        Another process writes to the run.
    InputError
        A table cannot be written.
    """
    with writing(config):
        for name, table in tables.items():
            store_input(Path(config.run_dir), name, table)


def _name_of(source: Any) -> str:
    return str(source.get("name", "source")) if isinstance(source, dict) else "source"


def _with_path(reading: Any, name: str, run: Path, tables: dict[str, pl.DataFrame]) -> Any:
    if not isinstance(reading, dict) or _DATA not in reading:
        return reading
    if taken := [key for key in ("path", "loader", "options") if key in reading]:
        raise InputError(
            f'"data" and "{taken[0]}" exclude each other: a table is read as it is',
            where=f'source "{name}"',
        )
    tables[name] = as_polars(reading[_DATA])
    rest = {key: value for key, value in reading.items() if key != _DATA}
    return {**rest, "path": str(input_path(run, name))}
