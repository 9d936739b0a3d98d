"""What failed in a run, why, and the command that tries it again."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LONGEST = 300
"""Characters of a reason that a table shows."""


@dataclass(frozen=True)
class Failure:
    """A learner that failed or could not be fitted, or a meta-learner that failed.

    Parameters
    ----------
    name
        Of the learner in the config, or of the meta-learner.
    at
        What failed, such as ``"fold 1"``; ``"not fitted"`` where another learner stood in the way.
    reason
        What went wrong, in one sentence.
    line
        The last line of its own code, ``"file.py:12"``; None where it is unknown.
    hint
        What the reader can do about it; None where nobody knows.
    needs
        Name of the learner that has to be fitted before this one, and failed; None where the
        failure is its own.
    is_meta_learner
        Whether it is the meta-learner of the stack.
    """

    name: str
    at: str
    reason: str
    line: str | None = None
    hint: str | None = None
    needs: str | None = None
    is_meta_learner: bool = False

    @property
    def sentence(self) -> str:
        """Reason and line, for one line of text."""
        return f"{self.reason} ({self.line})" if self.line else self.reason

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON."""
        return asdict(self)


def failure_table(failures: Sequence[Failure], config: str) -> Iterator[str]:
    """Give the lines of a table: what failed, where, why, and the commands that try it again.

    Parameters
    ----------
    failures
        What failed.
    config
        The config, as the commands should name it.
    """
    if not failures:
        return
    rows = [("learner", "failed at", "why"), *map(_cells, failures)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, at, why in rows:
        yield f"  {name:<{widths[0]}}  {at:<{widths[1]}}  {why}"
    for hint in dict.fromkeys(failure.hint for failure in failures if failure.hint):
        yield f"  hint:  {_line(hint)}"
    yield "  retry:"
    yield from (f"    {command}" for command in retry_commands(failures, config))


def unfinished_table(unfinished: Mapping[str, Sequence[str]], config: str) -> Iterator[str]:
    """Give the lines of a table: what a time limit has left undone, and the command that goes on.

    Parameters
    ----------
    unfinished
        Labels of fits by learner.
    config
        The config, as the command should name it.
    """
    if not unfinished:
        return
    width = max(map(len, unfinished))
    yield "  not fitted, for want of time:"
    yield from (f"    {name:<{width}}  {', '.join(fits)}" for name, fits in unfinished.items())
    yield "  go on:"
    yield f"    ensemble run {shlex.quote(config) if config != 'CONFIG' else config}"


def retry_commands(failures: Sequence[Failure], config: str) -> list[str]:
    """Give the commands that try what failed again, then the rest of the run."""
    place = shlex.quote(config) if config != "CONFIG" else config
    fits = [
        f"ensemble fit {place} --learner {failure.name}"
        for failure in failures
        if not failure.is_meta_learner
    ]
    return [*fits, f"ensemble run {place}"]


def _cells(failure: Failure) -> tuple[str, str, str]:
    kind = " (meta-learner)" if failure.is_meta_learner else ""
    return f"{failure.name}{kind}", failure.at, _line(failure.sentence)


def _line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[:_LONGEST]}..."
