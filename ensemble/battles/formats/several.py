"""Several answers to one prompt to battles: all pairs, the best and the worst, or some by hash."""

from __future__ import annotations

import json
from hashlib import blake2b
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.battles.formats.layout import Battle
from ensemble.battles.formats.preference import label_of_difference
from ensemble.battles.turns import BadCell, id_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.battles.formats.layout import FormatOptions, Sheet
    from ensemble.battles.formats.prompts import Prompt


SEVERAL = frozenset({"pairs", "tie_below", "temperature", "score"})
"""The options that several answers leave something to do."""
ONE_ANSWER = "prompts have one answer alone, and make no battle"
_SAME_TEXT = "answers say the same as another of their prompt, and count once, by their mean score"
_MOST_ANSWERS = 500
"""Answers to one prompt of which all pairs are made: more would be millions a row."""


class Answer(NamedTuple):
    """One of several answers.

    Parameters
    ----------
    text
        What it says.
    score
        The higher, the better; None where it is not read.
    model
        Who gave it.
    name
        What the file calls it, if it does.
    """

    text: str | None
    score: float | None = None
    model: Any = None
    name: str | None = None


def battles_of(
    prompt: Prompt,
    answers: Sequence[Answer],
    base: object,
    sheet: Sheet,
    *,
    decided_only: bool = False,
) -> list[Battle]:
    """Make the battles of a prompt's answers.

    Parameters
    ----------
    prompt
        What they answer.
    answers
        At least two.
    base
        What the file calls the prompt; None where it calls it nothing.
    sheet
        With the options: which pairs, and what makes a tie.
    decided_only
        Make no pair of two equal scores, of which nothing is known.

    Raises
    ------
    BadCell
        There are fewer than two answers.
    """
    if len(answers) < 2:
        raise BadCell(f"{len(answers)} answers are no pair")
    if sheet.labeled:
        answers = _each_once(answers, sheet)
    if len(answers) < 2:
        sheet.notes[ONE_ANSWER] += 1
        return []
    chosen = _pairs(prompt, answers, sheet, decided_only=decided_only)
    return [_battle(prompt, first, second, base, sheet) for first, second in chosen]


def _each_once(answers: Sequence[Answer], sheet: Sheet) -> Sequence[Answer]:
    """Put answers of one text together: a pair of them has no better one, whatever raters say."""
    by_text: dict[str | None, list[Answer]] = {}
    for answer in answers:
        by_text.setdefault(answer.text, []).append(answer)
    if len(by_text) == len(answers):
        return answers
    sheet.notes[_SAME_TEXT] += len(answers) - len(by_text)
    return [_as_one(same) for same in by_text.values()]


def _as_one(same: Sequence[Answer]) -> Answer:
    scores = [answer.score for answer in same if answer.score is not None]
    models = {answer.model for answer in same}
    return same[0]._replace(
        score=sum(scores) / len(scores) if scores else None,
        model=same[0].model if len(models) == 1 else None,
    )


def _pairs(
    prompt: Prompt, answers: Sequence[Answer], sheet: Sheet, *, decided_only: bool
) -> list[tuple[Answer, Answer]]:
    which = sheet.options.pairs
    if which == "best_worst" and sheet.labeled:
        return [_best_and_worst(prompt, answers)]
    if len(answers) > _MOST_ANSWERS:
        raise BadCell(f"{len(answers):,} answers make too many pairs, at most {_MOST_ANSWERS} do")
    pairs = list(combinations(answers, 2))
    if decided_only:
        pairs = [(first, second) for first, second in pairs if first.score != second.score]
    if isinstance(which, int) and which < len(pairs):
        by_hash = sorted(range(len(pairs)), key=lambda at: _name_of_pair(prompt, *pairs[at]))
        return [pairs[at] for at in sorted(by_hash[:which])]
    return pairs


def _best_and_worst(prompt: Prompt, answers: Sequence[Answer]) -> tuple[Answer, Answer]:
    """Take the two, by a hash among equals, in the order of the file."""

    def key(answer: Answer) -> tuple[float, str]:
        return (answer.score or 0.0, _name_of_pair(prompt, answer, answer))

    order = sorted(range(len(answers)), key=lambda at: key(answers[at]))
    first, second = sorted((order[0], order[-1]))
    return answers[first], answers[second]


def _battle(prompt: Prompt, first: Answer, second: Answer, base: object, sheet: Sheet) -> Battle:
    label = None
    if sheet.labeled and first.score is not None and second.score is not None:
        label = label_of_difference(first.score - second.score, sheet.options)
    asked, said = prompt.answered(first.text)
    return Battle(
        asked,
        said,
        prompt.answered(second.text)[1],
        label,
        (first.model, second.model),
        _id(prompt, first, second, base),
    )


def _id(prompt: Prompt, first: Answer, second: Answer, base: object) -> str | None:
    """Name a pair: by the names of its answers, or its prompt's and a hash of what it says."""
    if first.name and second.name:
        return ":".join(sorted((first.name, second.name)))
    if base is None:
        return None
    return f"{id_of(base)}-{_name_of_pair(prompt, first, second)}"


def _name_of_pair(prompt: Prompt, first: Answer, second: Answer) -> str:
    """Hash what a pair says, whatever the order of the two: 12 hex digits."""
    texts = sorted((json.dumps(first.text), json.dumps(second.text)))
    said = json.dumps([prompt.asked, prompt.said, texts])
    return blake2b(said.encode(), digest_size=6).hexdigest()


def told_pairs(options: FormatOptions) -> str:
    """Say which pairs are made."""
    named = {"all": "all pairs", "best_worst": "the best with the worst"}
    return named.get(str(options.pairs), f"{options.pairs} pairs a prompt, by hash")
