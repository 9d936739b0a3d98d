"""The conformance kit: checks for learners, meta-learners, feature sets and loaders.

Each check says what was expected, what came, and how to mend it; ``docs/checks.md`` lists them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOME = {
    "CheckReport": "report",
    "ConformanceWarning": "checks",
    "parametrize_with_checks": "parametrize",
}


def __getattr__(name: str) -> object:
    # A fresh process, one for each learner that is checked, needs next to nothing of all this.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOME.get(name, 'kit')}")
    return getattr(module, name)
