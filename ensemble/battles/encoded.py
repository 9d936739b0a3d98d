"""Texts that a program has encoded once too often: lists, messages and quoted texts within text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from ensemble.battles.files.raw import JSON
from ensemble.battles.messages import is_message
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.turns import BadCell, list_of, looks_like_list
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ensemble.battles.turns import TextFormat, Turns

_SEVERAL = 2
_MANY = 20
"""Texts in quotes of each column that tell of a file, and not of all of a source."""
_NEARLY_ALL = 0.95
_OF_SPREADSHEET = "="
"""Stands before the quotes of a text that a spreadsheet shall not take for a number."""
_NOTHING = ("null", "None", "nan", "NaN")
"""What programs write without quotes for a text that is not there."""
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


@dataclass
class _Quoted:
    """How many texts of each column there are so far, and how many of them are in quotes."""

    texts: Counter[str] = field(default_factory=Counter)
    quoted: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, parts: Iterable[_Quoted]) -> Self:
        """Count several files together."""
        whole = cls()
        for part in parts:
            whole.texts.update(part.texts)
            whole.quoted.update(part.quoted)
        return whole

    def add(self, name: str, cells: Sequence[Turns]) -> None:
        turns = [turn for turns in cells for turn in turns if turn and turn not in _NOTHING]
        self.texts[name] += len(turns)
        self.quoted[name] += sum(map(_is_quoted, turns))

    def says(self, least: int) -> bool:
        """Say whether nearly all texts are in quotes, and in each column as many as ``least``."""
        return bool(self.texts) and all(
            self.quoted[name] >= max(least, _NEARLY_ALL * count)
            for name, count in self.texts.items()
        )


@dataclass
class _Structured:
    """How many single turns of each column there are so far, and what those say that are lists."""

    texts: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Iterable[_Structured]) -> Self:
        """Count several files together."""
        whole = cls()
        for part in parts:
            whole.texts.update(part.texts)
            for name, kinds in part.kinds.items():
                whole.kinds.setdefault(name, Counter()).update(kinds)
        return whole

    def add(self, name: str, cells: Sequence[Turns]) -> None:
        single = [turns[0] for turns in cells if len(turns) == 1 and turns[0]]
        found = (kind for text in single if (kind := _structure_of(text)) is not None)
        self.texts[name] += len(single)
        self.kinds.setdefault(name, Counter()).update(found)

    def refuse(self, where: str, text_format: TextFormat) -> None:
        """Refuse a column most of which is no text; see ``Encoded.refuse``."""
        for name, kinds in self.kinds.items():
            found, texts = kinds.total(), self.texts[name]
            if found < _SEVERAL or 2 * found <= texts:
                continue
            kind = kinds.most_common(1)[0][0]
            raise DataError(
                f"{found:,} of {texts:,} cells of {name} are {kind}, not plain text",
                where=where,
                hint='set text_format = "json", which reads lists as Python writes them too'
                if text_format == "plain" and kind == _LISTS
                else _HINTS[kind],
            )


@dataclass
class Encoded:
    """What has been seen of texts that are encoded once too often, chunk after chunk.

    Lists and messages are told by the most of a file or of a source; quotes, which also stand
    around texts that somebody has typed, by nearly all texts of a file or of a source.

    Parameters
    ----------
    quoted, structured
        Texts in quotes, and lists and messages, by file.
    """

    quoted: dict[str, _Quoted] = field(default_factory=dict)
    structured: dict[str, _Structured] = field(default_factory=dict)

    def add(self, texts: Mapping[str, Sequence[Turns]], file: str, text_format: TextFormat) -> None:
        """Look at some rows.

        Parameters
        ----------
        texts
            Turns of some rows, by text column.
        file
            Theirs.
        text_format
            What a string was taken for.
        """
        quoted = self.quoted.setdefault(file, _Quoted())
        structured = self.structured.setdefault(file, _Structured())
        for name, cells in texts.items():
            quoted.add(name, cells)
            # Answers within lists may be lists that somebody asked for.
            if text_format != "json" or name == TEXT_COLUMNS[0]:
                structured.add(name, cells)

    def refuse(self, where: str, text_format: TextFormat, *, is_said: bool) -> None:
        """Refuse what all of a source, or all of a file of it, shows.

        Parameters
        ----------
        where
            The source, for errors.
        text_format
            What a string was taken for.
        is_said
            Whether the config says that; it may mean quotes as they stand.

        Raises
        ------
        DataError
            Most single turns of a column are lists or messages, brackets and all; or nearly all
            texts are in quotes.
        """
        for file, structured in self.structured.items():
            structured.refuse(file, text_format)
        _Structured.of(self.structured.values()).refuse(where, text_format)
        if is_said:
            return
        for file, quoted in self.quoted.items():
            if quoted.says(_MANY):
                raise _in_quotes(quoted, file, text_format)
        whole = _Quoted.of(self.quoted.values())
        if whole.says(_SEVERAL):
            raise _in_quotes(whole, where, text_format)


def _in_quotes(quoted: _Quoted, where: str, text_format: TextFormat) -> DataError:
    found, texts = quoted.quoted.total(), quoted.texts.total()
    how_many = "all" if found == texts else f"{found:,} of {texts:,}"
    return DataError(
        f"{how_many} cells of {', '.join(quoted.texts)} are texts in quotes",
        where=where,
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


def _is_quoted(text: str) -> bool:
    text = text.removeprefix(_OF_SPREADSHEET)
    quote = text[:1]
    ends = quote in _QUOTES and len(text) > 1 and text[-1] == quote
    inside = text[1:-1].replace(f"\\{quote}", "").replace(2 * quote, "")
    return ends and quote not in inside
