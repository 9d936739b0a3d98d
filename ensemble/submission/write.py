"""The submission: one row per test id, in the order of the test file, checked before it is written.

Rows are matched by id, never by position: a file whose rows stand in another order than the model's
looks right and scores like noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ensemble.battles.columns import ID_COLUMNS, id_column
from ensemble.battles.files.csv_reader import csv_chunks
from ensemble.battles.files.raw import BadRow, reading, refuse_bad_rows
from ensemble.battles.files.read import read_chunks
from ensemble.battles.labels import WINNER_COLUMN
from ensemble.battles.loading import load_battles
from ensemble.battles.schema import TEST_ROLE, TEST_SOURCE
from ensemble.battles.source_files import load_source
from ensemble.battles.turns import BadCell, id_of
from ensemble.errors import DataError
from ensemble.storage.json_files import write_text
from ensemble.submission.checks import (
    SUM_TOLERANCE,
    id_listing,
    missing_columns,
    refuse_problems,
    repeated_ids,
    submission_problems,
)
from ensemble.submission.forms import PROBABILITIES, SIDES, form_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ensemble.config.settings import Reading
    from ensemble.submission.forms import Form

_ROWS_HINT = "every row needs as many fields as the header, and numbers for probabilities"
_WINNER_ROWS_HINT = "every row needs as many fields as the header"


def check_submission(
    submission: pl.DataFrame, test_ids: Sequence[str], form: Form = PROBABILITIES
) -> None:
    """Check that a submission can be scored; its columns and rows may stand in any order.

    Parameters
    ----------
    submission
        Ids as text, and what the form asks for.
    test_ids
        The ids that have to be there, each once.
    form
        What it should hold.

    Raises
    ------
    DataError
        Every problem found: wrong columns; ids missing, foreign or repeated; probabilities
        missing, not finite, outside [0, 1], or not summing to 1 in a row; winners missing or
        unknown.
    """
    refuse_problems(submission_problems(submission, test_ids, form), where=None)


def write_submission(
    path: Path, submission: pl.DataFrame, test_ids: Sequence[str], form: Form = PROBABILITIES
) -> None:
    """Write a submission in the order of the test file, whole or not at all.

    Parameters
    ----------
    path
        The CSV file to write, with the columns of the form.
    submission
        Its rows, in any order.
    test_ids
        Ids in the order of the test file.
    form
        What the file holds.

    Raises
    ------
    DataError
        As in ``check_submission``; nothing is written then.
    EnsembleError
        The file cannot be written; what stood there before is kept.
    """
    write_text(path, submission_text(submission, test_ids, form))


def submission_text(
    submission: pl.DataFrame, test_ids: Sequence[str], form: Form = PROBABILITIES
) -> str:
    """Give the content of a submission file; parameters and errors as ``write_submission``."""
    check_submission(submission, test_ids, form)
    ordered = pl.DataFrame({"id": test_ids}, schema={"id": pl.String}).join(
        submission.select(form.columns), on="id", how="left", maintain_order="left"
    )
    return ordered.write_csv()


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
    return _read(path, None)[0]


def _read(path: Path, ties: bool | None) -> tuple[pl.DataFrame, Form]:
    """Read a file, and tell its form; ``ties`` says which it should have."""
    _check_is_file(path)
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
    _refuse(bad, n_rows, path, _WINNER_ROWS_HINT if form.is_winner else _ROWS_HINT)
    return numbers, form


def _has_two_classes(numbers: pl.DataFrame) -> bool:
    """Say whether both sides have all there is, in most rows; else a tie's column is missing."""
    sums = numbers.select(pl.sum_horizontal(SIDES.columns[1:])).to_series()
    return bool(((sums - 1.0).abs() <= SUM_TOLERANCE).sum() * 2 > len(numbers))


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
    _check_is_file(path)
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
    _refuse(bad, len(found) + len(bad), path, "fix the rows: a submission needs every test row")
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


class Validated(NamedTuple):
    """A submission that is valid.

    Parameters
    ----------
    rows
        How many it has.
    form
        What they hold.
    winners
        How often each winner is named; empty where rows hold probabilities.
    """

    rows: int
    form: Form
    winners: dict[str, int]


def validate_submission(path: Path, test_path: Path, reading_as: Reading | None = None) -> int:
    """Check any submission file against a test file; gives its rows. As ``validate_file``."""
    return validate_file(path, test_path, reading_as=reading_as).rows


def validate_file(
    path: Path, test_path: Path, *, ties: bool | None = None, reading_as: Reading | None = None
) -> Validated:
    """Check any submission file against a test file.

    Parameters
    ----------
    path
        The submission, CSV; its header tells its form.
    test_path
        The test file: CSV, Parquet or JSON Lines.
    ties
        Whether the task has ties; None takes the form that the file has.
    reading_as
        As in ``read_test_ids``.

    Raises
    ------
    DataError
        One of the files cannot be read, or the submission is not valid.
    """
    test_ids = read_test_ids(test_path, reading_as)
    submission, form = _read(path, ties)
    refuse_problems(submission_problems(submission, test_ids, form), where=str(path))
    counts: dict[str, int] = {}
    if form.is_winner:
        named = submission[WINNER_COLUMN]
        counts = {winner: int((named == winner).sum()) for winner in form.winners}
    return Validated(submission.height, form, counts)


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


def _refuse(bad: Sequence[BadRow], n_rows: int, path: Path, hint: str) -> None:
    if bad:
        raise refuse_bad_rows(bad, n_rows, where=str(path), hint=hint)


def _check_is_file(path: Path) -> None:
    """Refuse a path that names no file; it was given on a command line or in Python."""
    if path.is_dir():
        raise DataError(
            "this is a directory, not a file", where=str(path), hint="give the path of a file in it"
        )
    if not path.exists():
        raise DataError(
            "there is no such file",
            where=str(path),
            hint="check the spelling; relative paths start at the current directory",
        )
    if not path.is_file():
        raise DataError("this is a device or a pipe, and no file", where=str(path))
