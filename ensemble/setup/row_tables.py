"""Tables that have ids and no texts: sample submissions, and what learners may want to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from ensemble.battles.columns import ID_COLUMNS
from ensemble.battles.files.read import read_all
from ensemble.battles.labels import WINNER_COLUMN, spelled
from ensemble.plugin.base import CLASSES
from ensemble.plugin.suggestion import RowTable
from ensemble.setup.files import LeftOut
from ensemble.setup.likeness import words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.setup.look import Look

Form = Literal["probabilities", "two probabilities", "winner"]
_ID = ID_COLUMNS[0]


@dataclass(frozen=True)
class Sample:
    """A sample submission: nothing is learned from it.

    Parameters
    ----------
    look
        The table.
    form
        What a submission like it holds.
    why
        How it is known to be one.
    """

    look: Look
    form: Form
    why: str


@dataclass(frozen=True)
class RowTables:
    """Tables without texts, sorted by what they are.

    Parameters
    ----------
    samples
        Sample submissions.
    tables
        Tables whose rows are those of target or test.
    left
        Others.
    """

    samples: tuple[Sample, ...] = ()
    tables: tuple[RowTable, ...] = ()
    left: tuple[LeftOut, ...] = ()


def sort_row_tables(looks: Sequence[Look], target_ids: pl.Series, test_ids: pl.Series) -> RowTables:
    """Find out whose rows tables are of.

    Parameters
    ----------
    looks
        Tables of kind ``"rows"``.
    target_ids, test_ids
        Ids as the run will have them.
    """
    samples: list[Sample] = []
    tables: list[RowTable] = []
    left: list[LeftOut] = []
    for look in looks:
        rows = _read(look)
        of_test = int(rows[_ID].is_in(test_ids.implode()).sum())
        of_target = int(rows[_ID].is_in(target_ids.implode()).sum())
        form = _form(look)
        if form is not None and (why := _why_sample(look, rows, of_test)):
            samples.append(Sample(look, form, why))
        elif not of_test and not of_target:
            reason = "no texts, and its ids are neither those of the target nor of the test"
            left.append(LeftOut(look.table.named, reason))
        else:
            of: Literal["target", "test"] = "target" if of_target >= of_test else "test"
            tables.append(RowTable(look.table.files, look.columns, of))
    return RowTables(tuple(samples), tuple(tables), tuple(left))


def _read(look: Look) -> pl.DataFrame:
    """Read all cells as a config would spell them."""
    cells: dict[str, list[str]] = {name: [] for name in look.columns}
    for chunk in read_all(look.table.files):
        for name in look.columns:
            values = chunk.columns.get(name, [None] * len(chunk.lines))
            cells[name] += [value if isinstance(value, str) else spelled(value) for value in values]
    return pl.DataFrame(cells, schema=dict.fromkeys(look.columns, pl.String))


def _form(look: Look) -> Form | None:
    """Say which kind of submission has just these columns."""
    others = set(look.columns) - {_ID}
    if others == set(CLASSES):
        return "probabilities"
    if others == set(CLASSES[:2]):
        return "two probabilities"
    return "winner" if others == {WINNER_COLUMN} else None


def _why_sample(look: Look, rows: pl.DataFrame, of_test: int) -> str:
    """Say why a table is a sample submission; empty where it is none."""
    named = "submission" in words_of(look) and "sample" in words_of(look)
    constant = len(rows) > 1 and rows.drop(_ID).n_unique() == 1
    if not named and not (constant and of_test == len(rows)):
        return ""
    reasons = ["its name"] if named else []
    reasons += ["all rows are equal"] if constant else []
    return f"{' and '.join(reasons)}; {of_test:,} of {len(rows):,} ids are those of the test"
