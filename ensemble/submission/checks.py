"""What can be wrong with a submission, and how to fix each fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from ensemble.battles.files.raw import BadRow, refuse_bad_rows
from ensemble.battles.labels import WINNER_COLUMN
from ensemble.errors import DataError
from ensemble.submission.forms import PROBABILITIES, SIDES, WINNER, WINNERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ensemble.submission.forms import Form

SUM_TOLERANCE = 1e-3 + 1e-9
"""How far the probabilities of a row may be from summing to 1."""
_SHOWN = 5
_COLUMNS_HINT = (
    f"a submission is a CSV file with the columns {', '.join(PROBABILITIES.columns)} and no "
    f"others, with {', '.join(SIDES.columns)} where the task has no ties, or with "
    f"{', '.join(WINNER.columns)} where it asks for winners"
)
_TYPES_HINT = "make ids strings and probabilities floats"
_IDS_HINT = "every test id needs one row, and there may be no other rows"
_TEST_IDS_HINT = "give every row of the test file an id of its own"
_VALUES_HINT = "every probability is a number from 0 to 1"
_WINNERS_HINT = f"every winner is {WINNERS[0]}, {WINNERS[1]} or {WINNERS[2]}, spelled so"
_NO_TIES_HINT = f"the task has no ties: every winner is {WINNERS[0]} or {WINNERS[1]}, spelled so"
_SUMS_HINT = "divide each row's probabilities by their sum"


class Problem(NamedTuple):
    """One fault of a submission.

    Parameters
    ----------
    text
        What is wrong, with a count and the first ids.
    hint
        What to do about it; None where the text says it.
    """

    text: str
    hint: str | None


def submission_problems(
    submission: pl.DataFrame, test_ids: Sequence[str], form: Form = PROBABILITIES
) -> list[Problem]:
    """Find every fault of a submission, or those of its columns alone where it has such.

    Parameters
    ----------
    submission
        Ids as text, and what the form asks for; columns and rows may stand in any order.
    test_ids
        The ids that have to be there, each once.
    form
        What it should hold.
    """
    values = _winner_problems if form.is_winner else _value_problems
    return [*_column_problems(submission, form)] or [
        *_id_problems(submission["id"], test_ids),
        *values(submission, form),
    ]


def refuse_problems(problems: Sequence[Problem], where: str | None) -> None:
    """Raise one error for all problems; nothing where there are none.

    Raises
    ------
    DataError
        There are problems; the hints are those of the faults found.
    """
    if problems:
        hints = dict.fromkeys(problem.hint for problem in problems if problem.hint)
        listing = [f"  {problem.text}" for problem in problems]
        raise DataError(
            "\n".join(["the submission is not valid:", *listing]),
            where=where,
            hint="; ".join(hints) or None,
        )


def missing_columns(present: Sequence[str], form: Form) -> Iterator[Problem]:
    """Name the columns that are not there; shows the header of a file that has none of them."""
    missing = [name for name in form.columns if name not in present]
    if missing:
        none = missing == [*form.columns]
        header = f"; the header is {', '.join(present)!r:.60}" if none else ""
        yield Problem(f"missing columns: {', '.join(missing)}{header}", _COLUMNS_HINT)


def repeated_ids(ids: Iterable[str]) -> list[str]:
    """Name each id that occurs more than once, in order."""
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for identifier in ids:
        if identifier in seen:
            repeated[identifier] = None
        seen.add(identifier)
    return list(repeated)


def id_listing(ids: Iterable[str]) -> str:
    """Count ids and show the first of them: ``(2): "7", "9"``."""
    names = list(ids)
    shown = ", ".join(f'"{name}"' for name in names[:_SHOWN])
    return f"({len(names):,}): {shown}{', …' if len(names) > _SHOWN else ''}"


def _column_problems(submission: pl.DataFrame, form: Form) -> Iterator[Problem]:
    schema = submission.schema
    yield from missing_columns(submission.columns, form)
    foreign = [name for name in schema if name not in form.columns]
    if foreign:
        yield Problem(f"foreign columns: {', '.join(foreign)}", _COLUMNS_HINT)
    if schema.get("id", pl.String()) != pl.String:
        yield Problem(f"ids are {schema['id']}, not strings", _TYPES_HINT)
    for name in () if form.is_winner else form.columns[1:]:
        if name in schema and not schema[name].is_float():
            yield Problem(f"{name} is {schema[name]}, not a float", _TYPES_HINT)


def _id_problems(ids: pl.Series, test_ids: Sequence[str]) -> Iterator[Problem]:
    present, due = set(ids), set(test_ids)
    for what, wrong, hint in (
        ("missing ids", [i for i in test_ids if i not in present], _IDS_HINT),
        ("foreign ids", [i for i in ids if i not in due], _IDS_HINT),
        ("repeated ids", repeated_ids(ids), _IDS_HINT),
        ("ids repeated in the test file", repeated_ids(test_ids), _TEST_IDS_HINT),
    ):
        if wrong:
            yield Problem(f"{what} {id_listing(wrong)}", hint)


def _winner_problems(submission: pl.DataFrame, form: Form) -> Iterator[Problem]:
    ids, winners = submission["id"], submission[WINNER_COLUMN].cast(pl.String)
    empty = (winners.fill_null("").str.strip_chars() == "").to_numpy()
    unknown = ~winners.fill_null("").is_in(list(form.winners)).to_numpy() & ~empty
    hint = _WINNERS_HINT if form.ties else _NO_TIES_HINT
    if empty.any():
        yield Problem(f"rows without a winner {id_listing(ids.filter(empty))}", hint)
    if unknown.any():
        counts = winners.filter(unknown).value_counts(sort=True).rows()
        told = ", ".join(f"{value!r:.40} ({count:,})" for value, count in counts[:_SHOWN])
        more = ", ..." if len(counts) > _SHOWN else ""
        named = id_listing(ids.filter(unknown))
        yield Problem(f"rows whose winner is {told}{more} {named}", hint)


def _value_problems(submission: pl.DataFrame, form: Form) -> Iterator[Problem]:
    values = submission.select(form.columns[1:]).cast(pl.Float64).to_numpy()
    finite = np.isfinite(values).all(axis=1)
    outside = ((values < 0.0) | (values > 1.0)).any(axis=1) & finite
    totals = values.sum(axis=1, where=finite[:, None])
    off = (np.abs(totals - 1.0) > SUM_TOLERANCE) & finite
    for what, wrong, hint in (
        ("rows with a probability missing or not finite", ~finite, _VALUES_HINT),
        ("rows with a probability outside [0, 1]", outside, _VALUES_HINT),
        ("rows whose probabilities do not sum to 1", off, _SUMS_HINT),
    ):
        if wrong.any():
            yield Problem(f"{what} {id_listing(submission['id'].filter(wrong))}", hint)


def refuse_rows(bad: Sequence[BadRow], n_rows: int, path: Path, hint: str) -> None:
    """Refuse the rows of a file that cannot be read, if there are any."""
    if bad:
        raise refuse_bad_rows(bad, n_rows, where=str(path), hint=hint)


def check_is_file(path: Path) -> None:
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
