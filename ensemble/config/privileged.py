"""What is wrong with the ``privileged`` columns of learners, as far as a config alone can tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.config.settings import Config, Learner

_SEEN_BY_ALL = ("id", "source", "role", "is_test", "prompt", "response_a", "response_b")
_LABEL_WORDS = frozenset(
    (
        *("winner", "winners", "win", "wins", "won", "label", "labels"),
        *("score", "scores", "reward", "rewards", "vote", "votes", "voted"),
        *("tie", "ties", "tied", "preference", "preferences", "preferred", "chosen"),
        *("rejected", "rank", "ranks", "ranking", "rating", "ratings", "verdict"),
        *("outcome", "result", "judgment", "judgement", "annotation", "bothbad", "target"),
    )
)
"""Words of a name that tell of a label, or of what labels are made from."""
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_PATTERN = re.compile(r"\*|\^.*\$", re.DOTALL)
"""Names that Polars takes for several columns."""


def privileged_faults(config: Config) -> Iterator[str]:
    """Find privileged columns that are refused, and learners that have them and are stacked."""
    for number, learner in enumerate(config.learners, 1):
        yield from _column_faults(f"learners[{number}].privileged", learner.privileged)
        if learner.privileged:
            yield from _stack_faults(learner, config)
    if config.learners and all(learner.privileged for learner in config.learners):
        yield (
            "every learner has privileged columns, so that none can predict the test set: add one "
            "that they teach"
        )


def _column_faults(place: str, names: list[str]) -> Iterator[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f'{place} names "{name}" twice'
    for name in dict.fromkeys(names):
        if name in _SEEN_BY_ALL:
            yield f'{place} names "{name}", which is part of the battle, or names it'
        elif is_label_name(name):
            yield (
                f'{place} names "{name}", which tells of the label: a teacher that sees it has '
                "nothing to teach (rename the column if it is something else)"
            )
        elif _PATTERN.fullmatch(name):
            yield f'{place} names "{name}", which would be read as a pattern: rename the column'


def _stack_faults(learner: Learner, config: Config) -> Iterator[str]:
    what = f'"{learner.name}", which has privileged columns: these do not exist at test time'
    if learner.name in (config.stack.learners or ()):
        yield f"stack.learners names {what}; it can teach and label, and no more"
    if learner.name == config.stack.choose:
        yield f"stack.choose names {what}"


def is_label_name(name: str) -> bool:
    """Say whether a column's name tells of a label, or of what labels are made from.

    Examples
    --------
    >>> [is_label_name(name) for name in ("is_tie", "scoreA", "winner", "model_a", "tier")]
    [True, True, True, False, False]
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    return any(word in _LABEL_WORDS for word in [*words, "".join(words)])
