"""The kit in a run: before anything is fitted, once for each learner, all faults together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble.errors import IncompleteRunError, LearnerError
from ensemble.oof.workspace import open_workspace
from ensemble.pipeline import run
from ensemble.plugin.hookspecs import hookimpl
from ensemble.stacking.settings import learner_specs
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.split import split_stage
from ensemble.stages.work import writing
from ensemble.testing.of_run import check_before_fit, spec_findings, unchecked
from tests.ensemble.testing.broken_learners import BROKEN, Sound

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.config.settings import Config
    from ensemble.oof.workspace import Workspace
    from tests.fixture_types import Project

pytestmark = pytest.mark.kit


class Counted(Sound):
    """Counts its fits."""

    fits: list[int] = []  # noqa: RUF012 - shared on purpose

    def fit(self, battles: Any, labels: Any, **options: Any) -> Any:
        Counted.fits.append(len(battles))
        return super().fit(battles, labels, **options)


LABELS: dict[str, list[float]] = {}


class KnowsTheFile(Sound):
    """Knows the labels of the run's file by id, as one who has read it when imported."""

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        import numpy as np

        known = np.array([LABELS.get(one, [0.0] * 3) for one in battles["id"]]).reshape(-1, 3)
        return super().predict_logits(battles) + known


class _Plugin:
    @hookimpl
    def register_base_learners(self, register: Any) -> None:
        register("sound", Sound)
        register("counted", Counted)
        register("knows", KnowsTheFile)
        for name, (kind, _, _) in BROKEN.items():
            register(name, kind)


@pytest.fixture
def prepared(project: Project, use_plugins: Callable[..., None]) -> Callable[..., Workspace]:
    """Give a function that prepares a run with these learners."""
    use_plugins(broken=_Plugin())

    def prepare(*plugins: str) -> tuple[Config, Workspace]:
        config = project.config([{"name": f"my-{one}".lower(), "plugin": one} for one in plugins])
        with writing(config) as reporter:
            prepare_stage(config, reporter)
            split_stage(config, reporter)
        return config, open_workspace(config)

    return prepare  # type: ignore[return-value]


def test_a_learner_that_breaks_its_contract_fails_alone_and_unfitted(
    prepared: Any, project: Project
) -> None:
    config, _ = prepared("sound", "SavesHalf", "HashesIds")
    with pytest.raises(IncompleteRunError) as caught:
        run(config)
    told = {failure.name: failure for failure in caught.value.failures}
    assert {*told} == {"my-saveshalf", "my-hashesids"}
    assert {failure.at for failure in told.values()} == {"contract"}
    assert "fails 1 check of its contract" in told["my-saveshalf"].reason
    assert "save and load: predict_logits gives other" in told["my-saveshalf"].reason
    assert "other ids: " in told["my-hashesids"].reason
    learners = project.path / "run" / "learners"
    assert not [*learners.glob("my-saveshalf/fold-*")]
    assert (learners / "my-sound" / "fold-2").exists()
    assert (project.path / "run" / "submission.csv").exists()


def test_with_fail_fast_the_first_ends_the_run(prepared: Any, project: Project) -> None:
    config, _ = prepared("sound", "SavesHalf")
    with pytest.raises(LearnerError, match="save and load: (.|\\n)*my-saveshalf"):
        run(config, fail_fast=True)
    assert not [*(project.path / "run" / "learners").glob("*/fold-*")]


def test_what_has_passed_is_not_asked_again(prepared: Any) -> None:
    config, workspace = prepared("counted")
    told: list[str] = []
    Counted.fits.clear()
    (spec,) = unchecked(workspace, learner_specs(config))
    check_before_fit(workspace, spec, told.append)
    fits = len(Counted.fits)
    assert 0 < fits < 8
    assert told[-1].startswith("my-counted  passes ")
    assert not unchecked(workspace, learner_specs(config))
    (workspace.run / "cache" / "checks.json").write_text("nonsense")
    assert unchecked(workspace, learner_specs(config))


def test_the_toolkits_own_learners_are_held_to_it_by_tests_alone(project: Project) -> None:
    config = project.config([{"name": "t", "plugin": "tfidf"}])
    with writing(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
    assert not unchecked(open_workspace(config), learner_specs(config))


def test_labels_of_the_runs_own_file_are_found_out(prepared: Any) -> None:
    config, workspace = prepared("knows")
    target = workspace.battles.filter(pl.col("role") == "target")
    rows = target.select("id", "label_a", "label_b", "label_tie").iter_rows()
    LABELS.update({one: [2 * a, 2 * b, 2 * tie] for one, a, b, tie in rows})
    (spec,) = learner_specs(config)
    failed = [one for one in spec_findings(workspace, spec, fast=True) if one.ok is False]
    assert [one.what for one in failed] == ["other ids for battles of the run"]
    assert "differ by up to 2" in failed[0].detail


def test_a_run_says_what_was_checked(prepared: Any, project: Project) -> None:
    config, _ = prepared("sound")
    place = run(config)
    events = [json.loads(line) for line in (place / "events.jsonl").read_text().splitlines()]
    assert any("my-sound  passes" in json.dumps(event) for event in events)
