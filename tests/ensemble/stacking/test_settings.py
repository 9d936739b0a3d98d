from __future__ import annotations

from typing import Any

import pytest

from ensemble.errors import ConfigError
from ensemble.pipeline import run
from ensemble.stacking.settings import check_plugins

ONE: list[dict[str, Any]] = [{"name": "p", "plugin": "prior"}]
TWO = [*ONE, {"name": "q", "plugin": "prior", "shift": 0.2}]


@pytest.mark.parametrize(
    ("learners", "stack", "message"),
    [
        (TWO, {"choose": "meen"}, '"meen"\n.*where: stack.choose\n.*did you mean "mean"'),
        (TWO, {"choose": "lightgbm", "meta_learner": "none"}, 'unknown candidate "lightgbm"'),
        (ONE, {"choose": "mean"}, 'unknown candidate "mean"'),
        (TWO, {"choose": "mean", "learners": ["q"]}, 'unknown candidate "mean"'),
    ],
)
def test_a_candidate_that_there_will_not_be_is_refused_before_any_work(
    project: Any, learners: Any, stack: dict[str, Any], message: str
) -> None:
    config = project.config(learners, stack={"resamples": 200, **stack})
    with pytest.raises(ConfigError, match=message):
        run(config)
    assert not (project.path / "run" / "learners").exists()
    assert not (project.path / "run" / "battles.parquet").exists()


@pytest.mark.parametrize(
    ("learners", "choose"),
    [(TWO, "mean"), (TWO, "lightgbm"), (ONE, "best_single"), (ONE, "verdict")],
)
def test_a_candidate_that_there_will_be_is_accepted(
    project: Any, learners: Any, choose: str
) -> None:
    check_plugins(project.config(learners, stack={"choose": choose}))


def test_faults_of_learners_and_of_the_stack_are_told_together(project: Any) -> None:
    learners = [*ONE, {"name": "q", "plugin": "prior", "shfit": 1.0}]
    with pytest.raises(ConfigError) as caught:
        check_plugins(project.config(learners, stack={"choose": "meen", "features": ["lenght"]}))
    for part in ('unknown parameter "shfit"', 'candidate "meen"', '"lenght"'):
        assert part in str(caught.value)


def test_without_learners_there_is_nothing_to_choose_from_yet(project: Any) -> None:
    config = project.config(TWO, stack={"choose": "mean"})
    check_plugins(config.model_copy(update={"learners": []}))
