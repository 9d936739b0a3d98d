"""What a check is, how it ends, and how a list of checks is gone through."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ensemble.errors import EnsembleError, LearnerError
from ensemble.oof.check import Finding
from ensemble.plugin.faults import own_line, plugin_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType


class NotAskedError(Exception):
    """A check has nothing to ask of this plugin; the text says why."""


class CautionError(Exception):
    """A plugin fulfils the contract, and its author should still know something.

    Parameters
    ----------
    message
        What was seen, and how to mend it.
    measured
        What the check measured.
    """

    def __init__(self, message: str, measured: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.measured = dict(measured or {})


class ConformanceWarning(UserWarning):
    """What a check warns of under pytest."""


class Trial(Protocol):
    """A plugin that is tried out, with all that checks share."""

    name: str

    @property
    def where(self) -> str:
        """Name the plugin in errors."""

    def close(self) -> None:
        """Remove what the trial has written."""


@dataclass(frozen=True)
class Check:
    """One thing that is asked of a plugin.

    Parameters
    ----------
    name
        What is checked, in a few words.
    ask
        ``ask(trial)`` gives what it measured, or raises: an ``EnsembleError`` for a fault,
        ``CautionError``, ``NotAskedError``.
    fast
        Whether ``run`` and ``fit`` ask it before anything dear starts.
    """

    name: str
    ask: Callable[[Any], Mapping[str, Any] | None]
    fast: bool = False

    def finding(self, trial: Trial) -> Finding:
        """Ask, and say how it ended; a plugin that raises something is told so."""
        try:
            return Finding(trial.name, self.name, True, measured=dict(self.ask(trial) or {}))
        except NotAskedError as reason:
            return Finding(trial.name, self.name, None, str(reason))
        except CautionError as caution:
            return Finding(trial.name, self.name, True, str(caution), caution.measured, True)
        except EnsembleError as error:
            return Finding(trial.name, self.name, False, str(error))
        except plugin_errors() as error:
            return Finding(trial.name, self.name, False, str(unexpected(error, trial.where)))


class Expecting:
    """A context in which whatever is raised is a fault of the plugin, told with what was expected.

    Parameters
    ----------
    what
        What the plugin is asked for; finishes "the learner cannot ...".
    where
        Names the plugin.
    hint
        How to mend it.
    """

    def __init__(self, what: str, where: str, hint: str) -> None:
        self.what, self.where, self.hint = what, where, hint

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if isinstance(error, EnsembleError):
            raise LearnerError(
                f"{self.what}: {error.message}", where=error.where or self.where, hint=self.hint
            ) from error
        if isinstance(error, plugin_errors()):
            raise LearnerError(
                f"{self.what}: it raised {type(error).__name__}: {error}",
                where=with_line(self.where, error),
                hint=self.hint,
            ) from error


def with_line(where: str, error: BaseException) -> str:
    """Add the plugin's own line to a place."""
    line = own_line(error)
    return f"{where}, {line}" if line else where


def unexpected(error: BaseException, where: str) -> LearnerError:
    """Make an error of what a plugin raised where nothing else was said of it."""
    return LearnerError(f"it raised {type(error).__name__}: {error}", where=with_line(where, error))


def findings(
    trial: Trial, checks: Iterable[Check], needed: Iterable[str] = ()
) -> Iterator[Finding]:
    """Ask all checks in turn; where one of ``needed`` fails, nothing is asked any more."""
    needed = {*needed}
    for check in checks:
        found = check.finding(trial)
        yield found
        if found.ok is False and check.name in needed:
            return


@contextmanager
def closing(trial: Trial) -> Iterator[Any]:
    """Close a trial at the end, however it ends."""
    try:
        yield trial
    finally:
        trial.close()
