"""Honest out-of-fold predictions and stacking for human-preference prediction.

The public names are loaded when first used, so that ``import ensemble`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensemble.battles.folds import SourceAwareGroupKFold
    from ensemble.datasets.battles import generate_battles
    from ensemble.datasets.sources import generate_source
    from ensemble.pipeline import run
    from ensemble.plugin.base import (
        CLASSES,
        BaseLearner,
        Feature,
        FeatureSet,
        FitContext,
        MetaFeatures,
        MetaLearner,
        Resources,
    )
    from ensemble.plugin.hookspecs import hookimpl

__all__ = [
    "CLASSES",
    "BaseLearner",
    "Feature",
    "FeatureSet",
    "FitContext",
    "MetaFeatures",
    "MetaLearner",
    "Resources",
    "SourceAwareGroupKFold",
    "generate_battles",
    "generate_source",
    "hookimpl",
    "run",
]

__version__ = "0.1.0"

_HOME = {
    "CLASSES": "ensemble.plugin.base",
    "BaseLearner": "ensemble.plugin.base",
    "Feature": "ensemble.plugin.base",
    "FeatureSet": "ensemble.plugin.base",
    "FitContext": "ensemble.plugin.base",
    "MetaFeatures": "ensemble.plugin.base",
    "MetaLearner": "ensemble.plugin.base",
    "Resources": "ensemble.plugin.base",
    "SourceAwareGroupKFold": "ensemble.battles.folds",
    "generate_battles": "ensemble.datasets.battles",
    "generate_source": "ensemble.datasets.sources",
    "hookimpl": "ensemble.plugin.hookspecs",
    "run": "ensemble.pipeline",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
