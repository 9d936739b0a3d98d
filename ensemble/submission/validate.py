"""Any submission file checked against its test file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ensemble.battles.labels import WINNER_COLUMN
from ensemble.submission.checks import refuse_problems, submission_problems
from ensemble.submission.parse import parse_submission
from ensemble.submission.reading import read_test_ids

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.config.settings import Reading
    from ensemble.submission.forms import Form


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
    submission, form = parse_submission(path, ties)
    refuse_problems(submission_problems(submission, test_ids, form), where=str(path))
    counts: dict[str, int] = {}
    if form.is_winner:
        named = submission[WINNER_COLUMN]
        counts = {winner: int((named == winner).sum()) for winner in form.winners}
    return Validated(submission.height, form, counts)
