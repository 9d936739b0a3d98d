"""Pairs of a chosen and a rejected answer: messages, plain text, or one transcript each."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ensemble.battles.columns import MODEL_COLUMNS, base_id_column
from ensemble.battles.formats.answers import LISTS
from ensemble.battles.formats.layout import Battle, Format, Layout, Sheet, by_row, named, rows_of
from ensemble.battles.formats.preference import A_WINS, label_of_difference, number_of, told_rule
from ensemble.battles.formats.prompts import (
    ambiguous,
    answer_of,
    is_plain,
    prompt_column,
    prompt_of,
    three_texts,
)
from ensemble.battles.formats.sided import answer_pairs
from ensemble.battles.messages import dialogue_of, holds_messages, is_transcript, role_of
from ensemble.battles.turns import BadCell, list_of
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ensemble.battles.files.raw import Chunk
    from ensemble.battles.formats.layout import FormatOptions, Row
    from ensemble.battles.labels import Label
    from ensemble.battles.turns import Turns

PAIRS = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("chosen_answer", "rejected_answer"),
)
_DEVIATIONS = 2.0
"""Standard deviations above a half that are more than chance."""
_LONGEST_NAME = 40
_SAY = 'say which column it is, columns = { prompt = "..." }'
_NAMES = ("{side}_model", "model_{side}", "{side}-model")
_SCORES = ("score_{side}", "{side}_score", "{side}-rating", "{side}_rating", "rating_{side}")


def recognize(sheet: Sheet) -> Layout | None:
    """Recognize a file by its two columns of answers; scores and models are taken where named."""
    pairs = [pair for pair in PAIRS if sheet.has(*pair)]
    if not pairs:
        return None
    if len(pairs) > 1:
        names = [" and ".join(one) for one in pairs]
        ways = [{"columns": dict(zip(PAIRS[0], pair, strict=True))} for pair in pairs]
        raise ambiguous("the answers", names, ways)
    pair = pairs[0]
    scores, models = _sided(sheet, _SCORES), _sided(sheet, _NAMES)
    ruled = sheet.options.tie_below is not None or sheet.options.temperature is not None
    if ruled and scores is None:
        raise DataError(
            "tie_below and temperature are for scores, and there are none of the two answers",
            hint="leave them out, or name scores score_chosen and score_rejected",
        )
    prompt, base = prompt_column(sheet), base_id_column(sheet.present)
    make = partial(
        _battle,
        pair=pair,
        prompt=prompt,
        scores=scores if ruled and sheet.labeled else None,
        models=models or MODEL_COLUMNS,
        base=base,
        sheet=sheet,
    )
    used = (base, prompt, *pair, *(scores or ()), *(models or ()))
    columns = tuple(name for name in used if name is not None)
    uses = frozenset({"tie_below", "temperature"} if scores else ())
    rule = told_rule(sheet.options) if ruled else ""
    told = f"chosen and rejected answers ({', '.join(pair)}){rule}"
    others = () if sheet.options.format else _other_answers(sheet, pair)
    looks: list[Callable[[Chunk], None]] = [
        *([partial(_refuse_names, pair=pair, others=others)] if others else []),
        *([_Scores(scores).look] if scores and sheet.labeled else []),
    ]
    return Layout(
        told, (*columns, *others), by_row(make, columns, partial(_all, looks)), True, uses
    )


def _all(looks: Sequence[Callable[[Chunk], None]], chunk: Chunk) -> None:
    for look in looks:
        look(chunk)


class _Scores:
    """Scores of chosen and rejected answers, which say the same as the names: most are higher.

    Parameters
    ----------
    names
        The columns, that of the chosen answer first.
    """

    def __init__(self, names: tuple[str, str]) -> None:
        self.names = names
        self.rows = self.below = 0

    def look(self, chunk: Chunk) -> None:
        """Refuse scores of which the lower one is the better, or columns that are exchanged.

        Raises
        ------
        DataError
            In most rows so far, and more than by chance, the chosen answer has the lower one.
        """
        for row in rows_of(chunk, self.names):
            with suppress(BadCell):  # where a score is needed, its row says so
                better, worse = (number_of(row[name], name) for name in self.names)
                self.rows += 1
                self.below += better < worse
        if 2 * self.below - self.rows > _DEVIATIONS * math.sqrt(self.rows):
            raise DataError(
                f"{self.names[0]} is below {self.names[1]} in {self.below:,} of {self.rows:,} rows"
                ": which answer is the better one?",
                where=chunk.file,
                hint="rename columns: those of the scores if the lower one is better, those of the "
                "answers if they are exchanged",
            )


def _other_answers(sheet: Sheet, pair: tuple[str, str]) -> tuple[str, ...]:
    """Name other columns that hold the answers, so that a pair may only say which are meant."""
    two = next((one.names for one in answer_pairs(sheet) if one.names != pair), ())
    return two or tuple(sheet.among(LISTS)[:1])


def _refuse_names(chunk: Chunk, *, pair: tuple[str, str], others: tuple[str, ...]) -> None:
    """Refuse names and numbers of answers, which would be read as their texts.

    Raises
    ------
    DataError
        No cell of the pair is one of the other answers, and all of them are short.
    """
    rows = rows_of(chunk, (*pair, *others))
    named = [row for row in rows if not any(_is_among(row[one], row, others) for one in pair)]
    short = [row for row in named if all(_is_short(row[one]) for one in pair)]
    if rows and len(short) == len(rows):
        raise DataError(
            f"{' and '.join(pair)} are none of the answers in {', '.join(others)}, and as short as "
            "names or numbers of them",
            where=chunk.file,
            hint='if they name the answers, say columns = { winner = "chosen" }; if they are the '
            'answers, format = "chosen-rejected"',
        )


def _is_among(cell: Any, row: Row, others: tuple[str, ...]) -> bool:
    answers = [item for one in others for item in _items(row[one])]
    return any(cell == answer for answer in answers)


def _items(cell: Any) -> list[Any]:
    return cell if isinstance(cell, list) else [cell]


def _is_short(cell: Any) -> bool:
    return not isinstance(cell, list | dict) and len(str(cell)) <= _LONGEST_NAME


def _sided(sheet: Sheet, forms: tuple[str, ...]) -> tuple[str, str] | None:
    for form in forms:
        names = (form.format(side="chosen"), form.format(side="rejected"))
        if sheet.has(*names):
            return names
    return None


def _battle(
    row: Row,
    *,
    pair: tuple[str, str],
    prompt: str | None,
    scores: tuple[str, str] | None,
    models: tuple[str, str],
    base: str | None,
    sheet: Sheet,
) -> list[Battle]:
    prompt_cell = row[prompt] if prompt else None
    names = (row.get(models[0]), row.get(models[1]))
    label = _label(row, scores, sheet.options) if sheet.labeled else None
    if sheet.labeled and row[pair[0]] == row[pair[1]]:
        raise BadCell(f"{pair[0]} and {pair[1]} are the same: neither is better")
    cells = [prompt_cell, *(row[name] for name in pair)]
    if all(map(is_plain, cells)):
        texts = three_texts(cells[0], cells[1], cells[2], ("prompt", *pair))
        return [Battle(*texts, label, names, named(row, base))]
    (asked, better), (other, worse) = (_dialogue(row[name], name, prompt_cell) for name in pair)
    if asked != other:
        raise BadCell(f"the user's turns differ between {pair[0]} and {pair[1]}")
    if prompt_cell is not None and not _agrees(prompt_cell, asked):
        raise BadCell(f"{prompt} differs from what the user says in {pair[0]}")
    return [Battle(asked, better, worse, label, names, named(row, base))]


def _label(row: Row, scores: tuple[str, str] | None, options: FormatOptions) -> Label:
    if scores is None:
        return A_WINS
    better, worse = (number_of(row[name], name) for name in scores)
    if better < worse:
        raise BadCell(f"{scores[0]} is below {scores[1]}, and the answer is chosen")
    return label_of_difference(better - worse, options)


def _dialogue(cell: Any, name: str, prompt: Any) -> tuple[Turns, Turns]:
    """Read what the user asked and what was answered, with the prompt where a cell lacks it."""
    if isinstance(cell, str) and is_transcript(cell):
        return dialogue_of(cell, name)
    if holds_messages(cell):
        messages = list_of(cell, name, "messages")
        if not messages or role_of(messages[0]) != "assistant":
            return dialogue_of(messages, name)
    if cell == []:
        raise BadCell(f"{name} holds no message")
    answer = answer_of(cell, name)
    if prompt is None:
        raise BadCell(f"{name} is an answer alone, and there is no prompt: {_SAY}")
    return prompt_of(prompt, "prompt").answered(answer)


def _agrees(prompt: Any, asked: Turns) -> bool:
    """Say whether a column of prompts says what a conversation says: all of it, or one turn."""
    if holds_messages(prompt):
        return set(dialogue_of(prompt, "prompt")[0]) <= set(asked)
    if not isinstance(prompt, str):
        return True
    text = prompt.strip()
    turns = [turn.strip() for turn in asked if turn]
    return not text or any(turn and (turn in text or text in turn) for turn in turns)


CHOSEN = Format(
    "chosen-rejected", "chosen and rejected, with a prompt or as conversations", recognize
)
