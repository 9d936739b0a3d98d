"""Teachers: a learner that learns from another's logits never hears of its held-out fold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import pytest

from ensemble import BaseLearner, errors, hookimpl, run
from ensemble.audit.audit import audit_run
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.executors import execute
from ensemble.oof.fold_key import fold_key, fold_name
from ensemble.oof.workspace import Workspace
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import check_plugins, learner_specs
from tests.ensemble.audit.forging import add_training_row
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from ensemble import Config, FitContext
    from ensemble.plugin.base import FloatArray, IntArray, LogitArray, Register
    from tests.fixture_types import Project, UsePlugins


class Memory(BaseLearner):
    """Knows the labels of its training rows by heart; of others it says that nothing is known."""

    told: list[dict[str, Any]] = []  # noqa: RUF012 - shared on purpose: tests read it

    def __init__(self, teachers: tuple[str, ...] = (), sharpness: float = 5.0) -> None:
        self.teachers, self.sharpness = teachers, sharpness

    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        Memory.told.append({"ids": battles["id"].to_list(), "teachers": dict(context.teachers)})
        logits = (labels * self.sharpness).tolist()
        self.known = dict(zip(battles["id"].to_list(), logits, strict=True))
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        unknown = [0.0, 0.0, 0.0]
        rows = [self.known.get(name, unknown) for name in battles["id"].to_list()]
        return np.array(rows, dtype=np.float32).reshape(-1, 3)

    def save(self, directory: Path) -> None:
        (directory / "known.json").write_text(json.dumps(self.known))

    def load(self, directory: Path) -> Self:
        self.known = json.loads((directory / "known.json").read_text())
        return self


class _Plugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("memory", Memory)


@pytest.fixture(autouse=True)
def installed(project: Project, use_plugins: UsePlugins) -> None:
    Memory.told.clear()
    use_plugins(memory=_Plugin())


TEACHER = {"name": "teacher", "plugin": "memory"}
PUPIL = {"name": "pupil", "plugin": "memory", "teachers": ["teacher"], "sharpness": 2.0}


def _config(project: Project, *learners: dict[str, Any]) -> Config:
    return project.config(learners=list(learners or (PUPIL, TEACHER)))


def test_the_teacher_of_a_fold_has_seen_nothing_of_it(project: Project) -> None:
    config = _config(project)
    workspace = prepared(config)
    tasks = [(spec, fold) for spec in learner_specs(config) for fold in range(3)]
    assert execute(config, tasks, Reporter(workspace.run)) == 6
    taught = [one for one in Memory.told if one["teachers"]]
    assert len(taught) == 3
    for fold, one in enumerate(taught):
        held_out = workspace.plan.frame.filter(pl.col("fold") == fold)
        # The teacher knows exactly its own training rows: that it knows a row is that it saw it.
        knows = np.abs(one["teachers"]["teacher"]).sum(axis=1) > 0
        assert knows.all()
        cut = workspace.plan.frame.filter(pl.col("id").is_in(one["ids"]))["cluster"]
        assert not set(cut) & set(held_out["cluster"])
        teacher = _known(workspace, "teacher", fold)
        assert not set(teacher) & set(held_out["id"])


def _known(workspace: Workspace, learner: str, fold: int) -> dict[str, Any]:
    place = workspace.store.directory(learner, fold) / "model" / "known.json"
    return dict(json.loads(place.read_text()))


def test_teachers_come_first_in_whatever_order_they_are_named(project: Project) -> None:
    config = _config(project, PUPIL | {"name": "last", "teachers": ["pupil"]}, PUPIL, TEACHER)
    workspace = prepared(config)
    tasks = [(spec, 0) for spec in learner_specs(config)]
    execute(config, tasks, Reporter(workspace.run))
    assert [sorted(one["teachers"]) for one in Memory.told] == [[], ["teacher"], ["pupil"]]


def test_a_pupil_without_its_teacher_says_what_to_run(project: Project) -> None:
    config = _config(project)
    workspace = prepared(config)
    pupil = learner_specs(config)[0]
    with pytest.raises(errors.ArtifactError, match="not fitted on fold-1"):
        fit_fold(workspace, pupil, 1)


def test_another_teacher_makes_another_pupil(project: Project) -> None:
    config, changed = _config(project), _config(project, PUPIL, TEACHER | {"sharpness": 9.0})
    shared = prepared(config).shared_key()
    pupils = [learner_specs(each)[0] for each in (config, changed)]
    keys = {fold_key(pupil, 0, shared)[0] for pupil in pupils}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        (["techer"], 'no learner is called "techer".*did you mean "teacher"'),
        (["pupil"], '"pupil" would teach itself'),
        (["outside"], '"outside" cannot teach'),
    ],
)
def test_who_cannot_teach_is_told_before_any_work(
    project: Project, tmp_path: Path, teachers: list[str], message: str
) -> None:
    (tmp_path / "oof.csv").write_text("id,logit_a,logit_b,logit_tie\n")
    outside = {"name": "outside", "plugin": "precomputed", "oof": str(tmp_path / "oof.csv")}
    config = _config(project, PUPIL | {"teachers": teachers}, TEACHER, outside)
    with pytest.raises(errors.ConfigError, match=f"(?s){message}"):
        check_plugins(config)


def test_two_that_teach_each_other_are_refused(project: Project) -> None:
    config = _config(project, PUPIL, TEACHER | {"teachers": ["pupil"]})
    with pytest.raises(errors.ConfigError, match="would teach itself"):
        check_plugins(config)


def test_what_teachers_said_is_kept_for_a_resumed_fold(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(project)
    workspace = prepared(config)
    pupil, teacher = learner_specs(config)
    fit_fold(workspace, teacher, 0)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr("ensemble.oof.crossfit.fit_seeds", fails)
        fit_fold(workspace, pupil, 0)
    place = workspace.store.directory("teacher", 0)
    kept = list(workspace.run.glob("checkpoints/pupil/*/teachers/teacher.parquet"))
    assert len(kept) == 1
    monkeypatch.setattr(type(workspace.store), "load", fails)  # the teacher is not asked again
    assert fit_fold(workspace, pupil, 0)
    assert place.exists()


def test_a_whole_run_with_a_teacher_passes_its_audit(project: Project) -> None:
    config = _config(project)
    result = audit_run(run(config).directory)
    names = [check.name for check in result.checks]
    assert result.ok
    assert "pupil fold 0: taught by teacher of the same fold" in names


@pytest.mark.parametrize("how", ["another fold's teacher", "a teacher that saw a held-out row"])
def test_the_audit_finds_a_dishonest_teacher(project: Project, how: str) -> None:
    config = _config(project)
    place = run(config).directory
    folds = [place / "learners" / "teacher" / fold_name(fold) for fold in range(2)]
    if how == "another fold's teacher":
        shutil.rmtree(folds[0])
        shutil.copytree(folds[1], folds[0])
    else:
        add_training_row(folds[0], pl.read_parquet(folds[0] / "oof.parquet")["id"][0])
    failed = [check.name for check in audit_run(place).checks if not check.ok]
    assert any(name.startswith("pupil fold 0") for name in failed)
