from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ensemble import Resources, errors, run
from ensemble.stacking.plugin_checks import check_plugins

if TYPE_CHECKING:
    from tests.fakes import Prior
    from tests.fixture_types import Learners, Project

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
    project: Project, learners: Learners, stack: dict[str, Any], message: str
) -> None:
    config = project.config(learners, stack={"resamples": 200, **stack})
    with pytest.raises(errors.ConfigError, match=message):
        run(config)
    assert not (project.path / "run" / "learners").exists()
    assert not (project.path / "run" / "battles.parquet").exists()


@pytest.mark.parametrize(
    ("learners", "choose"),
    [(TWO, "mean"), (TWO, "lightgbm"), (ONE, "best_single"), (ONE, "auto")],
)
def test_a_candidate_that_there_will_be_is_accepted(
    project: Project, learners: Learners, choose: str
) -> None:
    check_plugins(project.config(learners, stack={"choose": choose}))


def test_faults_of_learners_and_of_the_stack_are_told_together(project: Project) -> None:
    learners = [*ONE, {"name": "q", "plugin": "prior", "shfit": 1.0}]
    with pytest.raises(errors.ConfigError) as caught:
        check_plugins(project.config(learners, stack={"choose": "meen", "features": ["lenght"]}))
    for part in ('unknown parameter "shfit"', 'candidate "meen"', '"lenght"'):
        assert part in str(caught.value)


def test_without_learners_there_is_nothing_to_choose_from_yet(project: Project) -> None:
    config = project.config(TWO, stack={"choose": "mean"})
    check_plugins(config.model_copy(update={"learners": []}))


def _sources(project: Project, **use: Any) -> list[dict[str, Any]]:
    sources = [source.model_dump(exclude_none=True) for source in project.config().sources]
    sources[1] |= use
    return sources


def test_an_offset_for_a_learner_that_takes_none_is_refused(project: Project) -> None:
    config = project.config(ONE, sources=_sources(project, logit_adjustment=True))
    with pytest.raises(
        errors.ConfigError, match='"extra" has logit_adjustment = true(.|\n)*learner "p"'
    ):
        check_plugins(config)


@pytest.mark.parametrize(
    ("plugin", "role"), [("handcrafted", "train"), ("tfidf", "train"), ("prior", "pretrain")]
)
def test_an_offset_is_accepted_where_it_is_taken_or_does_not_come(
    project: Project, plugin: str, role: str
) -> None:
    learners = [{"name": "p", "plugin": plugin}]
    check_plugins(
        project.config(learners, sources=_sources(project, logit_adjustment=True, role=role))
    )


def test_an_offset_of_pretraining_is_refused_where_it_would_come(project: Project) -> None:
    learners = [{"name": "p", "plugin": "pretrained"}]
    config = project.config(
        learners, sources=_sources(project, logit_adjustment=True, role="pretrain")
    )
    with pytest.raises(
        errors.ConfigError, match="has logit_adjustment = true, and the learner takes none"
    ):
        check_plugins(config)


@pytest.mark.parametrize(
    "execution",
    [{"executor": "processes", "devices": ["cuda:0", "cuda:1"]}, {"device": "cuda:1"}],
)
def test_one_device_is_refused_to_a_learner_that_wants_two(
    project: Project,
    fake_learners: type[Prior],
    monkeypatch: pytest.MonkeyPatch,
    execution: dict[str, Any],
) -> None:
    monkeypatch.setattr(
        "ensemble.stacking.plugin_checks.GIVEN", "nobody"
    )  # as if it were installed
    config = project.config(ONE, execution=execution)
    check_plugins(config)
    monkeypatch.setattr(fake_learners, "resources", Resources(gpus=2))
    message = r'on 2 GPUs, and \[execution\] gives it cuda:. alone(.|\n)*learner "p"(.|\n)*hint'
    with pytest.raises(errors.ConfigError, match=message):
        check_plugins(config)
    check_plugins(project.config(ONE))
