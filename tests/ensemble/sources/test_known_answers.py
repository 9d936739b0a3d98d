"""The study on generated sources, whose worth is known: one seed of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ensemble import make_battles, make_source
from ensemble.config.load import parse_config
from ensemble.datasets.sources import SOURCE_KINDS
from ensemble.sources.settings import StudySettings
from ensemble.stages.sources import sources_stage
from ensemble.stages.work import writing

if TYPE_CHECKING:
    from ensemble.sources.study import SourceStudy

pytestmark = pytest.mark.slow

ROWS = 800
SEED = 3
FEW = 8
"""Rows of the harmless source."""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SourceStudy]:
    directory = tmp_path_factory.mktemp("known")
    battles = make_battles(target_rows=ROWS, external_rows=0, test_rows=0, seed=SEED)
    battles.target.write_parquet(directory / "target.parquet")
    sources = [{"name": "target", "path": "target.parquet", "role": "target"}]
    for kind in SOURCE_KINDS:
        rows = FEW if kind == "harmless" else ROWS
        source = make_source(kind, rows=rows, seed=SEED, target_rows=ROWS)
        source.battles.write_parquet(directory / f"{kind}.parquet")
        sources.append({"name": kind, "path": f"{kind}.parquet", "role": "ignore"})
    raw = {"run_dir": "run", "sources": sources, "folds": {"n_splits": 2}}
    config = parse_config(raw, directory / "config.toml")
    settings = StudySettings(
        treatments=("train", "train, logit adjustment"), most_seeds=2, shift=False, curve=False
    )
    with writing(config) as reporter:
        return {study.name: study for study in sources_stage(config, reporter, settings)}


def _gain(study: SourceStudy, treatment: str) -> float:
    gains = {each["name"]: each["gain"]["mean"] for each in study.effect["treatments"]}
    return float(gains[treatment])


def test_more_of_the_target_helps(studies: dict[str, SourceStudy]) -> None:
    assert studies["same_rule"].verdict["word"] == "helps"
    assert studies["same_rule"].verdict["recommended"]["role"] == "train"


def test_another_label_rule_hurts_and_no_offset_mends_it(studies: dict[str, SourceStudy]) -> None:
    study = studies["other_rule"]
    assert study.verdict["word"] == "hurts"
    assert study.verdict["recommended"]["role"] == "ignore"
    assert _gain(study, "train, logit adjustment") < -0.01


def test_a_source_without_ties_hurts_and_an_offset_mends_it(
    studies: dict[str, SourceStudy],
) -> None:
    study = studies["no_ties"]
    assert study.verdict["word"] == "hurts"
    plain, offset = _gain(study, "train"), _gain(study, "train, logit adjustment")
    assert plain < -0.03
    assert offset > plain / 4, "an offset takes most of the harm away"


def test_other_prompts_under_the_same_rule_do_not_hurt(studies: dict[str, SourceStudy]) -> None:
    assert studies["other_prompts"].verdict["word"] != "hurts"


def test_duplicates_are_shown_to_be_worth_nothing(studies: dict[str, SourceStudy]) -> None:
    study = studies["duplicates"]
    assert study.verdict["word"] == "no difference shown"
    # Were a copy of a held-out row learned from, the gain would be of the order of 0.1.
    assert abs(_gain(study, "train")) < 0.01
    assert study.overlap["cut"]["rows"] == ROWS


def test_a_harmless_source_is_not_shown_to_do_anything(studies: dict[str, SourceStudy]) -> None:
    assert studies["harmless"].verdict["word"] == "no difference shown"
