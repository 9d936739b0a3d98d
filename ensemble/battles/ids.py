"""Ids for battles that have none, or that share one: from what they say, in any order of rows."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS, TEXT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

JUDGES = ("judge", "judge_hash", "user_id", "annotator", "annotator_id", "worker")
"""Columns of metadata that tell votes on the same answers apart."""
_SAID = (*TEXT_COLUMNS, "model_a", "model_b")
_AT_A_TIME = 10_000


def content_names(battles: pl.DataFrame, judges: pl.DataFrame, size: int = 8) -> list[str]:
    """Hash question, pair and judge of each battle, but not its label: hex digits.

    Parameters
    ----------
    battles
        ``TEXT_COLUMNS`` and names of models.
    judges
        As many rows; any columns that tell votes apart.
    size
        Bytes of the hash.
    """
    columns = [battles[name] for name in _SAID]
    columns += [_as_text(judges[name]) for name in judges.columns]
    spelled = [_spelled(pl.col(column.name), column.dtype) for column in columns]
    whole = pl.concat_str(spelled).cast(pl.Binary)
    # Some rows at a time: all texts would be in memory once more.
    parts = (part.select(whole) for part in pl.DataFrame(columns).iter_slices(_AT_A_TIME))
    rows = chain.from_iterable(part.to_series() for part in parts)
    return [blake2b(row, digest_size=size).hexdigest() for row in rows]


def _as_text(column: pl.Series) -> pl.Series:
    """Write the values of a column as Python does."""
    if column.dtype == pl.String:
        return column
    texts = [None if cell is None else repr(cell) for cell in column]
    return pl.Series(column.name, texts, dtype=pl.String)


def _spelled(cells: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Write cells so that no two rows are written alike.

    A value stands behind its length; null has none. A list stands in brackets.
    """
    if isinstance(kind, pl.List):
        items = cells.list.eval(_spelled(pl.element(), pl.String())).list.join("")
        return pl.lit("[") + items + pl.lit("]")
    length = cells.str.len_bytes().cast(pl.String)
    return (length + pl.lit(":") + cells).fill_null("-")


def made_ids(battles: pl.DataFrame, judges: pl.DataFrame) -> pl.Series:
    """Make an id of each battle: a hash, and a number where others say the very same."""
    return _numbered(content_names(battles, judges), battles)


def told_apart(battles: pl.DataFrame, judges: pl.DataFrame) -> pl.Series:
    """Give battles that share an id one each: theirs, and a hash of what they say.

    Parameters
    ----------
    battles
        With ``id``; the ids of others are left as they are.
    judges
        As in ``content_names``.
    """
    shared = battles["id"].is_duplicated()
    places = shared.arg_true()
    some = battles[places]
    names = [
        f"{identifier}-{name}"
        for identifier, name in zip(
            some["id"],
            content_names(some, judges[places] if judges.width else judges, size=4),
            strict=True,
        )
    ]
    ids = battles["id"].to_list()
    for place, identifier in zip(places, _numbered(names, some), strict=True):
        ids[place] = identifier
    return pl.Series("id", ids, dtype=pl.String)


def _numbered(names: Sequence[str], battles: pl.DataFrame) -> pl.Series:
    """Tell battles of one name apart by a number, by their labels and not by their places."""
    counts = Counter(names)
    if len(counts) == len(names):
        return pl.Series("id", names, dtype=pl.String)
    labels = battles.select(LABEL_COLUMNS).rows()
    order = sorted(range(len(names)), key=lambda at: (names[at], _sortable(labels[at]), at))
    ids, seen = list(names), Counter[str]()
    for place in order:
        name = names[place]
        seen[name] += 1
        ids[place] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return pl.Series("id", ids, dtype=pl.String)


def _sortable(label: tuple[Any, ...]) -> tuple[float, ...]:
    return tuple(-1.0 if share is None else -share for share in label)
