"""Prompts as public files hold them, and answers put behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.battles.messages import (
    content_of,
    dialogue_of,
    holds_messages,
    is_transcript,
    role_of,
)
from ensemble.battles.turns import BadCell, list_of
from ensemble.config.toml_lines import toml_lines
from ensemble.errors import AmbiguousError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.battles.formats.layout import Sheet
    from ensemble.battles.turns import Turns

_OF_TRANSCRIPT = "H"
PROMPT_COLUMNS = ("prompt", "instruction", "question", "query", "context")


class Prompt(NamedTuple):
    """What was said before an answer: the user's turns, and the assistant's between them."""

    asked: Turns
    said: Turns

    def answered(self, answer: str | None) -> tuple[Turns, Turns]:
        """Give prompt and response turns with an answer to the last turn of the user."""
        return self.asked, [*self.said, answer]


def prompt_column(sheet: Sheet) -> str | None:
    """Choose the column of prompts; None where there is none.

    Raises
    ------
    DataError
        Several may be it.
    """
    named = sheet.among(PROMPT_COLUMNS)
    if "prompt" in named:
        return "prompt"
    if len(named) > 1:
        raise ambiguous("the prompt", named, [{"columns": {"prompt": name}} for name in named])
    return named[0] if named else None


def ambiguous(
    what: str, names: Sequence[str], ways: Sequence[Mapping[str, Any]], hint: str | None = None
) -> AmbiguousError:
    """Build the error for what several columns may be.

    Parameters
    ----------
    what
        What they may be.
    names
        The columns.
    ways
        For each way the settings that choose it.
    hint
        The line that settles it; by default that of the first way.
    """
    told = hint or ", ".join(toml_lines(ways[0]))
    return AmbiguousError(
        f"{what} may be any of {', '.join(names)}", hint=f"say which: {told}", ways=ways
    )


def three_texts(
    prompt: Any, first: Any, second: Any, names: tuple[str, str, str]
) -> tuple[Turns | str, Turns | str, Turns | str]:
    """Put two answers behind one prompt; three plain texts stay as they are.

    Raises
    ------
    BadCell
        As ``prompt_of`` and ``answer_of``.
    """
    if all(map(is_plain, (prompt, first, second))):
        return prompt, first, second
    told = prompt_of(prompt, names[0])
    asked, said = told.answered(answer_of(first, names[1]))
    return asked, said, told.answered(answer_of(second, names[2]))[1]


def is_plain(cell: object) -> bool:
    """Say whether a cell is text, and neither a transcript nor a list of messages."""
    if isinstance(cell, str) and cell[:1].isalpha() and cell[0] != _OF_TRANSCRIPT:
        return True  # most texts begin with another letter than transcripts and lists of messages
    return isinstance(cell, str) and not is_transcript(cell) and not holds_messages(cell)


def prompt_of(cell: object, name: str) -> Prompt:
    """Read a prompt: plain text, a transcript without its last answer, or a list of messages.

    Raises
    ------
    BadCell
        It is missing, or does not end with a turn of the user.
    """
    if isinstance(cell, str) and is_plain(cell):
        return Prompt([cell], [])
    if isinstance(cell, list) and len(cell) == 1 and isinstance(cell[0], str):
        return Prompt([cell[0]], [])
    if isinstance(cell, dict):
        raise _record(cell, name)
    asked, said = dialogue_of(cell, name)
    if said and len(said) == len(asked) and not (said[-1] or "").strip() and isinstance(cell, str):
        said = said[:-1]  # a transcript ends with the mark after which the answer is to come
    if len(asked) != len(said) + 1:
        raise BadCell(f"{name} does not end with a turn of the user")
    return Prompt(asked, said)


def _record(cell: dict[str, Any], name: str) -> BadCell:
    """Build the reason for a record, and name the longest text in it, which may be the prompt."""
    texts = {key: value for key, value in cell.items() if isinstance(value, str)}
    if not texts:
        return BadCell(f"{name} is a record without a text")
    key = max(texts, key=lambda one: len(texts[one]))
    return BadCell(f'{name} is a record: say columns = {{ prompt = "{name}.{key}" }}')


def answer_of(cell: Any, name: str) -> str | None:
    """Read one answer: text, or a list of a single message of the assistant.

    Raises
    ------
    BadCell
        It is missing, or neither.
    """
    if isinstance(cell, str) and not holds_messages(cell):
        return cell
    if isinstance(cell, dict) or holds_messages(cell):
        messages = [cell] if isinstance(cell, dict) else list_of(cell, name, "messages")
        if len(messages) != 1 or role_of(messages[0]) != "assistant":
            raise BadCell(f"{name} is not one message of the assistant")
        return content_of(messages[0].get("content", messages[0].get("value")), 1, name)
    if cell is None or cell != cell:
        raise BadCell(f"{name} is missing")
    raise BadCell(f"{name} is {cell!r:.40}, not text")
