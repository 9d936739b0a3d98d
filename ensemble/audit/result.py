"""What an audit found: its state, in a word and in a sentence, and what no audit can see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ensemble import html

if TYPE_CHECKING:
    from ensemble.audit.checks import Check, CheckList

FAILED, UNPROVEN, INCOMPLETE = "failed", "unproven", "incomplete"
WITHOUT_SOURCES, PASSED = "passed without sources", "passed"

LIMITS = (
    "Forged files. It proves that what is stored fits together, not who wrote it: hashes keep "
    "accidents out, they are no signatures. Whoever writes other files and rewrites every hash "
    "that names them passes; --deep finds that where a stored model does not predict what is "
    "stored. Proof against its own author is a run that somebody else repeats.",
    "What a plugin does on its own: reading other files, or keeping something fitted in the cache. "
    "It proves which rows were handed to fit, and that these rows are honest.",
    "What a plugin says of itself: that it does not train, or that its version is the same.",
    "Duplicates that no text method finds: paraphrases and translations of a held-out battle.",
    "What a pre-trained model has seen before it came here.",
)
"""What no audit can see; ``docs/honesty.md`` and the report have the same words."""

_SHOWN = 3
_LONGEST = 110


@dataclass(frozen=True)
class Audit:
    """All checks of a run.

    Parameters
    ----------
    checks
        One a rule and object.
    unknown
        Learners whose training rows nobody recorded: they are neither honest nor dishonest.
    missing
        Learner folds, or the stack, that are not there, and so not measured.
    unproven
        What else could not be checked, and why.
    absent
        Sources, and files that learners depend on, that are not here: their content was not
        compared.
    subject
        Names what was audited, so that a later change is not taken for audited.
    deep
        Whether stored models were asked again for what is stored of their predictions.
    """

    LISTS: ClassVar = ("unknown", "missing", "unproven", "absent")

    checks: tuple[Check, ...]
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    subject: str = ""
    deep: bool = False

    @classmethod
    def of(cls, ledger: CheckList, subject: str, *, deep: bool = False) -> Audit:
        """Take it from what was written down."""
        lists = {name: tuple(getattr(ledger, name)) for name in cls.LISTS}
        return cls(tuple(ledger.checks), **lists, subject=subject, deep=deep)

    @property
    def ok(self) -> bool:
        """Whether every check holds; says nothing of what could not be checked."""
        return all(check.ok for check in self.checks)

    @property
    def complete(self) -> bool:
        """Whether all that a run has was there to be checked."""
        return not self.missing

    @property
    def state(self) -> str:
        """The outcome in a word; what could not be proved is never ``passed``."""
        if not self.ok:
            return FAILED
        if self.unknown or self.unproven:
            return UNPROVEN
        if self.missing:
            return INCOMPLETE
        return WITHOUT_SOURCES if self.absent else PASSED

    @property
    def proved(self) -> bool:
        """Whether all of the run is there, was checked, and holds."""
        return self.state in (PASSED, WITHOUT_SOURCES)

    @property
    def sentence(self) -> str:
        """The outcome for a reader, in a few lines at most; all of it is in the checks."""
        return "; ".join([f"{self.state}: {self._counted()}", *self._gaps()])

    def _counted(self) -> str:
        failed = [check for check in self.checks if not check.ok]
        if not failed:
            return f"{len(self.checks)} checks hold"
        told = "; ".join(f"{check.name}: {_cut(check.detail)}" for check in failed[:_SHOWN])
        more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        return f"{len(failed)} of {len(self.checks)} checks fail: {told}{more}"

    def _gaps(self) -> list[str]:
        found = []
        if self.unknown:
            found.append(f"training rows unknown for {', '.join(self.unknown)}")
        if self.unproven:
            found.append(f"could not be checked: {'; '.join(map(_cut, self.unproven))}")
        if self.missing:
            found.append(f"the run is not complete, not measured: {', '.join(self.missing)}")
        if self.absent:
            names = ", ".join(self.absent)
            found.append(f"sources are not here: their content was not compared ({names})")
        return found

    def _repr_html_(self) -> str:
        failed = [check for check in self.checks if not check.ok]
        kind = "bad" if failed else "good" if self.proved else "open"
        parts = [html.heading("Audit", f"{len(self.checks)} checks"), html.badge(self.state, kind)]
        if failed:
            rows = [(check.name, check.detail) for check in failed]
            parts.append(html.table(("what fails", "why"), rows, left=2))
        parts += [html.paragraph(gap) for gap in self._gaps()]
        return html.box(*parts)

    def to_json(self) -> dict[str, Any]:
        """Give the JSON object of ``audit.json``."""
        return {
            "state": self.state,
            "ok": self.ok,
            "complete": self.complete,
            "sentence": self.sentence,
            "checks": [check.to_json() for check in self.checks],
            **{name: list(getattr(self, name)) for name in self.LISTS},
            "deep": self.deep,
            "subject": self.subject,
        }


def _cut(text: str) -> str:
    first = text.splitlines()[0] if text else ""
    return first if len(first) <= _LONGEST else f"{first[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
