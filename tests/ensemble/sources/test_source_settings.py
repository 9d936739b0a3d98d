from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ensemble import errors
from ensemble.battles.fold_plan import FoldPlan
from ensemble.sources.settings import (
    ENOUGH_ROWS,
    StudySettings,
    folds_of,
    learner_of,
    sources_of,
)
from ensemble.sources.variants import TRIALS, variants_of

if TYPE_CHECKING:
    from tests.fixture_types import Project


def _plan(per_fold: int, folds: int = 5) -> FoldPlan:
    number = np.repeat(np.arange(folds), per_fold)
    return FoldPlan(pl.DataFrame({"fold": number}), folds)


def test_enough_folds_are_scored_of_a_large_target_and_all_of_a_small_one() -> None:
    assert folds_of(_plan(ENOUGH_ROWS // 2), None) == (0, 1)
    assert folds_of(_plan(100), None) == (0, 1, 2, 3, 4)
    assert folds_of(_plan(100), (3, 1, 3)) == (1, 3)


def test_a_fold_that_is_not_there_is_refused() -> None:
    with pytest.raises(errors.ConfigError, match="there is no fold 5"):
        folds_of(_plan(10), (0, 5))


@pytest.mark.parametrize(
    ("names", "message"),
    [(("arean",), 'no source is called "arean"'), (("arena",), '"arena" is the target')],
)
def test_sources_that_cannot_be_studied(
    project: Project, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        sources_of(project.config(), names)


def test_a_config_of_the_target_alone_has_nothing_to_study(project: Project) -> None:
    alone = [{"name": "arena", "path": "train.csv", "role": "target"}]
    with pytest.raises(errors.ConfigError, match="there is no source beside the target"):
        sources_of(project.config(sources=alone), None)


def test_copies_of_target_rows_gain_nothing_in_the_bags_of_the_proxy(
    project: Project,
) -> None:
    proxy = learner_of(project.config(), None)
    assert proxy.plugin == "proxy"
    assert vars(proxy.make())["bagging_fraction"] == 1.0


def test_learners_that_cannot_be_fitted_with_and_without_a_source(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "oof.csv").write_text("id,winner_model_a,winner_model_b,winner_tie\n")
    learners = [{"name": "out", "plugin": "precomputed", "oof": "oof.csv", "test": "oof.csv"}]
    with pytest.raises(errors.ConfigError, match="brings its predictions from outside"):
        learner_of(project.config(learners), "out")
    with pytest.raises(errors.ConfigError, match='no learner is called "oat"'):
        learner_of(project.config(learners), "oat")


def test_treatments_are_chosen_by_name() -> None:
    assert variants_of(None) == list(TRIALS)
    assert [variant.name for variant in variants_of(("pretrain", "train"))] == ["train", "pretrain"]
    with pytest.raises(errors.UnknownNameError, match='unknown treatment "trian"'):
        variants_of(("trian",))
    assert len({variant.folder for variant in TRIALS}) == len(TRIALS)


@pytest.mark.parametrize(
    ("change", "message"), [({"least_seeds": 1}, "2 seeds"), ({"rows": 0}, "0 rows")]
)
def test_settings_out_of_range(change: dict[str, int], message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        StudySettings(**change)  # type: ignore[arg-type]
