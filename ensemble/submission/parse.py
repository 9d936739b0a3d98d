"""A submission read back from its file, whatever its form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.files.csv_reader import csv_chunks
from ensemble.battles.files.raw import BadRow, reading
from ensemble.errors import DataError
from ensemble.submission.checks import SUM_TOLERANCE, check_is_file, missing_columns, refuse_rows
from ensemble.submission.forms import PROBABILITIES, SIDES, form_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ensemble.submission.forms import Form

_ROWS_HINT = "every row needs as many fields as the header, and numbers for probabilities"
_WINNER_ROWS_HINT = "every row needs as many fields as the header"


def read_submission(path: Path) -> pl.DataFrame:
    """Read a submission file of any form.

    Parameters
    ----------
    path
        A CSV file.

    Returns
    -------
    polars.DataFrame
        All columns of the file: ids as they are spelled, ``CLASSES`` as Float64, others as text.

    Raises
    ------
    DataError
        The file is missing or not CSV, lacks a column, or a probability is not a number.
    """
    return parse_submission(path, None)[0]


def parse_submission(path: Path, ties: bool | None) -> tuple[pl.DataFrame, Form]:
    """Read a file, and tell its form; ``ties`` says which it should have."""
    check_is_file(path)
    columns: dict[str, list[str]] = {}
    lines: list[int] = []
    bad: list[BadRow] = []
    form = PROBABILITIES
    with reading(path):
        for chunk in csv_chunks(path, None):
            form = form_of(chunk.present, ties=ties)
            _check_header(chunk.present, form, path)
            bad.extend(chunk.bad_rows)
            lines.extend(chunk.lines)
            for name, cells in chunk.columns.items():
                columns.setdefault(name, []).extend(cells)
    n_rows = len(lines) + len(bad)
    values = [] if form.is_winner else form.columns[1:]
    text = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    numbers = text.with_columns(
        pl.col(name).str.strip_chars().cast(pl.Float64, strict=False) for name in values
    )
    if form is SIDES and ties is None and not _has_two_classes(numbers):
        _check_header(text.columns, PROBABILITIES, path)
    bad.extend(_not_numbers(text, numbers, lines, path, values))
    refuse_rows(bad, n_rows, path, _WINNER_ROWS_HINT if form.is_winner else _ROWS_HINT)
    return numbers, form


def _has_two_classes(numbers: pl.DataFrame) -> bool:
    """Say whether both sides have all there is, in most rows; else a tie's column is missing."""
    sums = numbers.select(pl.sum_horizontal(SIDES.columns[1:])).to_series()
    return bool(((sums - 1.0).abs() <= SUM_TOLERANCE).sum() * 2 > len(numbers))


def _check_header(present: Sequence[str], form: Form, path: Path) -> None:
    """Refuse other columns at once: of a page of HTML, say, every row would look bad."""
    for problem in missing_columns(present, form):
        raise DataError(problem.text, where=str(path), hint=problem.hint)


def _not_numbers(
    text: pl.DataFrame,
    numbers: pl.DataFrame,
    lines: Sequence[int],
    path: Path,
    values: Sequence[str],
) -> Iterator[BadRow]:
    """Name the rows with a filled cell that is no number; empty cells are left to the check."""
    told: set[int] = set()
    for name in values:
        for place in (numbers[name].is_null() & (text[name] != "")).arg_true():
            if lines[place] not in told:  # one reason a row is enough
                told.add(lines[place])
                cell = text[name][place]
                yield BadRow(str(path), lines[place], f"{name} is {cell!r:.40}, not a number")
