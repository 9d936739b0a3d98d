"""What an audit writes down: checks that hold or not, and what could not be checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ensemble.errors import EnsembleError

_SHOWN_IDS = 20


def told_error(error: EnsembleError) -> str:
    """Say what is wrong, and of which file, without the place of the run."""
    name = "/".join(Path(error.where).parts[-2:]) if error.where else ""
    return f"{error.message} ({name})" if name and name not in error.message else error.message


@dataclass(frozen=True)
class Check:
    """One rule on one object, whether it holds, and the ids that break it."""

    name: str
    ok: bool
    detail: str
    ids: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object; at most 20 ids, with their number in ``detail``."""
        ids = list(self.ids[:_SHOWN_IDS])
        return {"name": self.name, "ok": self.ok, "detail": self.detail, "ids": ids}


@dataclass
class CheckList:
    """Collects what holds, what does not, and what could not be told.

    Parameters
    ----------
    checks
        Rules that were checked.
    unknown
        Learners whose training rows nobody recorded.
    missing
        Folds, or the stack, that are not there.
    unproven
        What could not be checked and why, in words.
    absent
        Sources, and files that learners depend on, that are not here to be compared.
    """

    checks: list[Check] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def record(self, name: str, offending: Iterable[str], what: str, holds: str) -> None:
        """Note a rule: it holds where no id offends."""
        ids = tuple(sorted(offending))
        detail = f"{what}: {len(ids)} ids, {', '.join(ids[:5])}" if ids else holds
        self.checks.append(Check(name, not ids, detail, ids))

    def hold(self, name: str, detail: str) -> None:
        """Note a rule that holds."""
        self.checks.append(Check(name, ok=True, detail=detail))

    def fail(self, name: str, detail: str) -> None:
        """Note a rule that does not hold, or that damage keeps from being checked."""
        self.checks.append(Check(name, ok=False, detail=detail))

    def settle(self, name: str, fault: str | None, holds: str) -> None:
        """Note a rule that holds where no fault was found."""
        if fault:
            self.fail(name, fault)
        else:
            self.hold(name, holds)

    def note(self, kind: list[str], text: str) -> None:
        """Add to one of the lists what is not yet in it."""
        if text not in kind:
            kind.append(text)
