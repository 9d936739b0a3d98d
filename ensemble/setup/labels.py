"""Labels that do not say what they mean: which column they are in, and what its values are."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from ensemble.battles.files.read import read_all
from ensemble.battles.labels import WINNER_COLUMN, spelled, winner_of
from ensemble.battles.turns import BadCell
from ensemble.plugin.base import CLASSES
from ensemble.setup.questions import Question

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ensemble.setup.questions import Ask

_WORDS = frozenset(
    (
        *("winner", "label", "labels", "target", "class", "outcome", "result", "y", "vote"),
        *("preference", "preferred", "chosen", "better", "best", "choice", "verdict", "judgment"),
    )
)
"""Words in the name of a column that may be the label."""
_MOST_VALUES = 12
_NO_LABEL, _NO_WINNER = "none of them", "neither"
_MEANT = ("a", "b", "tie")
_GUESSED: dict[frozenset[str], dict[str, str]] = {
    frozenset(("0", "1")): {"0": "a", "1": "b"},
    frozenset(("0", "1", "2")): {"0": "a", "1": "b", "2": "tie"},
    frozenset(("1", "2")): {"1": "a", "2": "b"},
    frozenset(("true", "false")): {"true": "a", "false": "b"},
}
"""What numbers mean most often: a default to show, never one to take unasked."""


def label_columns(files: Sequence[Path], columns: Iterable[str]) -> dict[str, dict[str, int]]:
    """Find columns that may be the label by their names and values.

    Returns
    -------
    dict
        For each column its values, as a config spells them, with counts; two or more of them.
    """
    names = [name for name in columns if _may_be_label(name)]
    if not names:
        return {}
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for chunk in read_all(files, lambda _: names):
        for name in names:
            counts[name].update(spelled(_flat(cell)) for cell in chunk.columns.get(name, ()))
    for counter in counts.values():
        counter.pop("", None)
    return {
        name: dict(sorted(counter.items()))
        for name, counter in counts.items()
        if 2 <= len(counter) <= _MOST_VALUES
    }


def _may_be_label(name: str) -> bool:
    return name not in CLASSES and bool(_WORDS & set(re.split(r"[^a-z]+", name.lower())))


def _flat(cell: Any) -> Any:
    return None if isinstance(cell, list | dict) else cell


def winner_settings(column: str, meanings: Mapping[str, str]) -> dict[str, Any]:
    """Give the settings of a source whose label is in a column."""
    named = {} if column == WINNER_COLUMN else {"columns": {WINNER_COLUMN: column}}
    return named | {"winner": dict(meanings)}


def ask_column(table: str, found: Mapping[str, Mapping[str, int]], ask: Ask) -> str | None:
    """Ask which column is the label; empty for none of them, None where nobody answers."""
    if len(found) == 1:
        return next(iter(found))
    told = "; ".join(f"{name}: {', '.join(values)}" for name, values in found.items())
    options = (*found, _NO_LABEL)
    question = f"{table}: which column says who won? {told}"
    answer = ask(Question(question, options, options[0], is_safe=False))
    return "" if answer == _NO_LABEL else answer


def ask_meanings(
    table: str, column: str, values: Mapping[str, int], ask: Ask
) -> dict[str, str] | None:
    """Ask what each value of a label means; None where nobody answers.

    Values that mean no winner are left out of what is given.
    """
    guessed = _GUESSED.get(frozenset(name.lower() for name in values), {})
    meanings: dict[str, str] = {}
    for value, count in values.items():
        known = _known(value)
        text = f'{table}: {column} is "{value}" in {count:,} rows. Who has won there?'
        default = known or guessed.get(value.lower())
        answer = known or ask(Question(text, (*_MEANT, _NO_WINNER), default, is_safe=False))
        if answer is None:
            return None
        if answer in _MEANT:
            meanings[value] = answer
    return meanings


def guessed_settings(column: str, values: Mapping[str, int]) -> dict[str, Any]:
    """Give the settings that say what a column means, to be checked; ``"?"`` is unknown."""
    guessed = _GUESSED.get(frozenset(name.lower() for name in values), {})
    meanings = {v: _known(v) or guessed.get(v.lower()) or "?" for v in values}
    return winner_settings(column, meanings)


def _known(value: str) -> str | None:
    """Say what everyone means by a word."""
    try:
        label = winner_of(value)
    except BadCell:
        return None
    return None if label is None else _MEANT[label.index(1.0)]
