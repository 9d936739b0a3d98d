"""Files of battles to one table: columns checked, rows normalized, unreadable rows reported."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from ensemble.battles.columns import RAW_COLUMNS
from ensemble.battles.formats import counts_lines, frame_chunks, read_chunks
from ensemble.battles.labels import LABEL_FAULTS
from ensemble.battles.raw import BadRow, kinds_of, refuse_bad_rows
from ensemble.battles.rows import read_rows
from ensemble.battles.schema import BATTLE_SCHEMA, LABEL_COLUMNS, TEST_ROLE, TEST_SOURCE
from ensemble.battles.turns import PLAIN_HINT
from ensemble.errors import DataError, PluginError
from ensemble.plugin.base import CLASSES
from ensemble.plugin.faults import call_plugin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ensemble.battles.rows import Rows
    from ensemble.battles.turns import TextFormat
    from ensemble.plugin.base import Loader

__all__ = ["BadRow", "Loaded", "combine", "load_battles"]

OnBadRows = Literal["error", "drop"]
_SHOWN = 5
_SEVERAL = 3
"""Rows whose label cannot be read, for which it is no slip of a pen."""


@dataclass(frozen=True)
class Loaded:
    """The battles of one file.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``, in the order of the file.
    bad_rows
        The rows that were left out.
    """

    battles: pl.DataFrame
    bad_rows: tuple[BadRow, ...]


def load_battles(
    path: Path,
    *,
    source: str,
    role: str,
    is_test: bool = False,
    on_bad_rows: OnBadRows = "error",
    text_format: TextFormat = "json",
    id_prefix: str = "",
    loader: Loader | None = None,
    loader_options: Mapping[str, Any] | None = None,
    loader_name: str = "",
) -> Loaded:
    """Read one file of battles.

    Parameters
    ----------
    path
        CSV, Parquet or JSON Lines, by its suffix; anything where there is a ``loader``.
    source, role
        What the rows are recorded under; a test file gets ``TEST_SOURCE`` and ``TEST_ROLE``.
    is_test
        Read a test file: labels and model names are not looked at and never stored.
    on_bad_rows
        ``"error"`` refuses a file with unreadable rows, ``"drop"`` leaves them out and lists them.
        Test files are always refused, since a submission needs all of their rows.
    text_format
        What a string in a text column is: a JSON list of turns, or one plain turn.
    id_prefix
        Put before every id, to keep sources with the same ids apart.
    loader, loader_options
        A plugin that reads the file in place of the built-in readers, and its keywords.
    loader_name
        Of the loader, for errors.

    Returns
    -------
    Loaded
        The table and the rows left out.

    Raises
    ------
    DataError
        The file cannot be read, has wrong columns, no (readable) row, unreadable rows with
        ``on_bad_rows="error"``, or an id more than once.
    PluginError
        The loader raised, or returned something else than a table.
    """
    role = TEST_ROLE if is_test else role
    source = TEST_SOURCE if is_test else source
    chunks = (
        read_chunks(path, RAW_COLUMNS)
        if loader is None
        else frame_chunks(_call(loader, loader_name, path, loader_options or {}), RAW_COLUMNS)
    )
    rows = read_rows(chunks, role=role, text_format=text_format, file=str(path))
    _check_bad_rows(rows, str(path), drop=on_bad_rows == "drop" and not is_test, is_test=is_test)
    battles = pl.concat(rows.frames)
    _check_classes(battles, rows.bad, str(path))
    _check_no_float_ids(battles["id"], str(path))
    unit = "lines" if loader is None and counts_lines(path) else "rows"
    _check_ids_unique(battles["id"], rows.lines, unit, str(path))
    return Loaded(_complete(battles, source, role, id_prefix), tuple(rows.bad))


def combine(loaded: Sequence[Loaded]) -> pl.DataFrame:
    """Put the battles of all sources and of the test file into one table.

    Parameters
    ----------
    loaded
        What ``load_battles`` gave for each file.

    Returns
    -------
    polars.DataFrame
        ``BATTLE_SCHEMA``, file after file; ids are unique.

    Raises
    ------
    DataError
        A test id is also a training id, or two sources share an id.
    """
    if not loaded:
        return pl.DataFrame(schema=BATTLE_SCHEMA)
    battles = pl.concat([one.battles for one in loaded])
    shared = battles.select("id", "source", "is_test").filter(pl.col("id").is_duplicated())
    if shared.height:
        raise _shared_ids(shared)
    return battles


def _call(loader: Loader, name: str, path: Path, options: Mapping[str, Any]) -> pl.DataFrame:
    name = f'loader "{name}", ' if name else ""
    frame = call_plugin(
        "the loader",
        f"{name}{path}",
        lambda: loader(path, **options),
        kind=PluginError,
        writes=False,
    )
    if not isinstance(frame, pl.DataFrame):
        raise PluginError(
            f"the loader returned {type(frame).__name__}, not a polars DataFrame",
            where=f"{name}{path}",
            hint="return raw columns as docs/files.md lists them",
        )
    return frame


def _check_bad_rows(rows: Rows, file: str, *, drop: bool, is_test: bool) -> None:
    if not rows.seen:
        raise DataError("the file has no rows", where=file)
    if not rows.bad or (drop and rows.lines):
        return
    hints = ["fix the rows"]
    if any(PLAIN_HINT in row.reason for row in rows.bad):
        hints.append(f"for text cells that are no JSON set {PLAIN_HINT}")
    if is_test:
        hints.append("none can be left out: a submission needs every test row")
    elif rows.lines:
        hints.append('to leave them out set on_bad_rows = "drop"')
    raise refuse_bad_rows(
        rows.bad, rows.seen, where=file, hint="; ".join(hints), all_bad=not rows.lines
    )


def _check_classes(battles: pl.DataFrame, bad: Sequence[BadRow], file: str) -> None:
    """Refuse to leave rows out where all of one class go with them.

    Raises
    ------
    DataError
        A class has no row left, and rows were left out that had it, or whose label cannot be read.
    """
    if not bad:
        return
    kept = dict(zip(CLASSES, battles.select(pl.col(LABEL_COLUMNS).sum()).row(0), strict=True))
    if not any(kept.values()):
        return  # a source without labels
    lost = [row.label for row in bad if row.label is not None]
    unknown = sum(row.kind.startswith(LABEL_FAULTS) for row in bad) >= _SEVERAL
    for place, (name, mass) in enumerate(kept.items()):
        if not mass and (unknown or any(label[place] for label in lost)):
            told = "; ".join(f"{kind} ({count:,})" for kind, count in kinds_of(bad).items())
            raise DataError(
                f"no row with {name} is left: {len(bad):,} rows were left out: {told}",
                where=file,
                hint="fix these rows: without them the labels are not those of the file",
            )


def _check_no_float_ids(ids: pl.Series, file: str) -> None:
    """Refuse whole numbers that a program has written as floats: other files spell them so not.

    Raises
    ------
    DataError
        All ids are floats.
    """
    if len(ids) and ids.str.contains(r"^-?\d+\.0$").all():
        raise DataError(
            f'the ids are floats: "{ids[0]}"',
            where=file,
            hint="write them as whole numbers: a column with gaps has become one of floats",
        )


def _check_ids_unique(ids: pl.Series, lines: Sequence[int], unit: str, file: str) -> None:
    repeated = ids.is_duplicated()
    if not repeated.any():
        return
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place in repeated.arg_true():
        places[ids[place]].append(lines[place])
    shown = [
        f'"{identifier}" ({unit} {", ".join(map(str, at[:_SHOWN]))})'
        for identifier, at in list(places.items())[:_SHOWN]
    ]
    raise DataError(
        f"repeated ids ({len(places):,}): {'; '.join(shown)}",
        where=file,
        hint="give each battle an id of its own; predictions are joined by id",
    )


def _complete(battles: pl.DataFrame, source: str, role: str, id_prefix: str) -> pl.DataFrame:
    """Add what the file does not say."""
    return battles.with_columns(
        id=id_prefix + pl.col("id"),
        source=pl.lit(source),
        role=pl.lit(role),
        is_test=pl.lit(role == TEST_ROLE),
    ).select(pl.col(name).cast(dtype) for name, dtype in BATTLE_SCHEMA.items())


def _shared_ids(shared: pl.DataFrame) -> DataError:
    """Build the error for ids that occur in several files."""
    by_id = shared.group_by("id", maintain_order=True).agg(pl.col("source"), pl.any("is_test"))
    in_test = by_id.filter("is_test")
    culprits = in_test if in_test.height else by_id
    shown = "; ".join(
        f'"{identifier}" ({", ".join(sources)})'
        for identifier, sources in culprits.select("id", "source").head(_SHOWN).iter_rows()
    )
    if in_test.height:
        return DataError(
            f"test ids that are also training ids ({in_test.height:,}): {shown}",
            hint="remove the test rows from the training file if they are the same battles; "
            "else give the source an id_prefix",
        )
    return DataError(
        f"ids that occur in more than one source ({by_id.height:,}): {shown}",
        hint="give one of the sources an id_prefix, or remove the rows that are there twice",
    )
