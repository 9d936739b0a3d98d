"""Workers that last: cheap learners beside each other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble import errors
from ensemble.battles.prepare import prepare
from ensemble.battles.split import split
from ensemble.oof.executors import execute
from ensemble.oof.spec import LearnerSpec
from ensemble.plugin.manager import use_manager
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs
from tests.ensemble.oof.beating_learner import prepare_beats
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from tests.fixture_types import Project


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores, and workers at once."""
    monkeypatch.setattr("ensemble.oof.executors.available_cores", lambda: 2)
    monkeypatch.setattr("ensemble.oof.executors.WORTH_A_WORKER", 0.0)


@pytest.mark.slow
def test_cheap_learners_from_outside_are_fitted_in_workers_that_last(
    project: Project, installed: None, two_cores: None
) -> None:
    config, spec, reporter = prepare_beats(project, "auto", wait=1.0)
    tasks = [(spec, fold) for fold in (0, 1, 2, None)]
    tasks += [(LearnerSpec("y", "beats", spec.parameters, spec.base_directory), 0)]
    assert execute(config, tasks, reporter) == 5
    processes = [place.read_text() for place in reporter.run.glob("learners/*/*/model/process")]
    assert len(processes) == 5
    assert len(set(processes)) == 2, "one fitted several"
    assert str(os.getpid()) not in processes, "what kills it kills nobody else"


@pytest.mark.slow
def test_beside_each_other_and_one_after_the_other_give_the_same_bytes(
    project: Project, two_cores: None
) -> None:
    use_manager(None)
    learners = [{"name": "h", "plugin": "handcrafted"}, {"name": "t", "plugin": "tfidf"}]
    found = []
    for executor in ("in-process", "auto"):
        run_dir = str(project.path / executor)
        config = project.config(learners, execution={"executor": executor}, run_dir=run_dir)
        Path(run_dir).mkdir()
        prepare(config)
        split(Path(run_dir), config.folds, seed=config.seed)
        tasks = [(spec, fold) for spec in learner_specs(config) for fold in range(3)]
        assert execute(config, tasks, Reporter(Path(run_dir))) == 6
        files = sorted(Path(run_dir, "learners").rglob("*"))
        found.append(
            {
                file.relative_to(run_dir): file.read_bytes()
                for file in files
                if file.is_file() and file.name != "manifest.json"
            }
        )
    assert found[0] == found[1] and len(found[0]) > 20


def test_what_a_plugin_in_python_brings_is_fitted_here(project: Project, two_cores: None) -> None:
    config = project.config([{"name": "x", "plugin": "prior"}], execution={"executor": "auto"})
    space = prepared(config)
    tasks = [(spec, fold) for spec in learner_specs(config) for fold in range(3)]
    assert execute(config, tasks, Reporter(space.run)) == 3


def test_an_error_in_a_lasting_worker_ends_the_others(
    project: Project, installed: None, two_cores: None
) -> None:
    here = str(os.getpid())
    config, spec, reporter = prepare_beats(project, "auto", fails="dies", file=here, wait=1.0)
    with pytest.raises(
        errors.EnsembleError, match="killed by SIGKILL, which the system sends where"
    ):
        execute(config, [(spec, fold) for fold in range(3)], reporter)
