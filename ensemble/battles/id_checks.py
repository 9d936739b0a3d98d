"""Ids that are refused: missing in some files, spelled as floats, or of several battles."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ensemble.errors import DataError

if TYPE_CHECKING:
    from typing import NoReturn

    from ensemble.battles.rows import Rows

_SHOWN = 5
_FLOAT_ID = r"^-?\d+(\.0|(\.\d+)?[eE]\+\d+)$"
"""An id as a program writes a float, or a spreadsheet a number that is too long for it."""
_NUMBER_ID = r"^-?\d+$"


def check_no_float_ids(ids: pl.Series, file: str) -> None:
    """Refuse whole numbers that a program has written as floats: other files spell them so not.

    Raises
    ------
    DataError
        All ids are floats; or some are, as R writes 100000, and the others are whole numbers.
    """
    floats = ids.filter(ids.str.contains(_FLOAT_ID))
    if not len(floats) or not ids.str.contains(f"{_FLOAT_ID}|{_NUMBER_ID}").all():
        return
    told = "the ids" if len(floats) == len(ids) else f"{len(floats):,} of {len(ids):,} ids"
    raise DataError(
        f'{told} are floats: "{floats[0]}"',
        where=file,
        hint="write whole numbers: a column with gaps has become one of floats, and some programs "
        "write 100000 as 1e+05; or make ids from what the battles say: make_ids = true",
    )


def check_no_missing_ids(ids: pl.Series, file: str) -> None:
    """Refuse files of one table of which only some have a column of ids.

    Raises
    ------
    DataError
        Some battles have no id.
    """
    if missing := ids.null_count():
        raise DataError(
            f"{missing:,} of {len(ids):,} battles have no id: a file lacks the column, and others "
            "have it",
            where=file,
            hint="give each file the column; or make ids from what the battles say: "
            "make_ids = true",
        )


def refuse_repeated(ids: pl.Series, rows: Rows, unit: str, file: str) -> NoReturn:
    """Say which ids occur more than once in a file, and where; raises ``DataError``."""
    several = len({name for name, _ in rows.files}) > 1
    names = [name for name, count in rows.files for _ in range(count)]
    places: defaultdict[str, list[str]] = defaultdict(list)
    for place in ids.is_duplicated().arg_true():
        line = rows.lines[place]
        places[ids[place]].append(f"{Path(names[place]).name}:{line}" if several else str(line))
    shown = [
        f'"{identifier}" ({unit} {", ".join(at[:_SHOWN])})'
        for identifier, at in list(places.items())[:_SHOWN]
    ]
    raise DataError(
        f"repeated ids ({len(places):,}): {'; '.join(shown)}",
        where=file,
        hint="give each battle an id of its own, since predictions are joined by id; or make ids "
        "from what the battles say: make_ids = true",
    )


def shared_ids(shared: pl.DataFrame) -> DataError:
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
