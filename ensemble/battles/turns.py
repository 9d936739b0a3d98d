"""Cells to turns: JSON lists, native lists, plain text; and ids."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from ensemble.battles.files.raw import JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    Turns = list[str | None]

TextFormat = Literal["auto", "json", "plain"]
"""What a string in a text column is: a JSON list of turns, or one turn as it stands; ``"auto"``
tells by the first rows of a file."""
PLAIN_HINT = 'text_format = "plain"'

_MESSAGE = r"""\[?\s*\{\s*['"](?:role|from|content|value)['"]\s*:"""
_BEGINS_LIST = re.compile(rf"""\s*(?:(?:array\()?[\[(]\s*['"]|{_MESSAGE})""")
_LIKE_LIST = re.compile(rf"""\[\s*(?:\]|null\b|None\b)|(?:array\()?[\[(]\s*['"]|{_MESSAGE}""")
_ENDS_LIST = ("]", ")", "}")
"""Lists of texts; tuples, arrays and messages, which are no plain text either, and not read."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class BadCell(ValueError):  # noqa: N818 - it is a verdict on a row, shown as such, and not a failure
    """A cell that makes its row unreadable; the message is the reason."""


def to_utf8(text: str) -> str:
    r"""Replace lone surrogates, which UTF-8 cannot hold, by U+FFFD.

    Examples
    --------
    >>> to_utf8("cut \ud83d here")
    'cut � here'
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", text)
    return text


def id_of(cell: object) -> str:
    """Spell an id: strings as they stand, integers in decimal.

    Raises
    ------
    BadCell
        Empty, or of a type with no single spelling (a float, a date).
    """
    if isinstance(cell, str):
        if not cell.strip():
            raise BadCell("the id is empty")
        return to_utf8(cell)
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if cell is None or cell != cell:
        raise BadCell("the id is missing")
    raise BadCell(f"the id {cell!r} is neither a string nor an integer")


def looks_like_list(cell: str) -> bool:
    """Say whether a string begins and ends as a list of texts or messages, broken or not."""
    text = cell.strip()
    return text.endswith(_ENDS_LIST) and _LIKE_LIST.match(text) is not None


def turns_column(cells: Sequence[Turns]) -> pl.Series:
    """Make a column of lists, ``(n,)``: by far faster than Polars makes one out of lists."""
    lengths = np.fromiter(map(len, cells), np.int64, len(cells))
    texts = _texts(cells)
    if len(texts) and lengths.min() == lengths.max():
        return texts.reshape((len(cells), int(lengths[0]))).arr.to_list()
    rows = pl.DataFrame({"row": np.arange(len(cells), dtype=np.int64)})
    each = pl.DataFrame({"row": np.repeat(rows["row"], lengths), "turn": texts})
    lists = each.group_by("row", maintain_order=True).agg("turn")
    found = rows.join(lists, on="row", how="left", maintain_order="left")
    return found["turn"].fill_null(pl.Series([[]], dtype=pl.List(pl.String)))


def _texts(cells: Sequence[Turns]) -> pl.Series:
    """Put all turns below each other; text is looked through only where UTF-8 cannot hold some."""
    turns = list(chain.from_iterable(cells))
    try:
        return pl.Series(turns, dtype=pl.String)
    except UnicodeEncodeError:
        kept = [turn if turn is None else to_utf8(turn) for turn in turns]
        return pl.Series(kept, dtype=pl.String)


def turns_of(cell: object, name: str, text_format: TextFormat) -> Turns:
    """Read one text cell.

    Parameters
    ----------
    cell
        A list of strings and nulls, or a string in ``text_format``.
    name
        The column, for the reason.
    text_format
        What a string is.

    Raises
    ------
    BadCell
        The cell is no list of strings and nulls.
    """
    if isinstance(cell, str) and text_format == "plain":
        return [cell]
    if isinstance(cell, list) and set(map(type, cell)) == {str}:
        return cell  # most cells are that by now
    # Only a string can be meant as plain text; a native list is what it is.
    plain = isinstance(cell, str) and not _BEGINS_LIST.match(cell)
    hint = f" (for text as it stands set {PLAIN_HINT})" if plain else ""
    turns = list_of(cell, name, f"turns{hint}")
    return [turn_of(turn, number, name, hint) for number, turn in enumerate(turns, 1)]


def turn_of(turn: object, number: int, name: str, hint: str = "") -> str | None:
    """Take one turn: a string, or null; errors as ``turns_of``."""
    if isinstance(turn, str):
        return turn
    if turn is None or turn != turn:
        return None
    raise BadCell(f"{name}: turn {number} is {turn!r:.40}, neither a string nor null{hint}")


def list_of(cell: object, name: str, what: str) -> list[Any]:
    """Take a list as it is, or out of text as JSON or Python writes it.

    Raises
    ------
    BadCell
        It is none; ``what`` says of what it should be one.
    """
    if cell is None or cell != cell:  # NaN is what some programs write for nothing
        raise BadCell(f"{name} is missing")
    found = cell
    if isinstance(cell, str):
        try:
            found = JSON.decode(cell)
        except (ValueError, RecursionError):
            found = _python_list(cell)
    if isinstance(found, list):
        return found
    raise BadCell(f"{name} is {cell!r:.40}, not a JSON list of {what}")


def _python_list(text: str) -> object:
    """Read a list as Python writes it; None where it is none.

    Two texts without a comma between them are one for Python and two for whoever wrote an array.
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text.strip()).readline))
        kinds = [token.type for token in tokens if token.type != tokenize.NL]
        if any(pair == (tokenize.STRING, tokenize.STRING) for pair in pairwise(kinds)):
            return None
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        return None
