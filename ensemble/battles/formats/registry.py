"""All formats, and which of them a file has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.columns import MODEL_COLUMNS, RAW_COLUMNS
from ensemble.battles.formats import battles
from ensemble.battles.formats.answers import ANSWERS
from ensemble.battles.formats.battles import BATTLES, CONVERSATIONS
from ensemble.battles.formats.chosen import CHOSEN
from ensemble.battles.formats.layout import FormatOptions
from ensemble.battles.formats.rated import RATED
from ensemble.battles.formats.several import SEVERAL
from ensemble.battles.formats.sided import SIDED
from ensemble.battles.formats.trees import TREES
from ensemble.errors import AmbiguousError, DataError, nearest

if TYPE_CHECKING:
    from ensemble.battles.formats.layout import Format, Layout, Sheet

FORMATS: tuple[Format, ...] = (
    BATTLES,
    CONVERSATIONS,
    CHOSEN,
    SIDED,
    ANSWERS,
    TREES,
    RATED,
)
"""Every format that is read without a plugin."""
VERSION = 4
"""Raise it when the same file comes to be read otherwise."""


def format_names() -> tuple[str, ...]:
    """Name the formats, as ``format = "..."`` has them."""
    return tuple(one.name for one in FORMATS)


def recognize(sheet: Sheet, where: str) -> Layout:
    """Find the one format that a file has.

    Parameters
    ----------
    sheet
        Its columns, and what the config says.
    where
        The file, for errors.

    Raises
    ------
    DataError
        It has none, or several; or the one that the config names lacks columns.
    """
    layout = _recognized(sheet, where) if sheet.options.format is None else _forced(sheet, where)
    _refuse_idle(sheet, layout, where)
    return layout


def _refuse_idle(sheet: Sheet, layout: Layout, where: str) -> None:
    """Refuse options that have nothing to do: what they should have done is not done."""
    options, usual = sheet.options, FormatOptions()
    given = [
        n
        for n in (*sorted(SEVERAL), "ranking", "winner")
        if getattr(options, n) != getattr(usual, n)
    ]
    idle = [name for name in given if name not in layout.uses]
    if idle and sheet.labeled:
        raise DataError(
            f"{', '.join(idle)}: nothing in this file to use it on, which is read as {layout.told}",
            where=where,
            hint="leave it out, or name another format or column",
        )


def _recognized(sheet: Sheet, where: str) -> Layout:
    found = {one.name: layout for one in FORMATS if (layout := _try(one, sheet, where))}
    if len(found) > 1:
        found.pop(RATED.name, None)  # its columns have names that many files use for other things
    if sheet.options.columns and len(found) > 1 and BATTLES.name in found:
        found = _mapped(sheet, found)
    if len(found) > 1:
        raise AmbiguousError(
            f"the columns fit several formats: {', '.join(found)}",
            where=where,
            hint=f'say which one it is: format = "{next(iter(found))}"',
            ways=[{"format": name} for name in found],
        )
    if not found:
        battles.refuse(sheet, where)
        raise _none_fits(sheet, where)
    return next(iter(found.values()))


def _mapped(sheet: Sheet, found: dict[str, Layout]) -> dict[str, Layout]:
    """Take battles where the config maps their columns."""
    ours = {"response_a", "response_b"} <= set(sheet.options.columns)
    return {BATTLES.name: found[BATTLES.name]} if ours else found


def _forced(sheet: Sheet, where: str) -> Layout:
    name = sheet.options.format or ""
    chosen = next((one for one in FORMATS if one.name == name), None)
    if chosen is None:
        raise DataError(f'there is no format "{name}"', hint=nearest(name, format_names()))
    layout = _try(chosen, sheet, where)
    if layout is None:
        if chosen in (BATTLES, CONVERSATIONS):
            battles.refuse(sheet, where)
        raise DataError(
            f'the file lacks columns of format "{name}": {chosen.needs}',
            where=where,
            hint=f"the file has: {_listed(sheet)}; `columns` gives them our names",
        )
    return layout


def _try(one: Format, sheet: Sheet, where: str) -> Layout | None:
    try:
        return one.recognize(sheet)
    except DataError as error:
        error.where = error.where or where
        raise


def _none_fits(sheet: Sheet, where: str) -> DataError:
    return DataError(
        "the columns fit no format",
        where=where,
        hint=f"the file has: {_listed(sheet)}; give them our names with `columns`, or a format",
    )


def _listed(sheet: Sheet) -> str:
    return ", ".join(f"{name:.60}" for name in sheet.present[:20])


def known_columns() -> frozenset[str]:
    """Give our names of columns, to which `columns` maps those of a file."""
    return RAW_COLUMNS | {*MODEL_COLUMNS, *MAPPED}


MAPPED = ("chosen", "rejected", "answers", "response", "rank", "score", "prompt_id", "model")
"""Names of columns beside those of battles that a config may map."""
