"""Privileged columns as text, for models that are shown what does not exist at test time.

The text stands between a template's start and its first round, and is tokenized as users' text is:
neither a column's name nor its value becomes a special token, whatever is written in it. A value
is one line, so that none can write another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.swap import side_pairs, swap_battles
from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

HEADING = "\n\n### Known of this battle"
UNKNOWN = "unknown"
"""Stands where a source does not say it."""


def privileged_texts(
    battles: pl.DataFrame, columns: Sequence[str], *, swapped: bool = False
) -> list[str] | None:
    """Write the privileged columns of battles, one text each; None where there are none.

    Parameters
    ----------
    battles
        ``LEARNER_COLUMNS`` and the columns.
    columns
        Their names. Of a pair such as ``model_a`` and ``model_b`` the text says ``model of A`` and
        ``model of B``; other columns go by their own names.
    swapped
        Whether A and B are exchanged, and so both columns of a pair.

    Raises
    ------
    LearnerError
        The battles lack a column.
    """
    if not columns:
        return None
    if missing := [name for name in columns if name not in battles.columns]:
        raise LearnerError(
            f"the learner sees privileged columns, and the battles lack {', '.join(missing)}",
            hint="it can only predict rows that have them: ask a learner that it teaches",
        )
    rows = battles.select(columns)
    rows = swap_battles(rows) if swapped else rows
    labels = _labels(columns)
    return [
        "\n".join(
            [HEADING, *(f"{label}: {_line(v)}" for label, v in zip(labels, row, strict=True))]
        )
        for row in rows.iter_rows()
    ]


def _labels(columns: Sequence[str]) -> list[str]:
    """Name the columns for a reader: ``model of A``."""
    sides: dict[str, str] = {}
    for first, second in side_pairs(columns):
        common = _common(first, second)
        sides |= {first: f"{common} of A", second: f"{common} of B"}
    return [_line(sides.get(name, name)) for name in columns]


def _common(first: str, second: str) -> str:
    """Give the words that two names have in common: ``model`` of ``model_a`` and ``model_b``."""
    words = zip(first.split("_"), second.split("_"), strict=False)
    return "_".join(one for one, other in words if one == other)


def _line(value: object) -> str:
    return " ".join(str(value).split()) if value is not None else UNKNOWN
