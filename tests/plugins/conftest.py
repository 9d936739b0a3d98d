"""Estimators of a user, and battles to fit them on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

import ensemble
from ensemble.plugin.base import CLASSES, LEARNER_COLUMNS
from ensemble_plugins.sklearn_learner import SklearnLearner
from tests.plugins.sklearn_pipelines import PIPELINES, TREES, fit

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("beside") / "my_pipelines.py"
    path.write_text(PIPELINES)
    return path


@pytest.fixture(scope="module")
def world() -> tuple[pl.DataFrame, FloatArray]:
    made = ensemble.make_battles(target_rows=500, external_rows=0, test_rows=0).target
    return made.select(LEARNER_COLUMNS), made.select(CLASSES).to_numpy().astype(np.float64)


@pytest.fixture(scope="module")
def trees(world: tuple[pl.DataFrame, FloatArray]) -> SklearnLearner:
    return fit(world, **TREES)
