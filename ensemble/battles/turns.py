"""Cells to turns: JSON lists, native lists, plain text, conversations; and ids."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from ensemble.battles.raw import JSON
from ensemble.battles.schema import TEXT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Turns = list[str | None]

TextFormat = Literal["json", "plain"]
"""What a string in a text column is: a JSON list of turns, or one turn as it stands."""
CONVERSATION_COLUMNS = ("conversation_a", "conversation_b")
"""Hub-style text columns: lists of ``{"role": ..., "content": ...}``."""
PLAIN_HINT = 'text_format = "plain"'

_BEGINS_LIST = re.compile(r"""\s*\[\s*['"]""")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SPEAKERS = ("user", "assistant")


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


def texts_of(cells: Mapping[str, Any], text_format: TextFormat) -> tuple[Turns, Turns, Turns]:
    """Read the three texts of a row, from text columns or from two conversations.

    Parameters
    ----------
    cells
        The row by column name, with ``TEXT_COLUMNS`` or else ``CONVERSATION_COLUMNS``.
    text_format
        What a string in a text column is.

    Returns
    -------
    tuple
        Turns of the prompt, response A and response B; all of one length.

    Raises
    ------
    BadCell
        A text cannot be read, or the numbers of turns differ.
    """
    if TEXT_COLUMNS[0] in cells:
        prompt, a, b = (turns_of(cells[name], name, text_format) for name in TEXT_COLUMNS)
    if CONVERSATION_COLUMNS[0] in cells:
        told = _from_conversations(*(cells[name] for name in CONVERSATION_COLUMNS))
        if TEXT_COLUMNS[0] in cells and told != (prompt, a, b):
            raise BadCell("conversation_a and conversation_b differ from prompt and responses")
        prompt, a, b = told
    if not len(prompt) == len(a) == len(b):
        raise BadCell(
            f"turn counts differ: prompt {len(prompt)}, response_a {len(a)}, response_b {len(b)}"
        )
    judged = _judged_turn(cells.get("turn"))
    return prompt[:judged], a[:judged], b[:judged]


def _judged_turn(cell: object) -> int | None:
    """Read which turn was judged: what comes after it has no part in the label; None is the last.

    Where a file means something else by the name of the column, it is left alone.
    """
    if isinstance(cell, str) and cell.strip().isdecimal():
        cell = int(cell)
    if isinstance(cell, bool) or not isinstance(cell, int) or cell < 1:
        return None
    return cell


def holds_list(cell: object) -> bool:
    """Say whether a string is a list of turns, as JSON or as Python writes it."""
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return False
    try:
        found = _list_of(cell, "", "turns")
    except BadCell:
        return False
    return all(turn is None or isinstance(turn, str) for turn in found)


def turns_column(cells: Sequence[Turns]) -> pl.Series:
    """Make a column of lists, ``(n,)``: by far faster than Polars makes one out of lists."""
    rows = pl.DataFrame({"row": np.arange(len(cells), dtype=np.int64)})
    lengths = np.fromiter(map(len, cells), np.int64, len(cells))
    each = pl.DataFrame(
        {
            "row": np.repeat(rows["row"], lengths),
            "turn": pl.Series(list(chain.from_iterable(cells)), dtype=pl.String),
        }
    )
    lists = each.group_by("row", maintain_order=True).agg("turn")
    found = rows.join(lists, on="row", how="left", maintain_order="left")
    return found["turn"].fill_null(pl.Series([[]], dtype=pl.List(pl.String)))


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
        return [to_utf8(cell)]
    # Only a string can be meant as plain text; a native list is what it is.
    plain = isinstance(cell, str) and not _BEGINS_LIST.match(cell)
    hint = f" (for text as it stands set {PLAIN_HINT})" if plain else ""
    turns = _list_of(cell, name, f"turns{hint}")
    return [_turn(turn, number, name, hint) for number, turn in enumerate(turns, 1)]


def _turn(turn: object, number: int, name: str, hint: str = "") -> str | None:
    if turn is None or turn != turn:
        return None
    if isinstance(turn, str):
        return to_utf8(turn)
    raise BadCell(f"{name}: turn {number} is {turn!r:.40}, neither a string nor null{hint}")


def _list_of(cell: object, name: str, what: str) -> list[Any]:
    """Take a list as it is, or out of JSON text."""
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


def _from_conversations(cell_a: object, cell_b: object) -> tuple[Turns, Turns, Turns]:
    name_a, name_b = CONVERSATION_COLUMNS
    asked_a, said_a = _speakers(cell_a, name_a)
    asked_b, said_b = _speakers(cell_b, name_b)
    if asked_a != asked_b:
        raise BadCell(f"the user's turns differ between {name_a} and {name_b}")
    return asked_a, said_a, said_b


def _speakers(cell: object, name: str) -> tuple[Turns, Turns]:
    """Part a conversation into the user's turns and the assistant's."""
    messages = _list_of(cell, name, "messages")
    turns = [_message(message, place, name) for place, message in enumerate(messages)]
    return turns[::2], turns[1::2]


def _message(message: object, place: int, name: str) -> str | None:
    """Take the content of one message, which must be from the speaker whose turn it is."""
    if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
        raise BadCell(f'{name}: message {place + 1} has no "role" and "content"')
    due = _SPEAKERS[place % 2]
    if message["role"] != due:
        raise BadCell(f'{name}: message {place + 1} is from {message["role"]!r}, not "{due}"')
    return _turn(message["content"], place + 1, name)
