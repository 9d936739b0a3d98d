"""What can go wrong, where it did, and how to fix it.

::

    EnsembleError                 the run failed (exit code 1)
    ├── InputError                the user's input is wrong (exit code 2)
    │   ├── ConfigError           a key, a type or a value in the config
    │   ├── DataError             a file of battles or predictions
    │   │   └── AmbiguousError    it can be read in several ways
    │   ├── FoldError             the rows cannot be split as asked
    │   └── UnknownNameError      a plugin, a learner, a candidate that is not there
    ├── PluginError               a plugin is broken or clashes with another
    │   └── LearnerError          a learner raised, or returned what the contract forbids
    │       └── TimeLimitError    it was stopped: its time was over
    ├── ArtifactError             a stored file is missing, damaged or belongs to another plan
    ├── AuditError                the run breaks an honesty rule
    ├── IncompleteRunError        learners failed, or time was short; the rest is done
    └── RunLockedError            another process writes to the same run
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, ClassVar

from ensemble.failure import Failure, failure_table, unfinished_table
from ensemble.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST = 4_000
"""Characters of a line that are shown: more of a name out of a file tells nobody anything."""


class EnsembleError(Exception):
    """An error that says what is wrong, where, and how to fix it.

    Parameters
    ----------
    message
        What is wrong, in one sentence.
    where
        File, row, key or learner concerned.
    hint
        What the reader can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.message = redact(message)
        self.where = where and redact(where)
        self.hint = hint and redact(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        lines = [self.message]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.hint:
            lines.append(f"  hint:  {self.hint}")
        return "\n".join(
            _shortened(line) for line in printable(redact("\n".join(lines))).split("\n")
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default: errors cross process borders.
        return (_rebuild, (type(self), self.message, self.where, self.hint))


def _shortened(line: str) -> str:
    more = len(line) - _LONGEST
    return line if more <= 0 else f"{line[:_LONGEST]} ... and {more:,} characters more"


def _rebuild(
    kind: type[EnsembleError], message: str, where: str | None, hint: str | None
) -> EnsembleError:
    return kind(message, where=where, hint=hint)


class InputError(EnsembleError):
    """The user's input is wrong."""

    exit_code: ClassVar[int] = 2


class ConfigError(InputError):
    """A key, a type or a value in the config is wrong."""


class DataError(InputError):
    """A file of battles or predictions is wrong."""


class AmbiguousError(DataError):
    """A file can be read in several ways, and its columns do not tell in which.

    Parameters
    ----------
    message, where, hint
        As in ``EnsembleError``.
    ways
        For each way the settings of a source that choose it, as a config has them.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        ways: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.ways = tuple(ways)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_ambiguous, (self.message, self.where, self.hint, self.ways))


def _rebuild_ambiguous(
    message: str, where: str | None, hint: str | None, ways: Sequence[Mapping[str, Any]]
) -> AmbiguousError:
    return AmbiguousError(message, where=where, hint=hint, ways=ways)


class FoldError(InputError):
    """The rows cannot be split as asked."""


class UnknownNameError(InputError):
    """A name that nothing is registered under."""


class PluginError(EnsembleError):
    """A plugin is broken or clashes with another."""


class LearnerError(PluginError):
    """A learner raised, or returned what the contract forbids."""


class TimeLimitError(LearnerError):
    """A learner was stopped, since its time was over."""


class ArtifactError(EnsembleError):
    """A stored file is missing, damaged or belongs to another plan."""


class AuditError(EnsembleError):
    """The run breaks an honesty rule."""


class IncompleteRunError(EnsembleError):
    """Learners or the meta-learner failed, or time was short; all else is done and stored.

    Parameters
    ----------
    message
        How much is missing, in one sentence.
    failures
        What failed, each with its reason; the error's text has them as a table.
    unfinished
        Fits that a time limit has left undone, by learner.
    config
        The config, as the commands that retry should name it.
    where, hint
        As in ``EnsembleError``.

    Attributes
    ----------
    run
        The ``Run`` with what is complete, where ``ensemble.run`` raised the error; else None.
    is_stacked
        False where no learner is complete, so that there is no stack.
    """

    run: object = None
    is_stacked: bool = True

    def __init__(
        self,
        message: str,
        failures: Sequence[Failure] = (),
        *,
        unfinished: Mapping[str, Sequence[str]] | None = None,
        config: str = "CONFIG",
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.failures, self.config = tuple(failures), config
        self.unfinished = {name: tuple(fits) for name, fits in (unfinished or {}).items()}

    def __str__(self) -> str:
        lines = [
            super().__str__(),
            *failure_table(self.failures, self.config),
            *unfinished_table(self.unfinished, self.config),
        ]
        return "\n".join(_shortened(line) for line in printable("\n".join(lines)).split("\n"))

    def __reduce__(self) -> tuple[object, ...]:
        told = (self.message, self.failures, self.unfinished, self.config, self.where, self.hint)
        return (_rebuild_incomplete, told)


def _rebuild_incomplete(
    message: str,
    failures: Sequence[Failure],
    unfinished: Mapping[str, Sequence[str]],
    config: str,
    where: str | None,
    hint: str | None,
) -> IncompleteRunError:
    return IncompleteRunError(
        message, failures, unfinished=unfinished, config=config, where=where, hint=hint
    )


class RunLockedError(EnsembleError):
    """Another process writes to the same run."""


def printable(text: str) -> str:
    """Spell out what would move a terminal's cursor, or turn text around, in names out of files."""
    return _UNPRINTABLE.sub(lambda found: repr(found.group())[1:-1], text)


def nearest(name: str, available: Iterable[str]) -> str:
    """Say which known name is near to an unknown one, and list them all.

    Examples
    --------
    >>> nearest("lenght", ["length", "markdown"])
    'did you mean "length"? There are: length, markdown'
    """
    names = sorted(available)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listing = f"There are: {', '.join(names)}" if names else "There are none"
    return f'did you mean "{close[0]}"? {listing}' if close else listing


def unknown_name(kind: str, name: str, available: Iterable[str]) -> UnknownNameError:
    """Build the error for a name that nothing is registered under."""
    return UnknownNameError(f'unknown {kind} "{name}"', hint=nearest(name, available))
