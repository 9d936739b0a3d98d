"""Honest out-of-fold predictions and stacking for human-preference prediction.

The public names are loaded when first used, so that ``import ensemble`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensemble import errors, testing
    from ensemble.api import Run, load_battles, plan, run
    from ensemble.battles.duplicates import find_duplicates
    from ensemble.battles.folds import SourceAwareGroupKFold
    from ensemble.config.settings import Config
    from ensemble.datasets.battles import make_battles
    from ensemble.datasets.sources import make_source
    from ensemble.estimators.classifier import BattleClassifier
    from ensemble.estimators.external import ExternalRows
    from ensemble.plugin.base import (
        CLASSES,
        BaseLearner,
        FitContext,
        MetaFeatures,
        MetaLearner,
        Resources,
    )
    from ensemble.plugin.feature import Feature, FeatureSet
    from ensemble.plugin.hookspecs import hookimpl
    from ensemble.plugin.suggestion import Suggestion

__all__ = [
    "CLASSES",
    "BaseLearner",
    "BattleClassifier",
    "Config",
    "ExternalRows",
    "Feature",
    "FeatureSet",
    "FitContext",
    "MetaFeatures",
    "MetaLearner",
    "Resources",
    "Run",
    "SourceAwareGroupKFold",
    "Suggestion",
    "errors",
    "find_duplicates",
    "hookimpl",
    "load_battles",
    "make_battles",
    "make_source",
    "plan",
    "run",
    "testing",
]

__version__ = "0.2.0"

_HOME = {
    "BaseLearner": "ensemble.plugin.base",
    "BattleClassifier": "ensemble.estimators.classifier",
    "CLASSES": "ensemble.plugin.base",
    "Config": "ensemble.config.settings",
    "ExternalRows": "ensemble.estimators.external",
    "Feature": "ensemble.plugin.feature",
    "FeatureSet": "ensemble.plugin.feature",
    "FitContext": "ensemble.plugin.base",
    "MetaFeatures": "ensemble.plugin.base",
    "MetaLearner": "ensemble.plugin.base",
    "Resources": "ensemble.plugin.base",
    "Run": "ensemble.api",
    "SourceAwareGroupKFold": "ensemble.battles.folds",
    "Suggestion": "ensemble.plugin.suggestion",
    "find_duplicates": "ensemble.battles.duplicates",
    "hookimpl": "ensemble.plugin.hookspecs",
    "load_battles": "ensemble.api",
    "make_battles": "ensemble.datasets.battles",
    "make_source": "ensemble.datasets.sources",
    "plan": "ensemble.api",
    "run": "ensemble.api",
}


def __getattr__(name: str) -> object:
    if name in ("errors", "testing"):
        return importlib.import_module(f"ensemble.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
