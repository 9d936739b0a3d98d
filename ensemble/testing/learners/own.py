"""The check that a learner brings itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.plugin.faults import call_plugin
from ensemble.testing.checks import Check

if TYPE_CHECKING:
    from ensemble.testing.trial import LearnerTrial

_ROWS = 6


def own_check(trial: LearnerTrial) -> dict[str, Any]:
    """Call the learner's ``check`` with a few generated battles."""
    learner, battles = trial.subject.make(), trial.material.asked.head(_ROWS)
    context = trial.context()
    measured = call_plugin(
        "check", trial.where, lambda: dict(learner.check(battles, context=context))
    )
    return dict(measured)


CHECKS = (Check("own check", own_check),)
