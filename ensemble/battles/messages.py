"""Conversations to turns: lists of messages, contents in parts, transcripts of one text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ensemble.battles.turns import BadCell, list_of, turn_of

if TYPE_CHECKING:
    from ensemble.battles.turns import Turns

    Dialogue = tuple[Turns, Turns]

CONVERSATION_COLUMNS = ("conversation_a", "conversation_b")
"""Hub-style text columns: lists of ``{"role": ..., "content": ...}``."""

_SPEAKERS = ("user", "assistant")
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatbot"), "assistant"),
}
_SYSTEM = ("system", "developer")
_KEYS = (("role", "content"), ("from", "value"))
_MARKER = re.compile(r"\n\n(Human|Assistant): ?")
_BEGINS = "\n\nHuman:"
_TEXT_PARTS = ("text", "input_text", "output_text")
_PART_BREAK = "\n"
"""Between the text parts of one message."""


def dialogue_of(cell: object, name: str) -> Dialogue:
    r"""Split a conversation into the user's turns and the assistant's.

    Parameters
    ----------
    cell
        A list of messages, native or as text, from user and assistant in alternation; or one
        transcript, ``\n\nHuman: ...\n\nAssistant: ...``.
    name
        The column, for the reason.

    Returns
    -------
    tuple
        Equally many of both, or one more of the user's.

    Raises
    ------
    BadCell
        It is no conversation; someone speaks out of turn; a message holds more than text.
    """
    if isinstance(cell, str) and is_transcript(cell):
        return _transcript(cell, name)
    messages = _spoken(list_of(cell, name, "messages"))
    turns = [_message(message, place, name) for place, message in enumerate(messages)]
    return turns[::2], turns[1::2]


def _spoken(messages: list[Any]) -> list[Any]:
    """Leave out a message of the system that says nothing."""
    first = messages[0] if messages else None
    if not isinstance(first, dict) or first.get("role", first.get("from")) not in _SYSTEM:
        return messages
    said = first.get("content", first.get("value"))
    return messages if said else messages[1:]


def conversations(cell_a: object, cell_b: object) -> tuple[Turns, Turns, Turns]:
    """Read prompt and responses out of two conversations with the same turns of the user.

    Raises
    ------
    BadCell
        As ``dialogue_of``, or these turns differ.
    """
    name_a, name_b = CONVERSATION_COLUMNS
    asked_a, said_a = dialogue_of(cell_a, name_a)
    asked_b, said_b = dialogue_of(cell_b, name_b)
    if asked_a != asked_b:
        raise BadCell(f"the user's turns differ between {name_a} and {name_b}")
    if not asked_a:
        raise BadCell(f"{name_a} holds no message")
    return asked_a, said_a, said_b


def holds_messages(cell: object) -> bool:
    """Say whether a cell is a list of messages, or text that looks like one."""
    if isinstance(cell, str):
        first = cell[:1]
        if first != "[" and not first.isspace():
            return False
        return re.match(r"\s*\[\s*\{", cell) is not None and cell.rstrip().endswith("]")
    return isinstance(cell, list) and bool(cell) and isinstance(cell[0], dict)


def is_message(item: object) -> bool:
    """Say whether a thing is one message: who speaks, and what."""
    return isinstance(item, dict) and any(set(keys) <= set(item) for keys in _KEYS)


def is_transcript(text: str) -> bool:
    """Say whether a text is a whole conversation, as Anthropic's files write it."""
    if text.startswith(_BEGINS):
        return True
    return text.lstrip().startswith("Human:") and "\n\nAssistant:" in text


def role_of(message: object) -> str | None:
    """Name who speaks, ``user`` or ``assistant``; another role as it stands, None for none."""
    if not isinstance(message, dict):
        return None
    role = next((message[role] for role, _ in _KEYS if role in message), None)
    return _ROLES.get(role, role) if isinstance(role, str) else None


def content_of(content: object, number: int, name: str) -> str | None:
    """Take the text of a message, whose parts are joined by line feeds.

    Raises
    ------
    BadCell
        A part is an image or another thing than text, or the content is no text.
    """
    if isinstance(content, dict) and "type" in content:
        content = [content]
    if not isinstance(content, list):
        return turn_of(content, number, name)
    texts = [_part(part, number, name) for part in content]
    kept = [text for text in texts if text is not None]
    return _PART_BREAK.join(kept) if kept else None


def _part(part: Any, number: int, name: str) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise BadCell(f"{name}: message {number} has a part that is no text")
    kind = part.get("type", "text")
    if kind not in _TEXT_PARTS or part.get("image"):
        held = "image" if kind in _TEXT_PARTS else f"{kind!s:.20}"
        article = "an" if held[:1] in "aeiou" else "a"
        raise BadCell(f"a turn is {article} {held}, and only text is read: {name}")
    text = part.get("text")
    if text is None or isinstance(text, str):
        return text
    raise BadCell(f"{name}: message {number} has a part whose text is {text!r:.40}")


def _message(message: object, place: int, name: str) -> str | None:
    """Take the content of one message, which must be from the speaker whose turn it is."""
    if not isinstance(message, dict):
        raise BadCell(f'{name}: message {place + 1} has no "role" and "content"')
    speaker, said = _KEYS[0] if "role" in message else _KEYS[1]
    if speaker not in message or said not in message:
        raise BadCell(f'{name}: message {place + 1} has no "role" and "content"')
    due, role, content = _SPEAKERS[place % 2], message[speaker], message[said]
    if role != due and _ROLES.get(str(role).lower()) != due:
        told = f'{name}: message {place + 1} is from {role!r:.40}, not "{due}"'
        hint = "; put its text before the user's, or leave it out" if role in _SYSTEM else ""
        raise BadCell(f"{told}{hint}")
    return content if isinstance(content, str) else content_of(content, place + 1, name)


def _transcript(text: str, name: str) -> Dialogue:
    """Split at its markers; one space after each belongs to it."""
    begun = text if text.startswith(_BEGINS) else "\n\n" + text.lstrip()
    _, *parts = _MARKER.split(begun)
    for place, who in enumerate(parts[::2]):
        due = ("Human", "Assistant")[place % 2]
        if who != due:
            raise BadCell(f'{name}: turn {place + 1} is from "{who}", not "{due}"')
    return [*parts[1::4]], [*parts[3::4]]
