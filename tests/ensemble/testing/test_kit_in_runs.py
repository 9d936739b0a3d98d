"""The kit in a run: before anything is fitted, once for each learner, all faults together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble.errors import ConfigError
from ensemble.oof.workspace import open_workspace
from ensemble.pipeline import run
from ensemble.plugin.hookspecs import hookimpl
from ensemble.stacking.settings import learner_specs
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.split import split_stage
from ensemble.stages.work import writing
from ensemble.testing.of_run import learner_faults, spec_findings
from tests.ensemble.testing.broken_learners import BROKEN, Sound

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.config.settings import Config
    from ensemble.oof.workspace import Workspace

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
def prepared(project: Any, use_plugins: Callable[..., None]) -> Callable[..., Workspace]:
    """Give a function that prepares a run with these learners."""
    use_plugins(broken=_Plugin())

    def prepare(*plugins: str) -> tuple[Config, Workspace]:
        config = project.config([{"name": f"my-{one}".lower(), "plugin": one} for one in plugins])
        with writing(config) as reporter:
            prepare_stage(config, reporter)
            split_stage(config, reporter)
        return config, open_workspace(config)

    return prepare  # type: ignore[return-value]


def test_a_run_refuses_learners_before_anything_is_fitted(prepared: Any, project: Any) -> None:
    config, _ = prepared("sound", "SavesHalf", "HashesIds")
    with pytest.raises(ConfigError, match="fails 1 check of its contract") as caught:
        run(config)
    told = str(caught.value)
    assert 'learner "my-saveshalf" fails' in told
    assert "save and load: predict_logits gives other logits after save and load" in told
    assert 'learner "my-hashesids" fails' in told
    assert "other ids: " in told
    assert not (project.path / "run" / "learners").exists()


def test_faults_are_given_by_learner(prepared: Any) -> None:
    config, workspace = prepared("sound", "SavesHalf")
    faults = learner_faults(workspace, learner_specs(config))
    assert [*faults] == ["my-saveshalf"]
    assert all("save and load" in fault for fault in faults["my-saveshalf"][:1])


def test_what_has_passed_is_not_asked_again(prepared: Any) -> None:
    config, workspace = prepared("counted")
    told: list[str] = []
    Counted.fits.clear()
    assert learner_faults(workspace, learner_specs(config), told.append) == {}
    fits = len(Counted.fits)
    assert 0 < fits < 8
    assert told[-1].startswith("my-counted  passes ")
    assert learner_faults(workspace, learner_specs(config), told.append) == {}
    assert len(Counted.fits) == fits
    (workspace.run / "cache" / "checks.json").write_text("nonsense")
    learner_faults(workspace, learner_specs(config), told.append)
    assert len(Counted.fits) == 2 * fits


def test_labels_of_the_runs_own_file_are_found_out(prepared: Any) -> None:
    config, workspace = prepared("knows")
    target = workspace.battles.filter(pl.col("role") == "target")
    rows = target.select("id", "label_a", "label_b", "label_tie").iter_rows()
    LABELS.update({one: [2 * a, 2 * b, 2 * tie] for one, a, b, tie in rows})
    (spec,) = learner_specs(config)
    failed = [one for one in spec_findings(workspace, spec, fast=True) if one.ok is False]
    assert [one.what for one in failed] == ["other ids for battles of the run"]
    assert "differ by up to 2" in failed[0].detail


def test_a_run_says_what_was_checked(prepared: Any, project: Any) -> None:
    config, _ = prepared("sound")
    place = run(config)
    events = [json.loads(line) for line in (place / "events.jsonl").read_text().splitlines()]
    assert any("my-sound  passes" in json.dumps(event) for event in events)
