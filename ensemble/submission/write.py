"""The submission: one row per test id, in the order of the test file, checked before it is written.

Rows are matched by id, never by position: a file whose rows stand in another order than the model's
looks right and scores like noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ensemble.storage.json_files import write_text
from ensemble.submission.checks import refuse_problems, submission_problems
from ensemble.submission.forms import PROBABILITIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.submission.forms import Form


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
