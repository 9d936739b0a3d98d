"""What learners tell of their fits is stored with them, and shown wherever scores are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import BaseLearner, hookimpl, run
from ensemble.audit.audit import audit_run
from ensemble.report.write import write_report
from ensemble.stages.merge import merge_stage
from ensemble.stages.shared import record_config
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    import polars as pl

    from ensemble import FitContext
    from ensemble.plugin.base import LogitArray, Register
    from tests.fixture_types import Project, UsePlugins

CAUTION, DOUBT = "its first layer is new", "it was here before"


class Told(BaseLearner):
    """Predicts by its seed; says something of itself once it is fitted."""

    def __init__(
        self, caution: bool = False, doubt: bool = False, teachers: tuple[str, ...] = ()
    ) -> None:
        self.caution, self.doubt, self.teachers = caution, doubt, teachers
        self.drawn: list[float] = []

    @property
    def cautions(self) -> list[str]:  # type: ignore[override]
        return [CAUTION] if self.drawn and self.caution else []

    @property
    def doubts(self) -> tuple[str, ...]:  # type: ignore[override]
        return (DOUBT,) if self.drawn and self.doubt else ()

    def fit(self, *_: object, context: FitContext, **__: object) -> Self:
        self.drawn = np.random.default_rng(context.seed).normal(size=3).tolist()
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        return np.tile(np.array(self.drawn, dtype=np.float32), (len(battles), 1))

    def save(self, directory: Path) -> None:
        (directory / "drawn.json").write_text(json.dumps(self.drawn))

    def load(self, directory: Path) -> Self:
        self.drawn = json.loads((directory / "drawn.json").read_text())
        return self


class Averaged(Told):
    """A soup of it has no doubt of its own."""

    def average_models(self, directories: Sequence[Path]) -> Self:
        each = [json.loads((one / "drawn.json").read_text()) for one in directories]
        self.drawn, self.doubt = np.mean(each, axis=0).tolist(), False
        return self


class _Plugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("told", Told)
        register("averaged", Averaged)


@pytest.fixture(autouse=True)
def _plugin(fake_learners: object, use_plugins: UsePlugins) -> None:
    use_plugins(told=_Plugin())


def one(name: str, **parameters: Any) -> dict[str, Any]:
    return {"name": name, "plugin": "told"} | parameters


def manifest(place: Path, learner: str, fit: str = "fold-0") -> Any:
    return json.loads((place / "learners" / learner / fit / "manifest.json").read_text())


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_caution_is_stored_and_stands_in_the_report(project: Project, seeds: int) -> None:
    made = run(project.config([one("x", caution=True, seeds=seeds), one("y")]))
    assert manifest(made.directory, "x")["cautions"] == [CAUTION]
    assert manifest(made.directory, "y")["cautions"] == []
    assert manifest(made.directory, "x")["training_rows"] == "recorded"
    assert audit_run(made.directory).state == "passed"
    page = write_report(made.directory).read_text(encoding="utf-8")
    assert f"Learner x: {CAUTION}." in page
    assert "Learner y:" not in page


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_doubt_leaves_the_scores_unproven_wherever_they_are(project: Project, seeds: int) -> None:
    made = run(project.config([one("x", doubt=True, seeds=seeds), one("y")]))
    place = made.directory
    assert manifest(place, "x")["doubts"] == [DOUBT]
    found = audit_run(place)
    assert found.ok
    assert found.state == "unproven"
    assert found.unknown == ("x",)
    assert found.unproven == (f"x: {DOUBT}",)
    held = [check.name for check in found.checks]
    assert any(name.startswith("x fold 0: rule 2") for name in held), "what is known is checked"
    verdict = json.loads((place / "stack/verdict.json").read_text())
    assert verdict["unproven"]["learners"] == ["x"]
    proven = dict(made.scores().select("name", "proven").iter_rows())
    assert not proven["x"]
    assert proven["y"]
    page = write_report(place).read_text(encoding="utf-8")
    assert f"Learner x: {DOUBT}." in page
    assert 'x <span class="tag">unproven</span>' in page


def test_who_learns_from_a_learner_in_doubt_is_in_doubt_too(project: Project) -> None:
    learners = [one("x", doubt=True), one("y", teachers=["x"]), one("z", teachers=["y"])]
    place = run(project.config([*learners, one("w")], folds={"n_splits": 4})).directory
    told = f"it learned from x: {DOUBT}"
    assert manifest(place, "y")["doubts"] == [told]
    assert manifest(place, "z")["doubts"] == [f"it learned from y: {told}"]
    found = audit_run(place)
    assert found.ok
    assert found.unknown == ("x", "y", "z")


def test_a_fit_in_doubt_is_taken_from_another_run_with_its_doubt(project: Project) -> None:
    learners = [one("x", doubt=True, caution=True)]
    other = run(project.config(learners, run_dir="other")).directory
    config = project.config(learners, run_dir="own")
    own = prepared(config).run
    record_config(config)
    (own / "events.jsonl").touch()
    taken = merge_stage(own, [other])
    assert {offer.outcome for offer in taken} == {"taken"}, taken
    assert manifest(own, "x")["doubts"] == [DOUBT]
    assert audit_run(own).unknown == ("x",)


def test_a_soup_has_the_doubts_of_its_folds(project: Project) -> None:
    learners = [one("x", doubt=True, models="folds"), one("y", plugin="averaged", teachers=["x"])]
    place = run(project.config(learners, predict={"models": "soup"})).directory
    doubts = [f"it learned from x: {DOUBT}"]
    assert manifest(place, "y", "soup")["doubts"] == doubts
    assert manifest(place, "y", "soup")["training_rows"] == "unknown"
    assert audit_run(place).ok
