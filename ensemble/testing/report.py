"""What the checks of one plugin found, together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from ensemble.oof.check import Finding


@dataclass(frozen=True)
class CheckReport:
    """What was found of one plugin.

    Parameters
    ----------
    name
        The plugin.
    findings
        One for each check, in their order.
    """

    name: str
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """What does not hold."""
        return tuple(finding for finding in self.findings if finding.ok is False)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What holds, with something to know."""
        return tuple(finding for finding in self.findings if finding.warning)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def __str__(self) -> str:
        return "\n".join(finding.line() for finding in self.findings)

    def raise_for_failures(self) -> None:
        """Raise all failures together.

        Raises
        ------
        LearnerError
            Something does not hold.
        """
        if self.failed:
            told = [f"{one.what}: {one.detail}" for one in self.failed]
            raise LearnerError(
                "\n".join([f"{self.name} fails {len(told)} check{'s' * (len(told) > 1)}", *told])
            )
