"""Texts that a program has encoded once too often: lists, messages and quoted texts within text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.files.raw import JSON
from ensemble.battles.messages import is_message
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.turns import BadCell, list_of, looks_like_list
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.battles.turns import TextFormat, Turns

_SEVERAL = 2
_LISTS, _MESSAGES, _TWICE = "lists of turns", "messages", "lists that were encoded twice"
_OPENS = ("[", "{")
_QUOTE = '"'
_QUOTES = ("'", _QUOTE)
_HINTS = {
    _LISTS: "write lists of turns as lists, and not as text within them",
    _MESSAGES: "write what they say alone; whole conversations stand in conversation_a and "
    "conversation_b, which `columns` may name",
    _TWICE: "decode the cells once before they are written",
}


def refuse_encoded(
    texts: Mapping[str, Sequence[Turns]], file: str, text_format: TextFormat, *, is_said: bool
) -> None:
    """Refuse lists, messages and quoted texts that would be read as text, brackets and all.

    Parameters
    ----------
    texts
        Turns of some rows, by text column.
    file
        For errors.
    text_format
        What a string was taken for.
    is_said
        Whether the config says that; it may mean quotes as they stand.

    Raises
    ------
    DataError
        Most single turns of a column are lists or messages; or all in all columns are in quotes.
    """
    for name, cells in texts.items():
        if text_format == "json" and name != TEXT_COLUMNS[0]:
            break  # answers within lists may be lists that somebody asked for
        single = [turns[0] for turns in cells if len(turns) == 1 and turns[0]]
        kinds = [kind for text in single if (kind := _structure_of(text)) is not None]
        if len(kinds) >= _SEVERAL and 2 * len(kinds) > len(single):
            kind = max(kinds, key=kinds.count)
            raise DataError(
                f"{len(kinds):,} of {len(single):,} cells of {name} are {kind}, not plain text",
                where=file,
                hint='set text_format = "json", which reads lists as Python writes them too'
                if text_format == "plain" and kind == _LISTS
                else _HINTS[kind],
            )
    if not is_said and _are_quoted(texts):
        raise DataError(
            f"all cells of {', '.join(texts)} are texts in quotes",
            where=file,
            hint="write them without: a program has encoded them once too often, or quotes "
            f"otherwise than CSV does; where quotes are part of the texts set "
            f'text_format = "{"plain" if text_format == "auto" else text_format}"',
        )


def _structure_of(text: str) -> str | None:
    """Say what a text is that is a list of turns, or messages, as JSON or as Python writes them."""
    begins = text.lstrip()[:1]
    if begins == _QUOTE:
        return _TWICE if _structure_of(_decoded(text)) else None
    if begins not in _OPENS or (begins == "{" and not looks_like_list(text)):
        return None
    try:
        items = list_of(text if begins == "[" else f"[{text}]", "", "turns")
    except BadCell:
        return None
    if not items:
        return None
    if all(map(is_message, items)):
        return _MESSAGES
    return _LISTS if all(item is None or isinstance(item, str) for item in items) else None


def _decoded(text: str) -> str:
    """Decode a JSON string; another text is empty."""
    try:
        found = JSON.decode(text)
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""


def _are_quoted(texts: Mapping[str, Sequence[Turns]]) -> bool:
    """Say whether all texts are quoted, as JSON or Python does it, and some are in each column."""
    filled = [[turn for turns in cells for turn in turns if turn] for cells in texts.values()]
    return all(len(turns) >= _SEVERAL and all(map(_is_quoted, turns)) for turns in filled)


def _is_quoted(text: str) -> bool:
    quote = text[0]
    ends = quote in _QUOTES and len(text) > 1 and text[-1] == quote
    return ends and quote not in text[1:-1].replace(f"\\{quote}", "")
