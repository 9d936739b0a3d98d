"""How a file of test rows is read: as battles, or for its ids alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.battles.columns import ID_COLUMNS, id_column
from ensemble.battles.files.raw import BadRow
from ensemble.battles.files.read import read_chunks
from ensemble.battles.loading import load_battles
from ensemble.battles.schema import TEST_ROLE, TEST_SOURCE
from ensemble.battles.source_files import load_source
from ensemble.battles.turns import BadCell, id_of
from ensemble.config.settings import Reading
from ensemble.errors import ConfigError, DataError
from ensemble.redact import remember_secrets
from ensemble.submission.checks import check_is_file, id_listing, refuse_rows, repeated_ids

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from ensemble.battles.turns import TextFormat
    from ensemble.config.settings import Config


def reading_options(
    config: Config,
    *,
    loader: str | None = None,
    options: Mapping[str, Any] | None = None,
    text_format: TextFormat | None = None,
) -> Reading:
    """Say how a file of new rows is read: as the run's test file, but for what is given here.

    Parameters
    ----------
    config
        The run's own config.
    loader
        Registered name of a loader, or ``"none"`` for the toolkit's own readers. Options of the
        run's loader are not taken for another one.
    options
        For the loader; they are put over those of the run.
    text_format
        As in ``[test]``.

    Raises
    ------
    ConfigError
        There are options and no loader.
    """
    base = config.test or Reading()
    named = base.loader if loader is None else (None if loader == "none" else loader)
    kept = base.options if named is not None and named == base.loader else {}
    merged = {**kept, **(options or {})}
    remember_secrets(merged)
    if merged and named is None:
        raise ConfigError(
            f"options are for a loader, and none is given: {', '.join(merged)}",
            hint="name one with --loader",
        )
    given = {"path": "", "hub": None, "revision": None, "loader": named, "options": merged}
    return base.model_copy(update=given | {"text_format": text_format or base.text_format})


def read_test(path: Path, reading: Reading) -> pl.DataFrame:
    """Read a file of new rows; errors as ``load_battles``."""
    return load_source(reading, TEST_SOURCE, TEST_ROLE, path).battles


def read_test_ids(path: Path, reading_as: Reading | None = None) -> list[str]:
    """Read the ids of a test file, in its order; texts are looked at only where ids are not there.

    Parameters
    ----------
    path
        A file of one kind of table that sources have.
    reading_as
        The ``[test]`` of a config, which says how the file is read; None lets its columns tell.

    Raises
    ------
    DataError
        The file cannot be read, an id is empty, or one in a column ``id`` occurs more than once.
    """
    if reading_as is not None:
        return load_source(reading_as, TEST_SOURCE, TEST_ROLE, path).battles["id"].to_list()
    check_is_file(path)
    found: list[str] = []
    bad: list[BadRow] = []
    name: str | None = ID_COLUMNS[0]
    for chunk in read_chunks(path, lambda present: [n for n in ID_COLUMNS if n in present]):
        bad.extend(chunk.bad_rows)
        if not chunk.present:
            continue
        name = id_column(chunk.present, str(path))
        if name not in ID_COLUMNS:
            return _made_ids(path)
        cells = chunk.columns[name]
        for line, cell in zip(chunk.lines, cells, strict=True):
            try:
                found.append(id_of(cell))
            except BadCell as error:
                bad.append(BadRow(str(path), line, str(error)))
    refuse_rows(bad, len(found) + len(bad), path, "fix the rows: a submission needs every test row")
    repeated = repeated_ids(found)
    if repeated and name != ID_COLUMNS[0]:
        return _made_ids(path)
    if repeated:
        raise DataError(
            f"repeated test ids {id_listing(repeated)}",
            where=str(path),
            hint="give every row an id of its own",
        )
    return found


def _made_ids(path: Path) -> list[str]:
    """Give the ids that loading makes of a file that has none, or not one for each row."""
    return (
        load_battles(path, source=TEST_SOURCE, role=TEST_ROLE, is_test=True).battles["id"].to_list()
    )
