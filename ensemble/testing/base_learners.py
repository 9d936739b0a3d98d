"""All that is asked of a base learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.testing import parameters
from ensemble.testing.checks import findings
from ensemble.testing.learners import edges, fitting, options, quality, rows, stored
from ensemble.testing.learners.own import CHECKS as OWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.oof.check import Finding
    from ensemble.testing.checks import Check
    from ensemble.testing.subjects import Subject
    from ensemble.testing.trial import LearnerTrial

NEEDED = ("contract", "constructor", "fit", "logits")
"""Where one of these fails, the rest is not asked."""
GENERAL: tuple[Check, ...] = (
    *parameters.CHECKS,
    *fitting.CHECKS,
    *rows.CHECKS,
    *options.CHECKS,
    *edges.CHECKS,
    *stored.CHECKS,
    fitting.FILES,
    *quality.CHECKS,
)


def learner_checks(subject: Subject) -> tuple[Check, ...]:
    """List what is asked of a learner: one with a check of its own is asked by that.

    Predictions that come from outside are not fitted.
    """
    if hasattr(subject.kind, "check"):
        return (*parameters.CHECKS, *OWN)
    if not getattr(subject.kind, "trains", True):
        return parameters.CHECKS
    return (*GENERAL, stored.AVERAGE) if hasattr(subject.kind, "average_models") else GENERAL


def learner_findings(trial: LearnerTrial, *, own: bool = True) -> Iterator[Finding]:
    """Ask a learner, or only what is fast; ``own`` says whether by its own check, if it has one."""
    checks = [check for check in learner_checks(trial.subject) if own or check not in OWN]
    chosen = [check for check in checks if check.fast or not trial.fast]
    if any(check in stored.CHECKS for check in chosen):
        trial.prepare()
    yield from findings(trial, chosen, NEEDED)
