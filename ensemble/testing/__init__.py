"""The conformance kit: checks for learners, meta-learners, feature sets and loaders.

Each check says what was expected, what came, and how to mend it; ``docs/checks.md`` lists them.
"""

from __future__ import annotations

from ensemble.testing.checks import ConformanceWarning
from ensemble.testing.kit import (
    check_base_learner,
    check_feature_set,
    check_loader,
    check_meta_learner,
    check_registered,
)
from ensemble.testing.parametrize import parametrize_with_checks
from ensemble.testing.report import CheckReport

__all__ = [
    "CheckReport",
    "ConformanceWarning",
    "check_base_learner",
    "check_feature_set",
    "check_loader",
    "check_meta_learner",
    "check_registered",
    "parametrize_with_checks",
]
