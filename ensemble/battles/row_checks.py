"""Which rows of a file may be left out: none of a whole class, and none where nobody said so."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.files.raw import kinds_of, refuse_bad_rows
from ensemble.battles.labels import LABEL_FAULTS, UNKNOWN_WINNER
from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.battles.turns import PLAIN_HINT
from ensemble.errors import DataError
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.battles.files.raw import BadRow
    from ensemble.battles.rows import Rows

_LISTED = 20
"""Unknown values of a label that an error lists."""
_SEVERAL = 3
"""Rows whose label cannot be read, for which it is no slip of a pen."""
_NO_ROWS = "give a file with battles; docs/data.md says how each kind is read"


def check_bad_rows(
    rows: Rows, file: str, notes: Sequence[str], *, drop: bool, is_test: bool
) -> None:
    """Refuse a file without rows, and one with rows that cannot be read, where they may not go.

    Parameters
    ----------
    rows
        As they were read.
    file
        Which, for errors.
    notes
        What there is to say of a file that has no row.
    drop
        Whether rows that cannot be read may be left out.
    is_test
        Whether it is the test file.

    Raises
    ------
    DataError
        It has no row, or such rows.
    """
    if not rows.seen:
        if notes:
            told = "; ".join(notes)
            raise DataError(f"the file has no battle: {told}", where=file, hint=_NO_ROWS)
        raise DataError("the file has no rows", where=file, hint=_NO_ROWS)
    if not rows.bad or (drop and rows.lines):
        return
    hints = [*_unknown_winners(rows), "fix the rows"]
    if any(PLAIN_HINT in row.reason for row in rows.bad):
        hints.append(f"for text cells that are no JSON set {PLAIN_HINT}")
    if is_test:
        hints.append("none can be left out: a submission needs every test row")
    elif rows.lines:
        hints.append('to leave them out set on_bad_rows = "drop"')
    raise refuse_bad_rows(
        rows.bad, rows.seen, where=file, hint="; ".join(hints), all_bad=not rows.lines
    )


def _unknown_winners(rows: Rows) -> list[str]:
    """List the values of the label that are not known, with counts."""
    reasons = [row.reason for row in rows.bad if row.reason.startswith(UNKNOWN_WINNER)]
    values = Counter(
        reason.removeprefix(UNKNOWN_WINNER).split(";")[0].split(" in ")[0].strip()
        for reason in reasons
    )
    if not values:
        return []
    told = ", ".join(f"{value} ({count:,})" for value, count in values.most_common(_LISTED))
    return [f'say what values of the label mean with winner = {{ "value" = "a" }}: {told}']


def check_classes(
    battles: pl.DataFrame, bad: Sequence[BadRow], file: str, classes: Sequence[str]
) -> None:
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
    for place, name in enumerate(classes):
        if not kept[name] and (unknown or any(label[place] for label in lost)):
            told = "; ".join(f"{kind} ({count:,})" for kind, count in kinds_of(bad).items())
            raise DataError(
                f"no row with {name} is left: {len(bad):,} rows were left out: {told}",
                where=file,
                hint="fix these rows: without them the labels are not those of the file",
            )
