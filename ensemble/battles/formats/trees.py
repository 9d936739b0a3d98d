"""Trees of replies with ranks: one message a row with its parent, or one tree a row."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from ensemble.battles.files.raw import BadRow, Chunk
from ensemble.battles.formats.layout import (
    Battle,
    Format,
    Layout,
    Sheet,
    by_row,
    rows_of,
    standard_chunk,
)
from ensemble.battles.formats.preference import number_of, told_rule
from ensemble.battles.formats.prompts import Prompt
from ensemble.battles.formats.several import SEVERAL, Answer, battles_of, told_pairs
from ensemble.battles.labels import is_missing, spelled
from ensemble.battles.messages import role_of
from ensemble.battles.turns import BadCell, id_of, list_of, turn_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ensemble.battles.formats.layout import Row

    Message = Mapping[str, Any]

_COLUMNS = ("message_id", "parent_id", "text", "role", "rank")
_ALSO = ("deleted", "message_tree_id")
_DEEPEST = 400
_USES = SEVERAL - {"score"}


def recognize(sheet: Sheet) -> Layout | None:
    """Recognize messages by ``parent_id`` and ``rank``, and whole trees by ``message_tree_id``."""
    rule = f"{told_pairs(sheet.options)}{told_rule(sheet.options)}"
    if sheet.has(*_COLUMNS):
        turning = partial(_turning, sheet=sheet)
        told = f"messages of trees (parent_id, rank): {rule}"
        return Layout(told, (*_COLUMNS, *_ALSO), turning, True, _USES)
    if sheet.has("message_tree_id", "prompt") and not sheet.has("text"):
        columns = ("message_tree_id", "prompt", "tree_state")
        make = partial(_of_tree, sheet=sheet)
        told = f"trees of replies (prompt, replies, rank): {rule}"
        return Layout(told, columns, by_row(make, columns), True, _USES)
    return None


def _of_tree(row: Row, *, sheet: Sheet) -> list[Battle]:
    root = row["prompt"]
    if not isinstance(root, dict):
        raise BadCell("prompt is no message with replies")
    battles: list[Battle] = []
    walk: list[tuple[Message, tuple[Message, ...]]] = [(root, ())]
    while walk:
        message, above = walk.pop()
        path = (*above, message)
        if len(path) > _DEEPEST:
            raise BadCell(f"the tree is more than {_DEEPEST} messages deep")
        cell = message.get("replies")
        replies = [] if cell is None else list_of(cell, "replies", "messages")
        if any(not isinstance(reply, dict) for reply in replies):
            raise BadCell("a reply is no message")
        battles += _siblings(path, replies, sheet)
        walk += [(reply, path) for reply in reversed(replies)]
    return battles


def _turning(chunks: Iterable[Chunk], *, sheet: Sheet) -> Iterator[Chunk]:
    """Read all messages, then pair the ranked replies of each: they may be anywhere in the file."""
    messages: dict[str, Message] = {}
    places: dict[str, tuple[str, int]] = {}
    kept: dict[str, dict[str, Any]] = {}
    for chunk in chunks:
        bad = list(chunk.bad_rows)
        for at, row in enumerate(rows_of(chunk, (*_COLUMNS, *_ALSO))):
            name = row["message_id"]
            if fault := _id_fault(row, messages):
                bad.append(BadRow(chunk.file, chunk.lines[at], fault))
                continue
            messages[name], places[name] = row, (chunk.file, chunk.lines[at])
            kept[name] = {column: cells[at] for column, cells in chunk.metadata.items()}
        yield standard_chunk(chunk, [], [], bad)
    yield from _Messages(messages, places, kept).chunks(sheet)


def _id_fault(row: Message, messages: Mapping[str, Message]) -> str | None:
    """Say what is wrong with the ids of a message; None where nothing is."""
    name, parent = row["message_id"], row["parent_id"]
    if not isinstance(name, str) or not name:
        return "message_id is missing" if is_missing(name) else f"message_id is {name!r:.40}"
    if name in messages:
        return f"message_id {name!r:.40} is there twice"
    if not isinstance(parent, str) and not is_missing(parent):
        return f"parent_id is {parent!r:.40}, and no text"
    return None


class _Messages:
    """All messages of a file by id, where each is from, and what is kept of its row."""

    def __init__(
        self,
        messages: dict[str, Message],
        places: dict[str, tuple[str, int]],
        kept: dict[str, dict[str, Any]],
    ) -> None:
        self.messages, self.places, self.kept = messages, places, kept

    def chunks(self, sheet: Sheet) -> Iterator[Chunk]:
        replies: defaultdict[str, list[Message]] = defaultdict(list)
        for message in self.messages.values():
            if not is_missing(message["parent_id"]):
                replies[message["parent_id"]].append(message)
        made: defaultdict[str, list[tuple[str, Battle]]] = defaultdict(list)
        bad: defaultdict[str, list[BadRow]] = defaultdict(list)
        for parent, siblings in replies.items():
            first = siblings[0]["message_id"]
            file, line = self.places[first]
            try:
                battles = _siblings(self._path(parent), siblings, sheet)
            except BadCell as error:
                bad[file].append(BadRow(file, line, str(error)))
                continue
            made[file] += [(first, battle) for battle in battles]
        for file in dict.fromkeys((*made, *bad)):
            yield self._chunk(file, made[file], bad[file])

    def _path(self, name: str) -> tuple[Message, ...]:
        """Give the messages from the root down to one."""
        path: list[Message] = []
        while not is_missing(name):
            if name not in self.messages:
                raise BadCell(f"the message that is answered, {name:.60}, is not in the file")
            path.append(self.messages[name])
            name = path[-1]["parent_id"]
            if len(path) > _DEEPEST:
                raise BadCell(f"a message answers itself, or is {_DEEPEST} messages deep")
        return tuple(reversed(path))

    def _chunk(self, file: str, made: list[tuple[str, Battle]], bad: list[BadRow]) -> Chunk:
        names = [name for name, _ in made]
        columns = dict.fromkeys(column for name in names for column in self.kept[name])
        kept = {column: [self.kept[name].get(column) for name in names] for column in columns}
        whole = Chunk((), [self.places[name][1] for name in names], {}, (), file, kept)
        cells = [battle.cells() for _, battle in made]
        return standard_chunk(whole, cells, range(len(made)), bad)


def _siblings(path: Sequence[Message], replies: Sequence[Message], sheet: Sheet) -> list[Battle]:
    """Make the battles of the ranked replies to the last message of a path."""
    ranked = [reply for reply in replies if _counts(reply, sheet)]
    if len(ranked) < 2:
        if any(role_of(reply) == "assistant" for reply in replies):
            sheet.notes["messages have fewer than two ranked replies, and make no battle"] += 1
        return []
    asked, said = _dialogue(path)
    answers = [
        Answer(
            turn_of(reply.get("text"), 1, "text"),
            -number_of(reply.get("rank"), "rank") if sheet.labeled else None,
            None,
            None if is_missing(reply.get("message_id")) else id_of(reply["message_id"]),
        )
        for reply in ranked
    ]
    return battles_of(Prompt(asked, said), answers, None, sheet)


def _counts(reply: Message, sheet: Sheet) -> bool:
    """Say whether a reply is one of the ranked ones of the assistant."""
    if spelled(reply.get("deleted")).lower() == "true" or role_of(reply) != "assistant":
        return False
    return not is_missing(reply.get("rank")) or not sheet.labeled


def _dialogue(path: Sequence[Message]) -> tuple[list[str | None], list[str | None]]:
    """Read the turns on the way to a reply, which begin and end with the user."""
    for at, message in enumerate(path):
        due = ("user", "assistant")[at % 2]
        if role_of(message) != due:
            raise BadCell(
                f'message {at + 1} of a path is from {message.get("role")!r}, not "{due}"'
            )
    if len(path) % 2 == 0:
        raise BadCell("ranked replies of the assistant answer one of the assistant")
    texts = [turn_of(message.get("text"), at, "text") for at, message in enumerate(path, 1)]
    return texts[::2], texts[1::2]


TREES = Format(
    "trees", "message_id, parent_id, text, role, rank; or message_tree_id and prompt", recognize
)
