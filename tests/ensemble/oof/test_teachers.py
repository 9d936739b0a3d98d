"""Teachers: a learner that learns from another's logits never hears of its held-out fold."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import pytest

from ensemble import BaseLearner, errors, hookimpl, run
from ensemble.audit.audit import audit_run
from ensemble.battles.held_out import HeldOut
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.executors import execute
from ensemble.oof.fold_key import fold_key
from ensemble.oof.label_origins import count_kinds
from ensemble.oof.teaching import teaching_fits, with_asked
from ensemble.oof.workspace import Workspace
from ensemble.plugin.base import LEARNER_COLUMNS
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.plugin_checks import check_plugins
from ensemble.stacking.settings import learner_specs
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import read_json, write_checksummed
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


class Careless(Memory):
    """Changes what its teachers said, in place."""

    def fit(self, battles: pl.DataFrame, labels: FloatArray, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        for said in options["context"].teachers.values():
            np.nan_to_num(said, copy=False, nan=7.0)
        return self


class _Plugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("memory", Memory)
        register("careless", Careless)


@pytest.fixture(autouse=True)
def installed(project: Project, use_plugins: UsePlugins) -> None:
    Memory.told.clear()
    use_plugins(memory=_Plugin())


TEACHER = {"name": "teacher", "plugin": "memory"}
PUPIL = {"name": "pupil", "plugin": "memory", "teachers": ["teacher"], "sharpness": 2.0}


def _config(project: Project, *learners: dict[str, Any]) -> Config:
    return project.config(learners=list(learners or (PUPIL, TEACHER)))


def _fit_all(config: Config, workspace: Workspace, folds: tuple[int | None, ...]) -> None:
    """Fit folds of all learners, and whatever these ask."""
    wanted = [(spec, HeldOut.of(fold)) for spec in learner_specs(config) for fold in folds]
    tasks = with_asked(wanted, workspace.uses, workspace.shape)
    execute(config, tasks, Reporter(workspace.run))


def _taught() -> list[dict[str, Any]]:
    return [one for one in Memory.told if one["teachers"]]


def test_a_teacher_says_nothing_of_rows_that_it_was_trained_on(project: Project) -> None:
    """A teacher that knows its training rows by heart knows none of those that it speaks of."""
    config = _config(project)
    workspace = prepared(config)
    _fit_all(config, workspace, (0, 1, 2, None))
    assert len(_taught()) == 4
    folds = dict(workspace.plan.frame.select("id", "fold").iter_rows())
    for one in _taught():
        said = one["teachers"]["teacher"]
        spoken = np.isfinite(said).all(axis=1)
        assert not said[spoken].any()
        # Rows of other sources are in every fit of the teacher: nobody can speak of them.
        assert spoken.tolist() == [folds[name] is not None for name in one["ids"]]
        assert spoken.any()
        assert not spoken.all()


def test_nothing_of_the_held_out_fold_is_behind_what_a_teacher_says(project: Project) -> None:
    config = _config(project)
    workspace = prepared(config)
    _fit_all(config, workspace, (0, 1, 2))
    frame = workspace.plan.frame
    for fold in range(3):
        held_out = set(frame.filter(pl.col("fold") == fold)["cluster"])
        manifest = read_json(workspace.store.directory("pupil", fold) / "manifest.json")
        asked = manifest["key_parts"]["teachers"]["teacher"]
        assert len(asked) == 2
        for name in asked:
            used = pl.read_parquet(workspace.run / f"learners/teacher/{name}/train_ids.parquet")
            clusters = frame.filter(pl.col("id").is_in(used["id"].implode()))["cluster"]
            assert not set(clusters) & held_out


def test_a_teacher_of_a_teacher_holds_out_the_pupils_fold_too(project: Project) -> None:
    learners = (
        PUPIL | {"name": "last", "teachers": ["pupil"]},
        PUPIL,
        TEACHER,
    )
    config = project.config(learners=list(learners), folds={"n_splits": 4})
    workspace = prepared(config)
    _fit_all(config, workspace, (1,))
    chain = workspace.run / "learners/teacher"
    assert sorted(path.name for path in chain.glob("triple-*")) == [
        "triple-0-1-2",
        "triple-0-1-3",
        "triple-1-2-3",
    ]
    for one in _taught():
        for said in one["teachers"].values():
            spoken = np.isfinite(said).all(axis=1)
            assert spoken.any()
    assert [sorted(one["teachers"]) for one in Memory.told][-1] == ["pupil"]


def test_too_few_folds_for_honest_teachers_are_told_before_any_work(project: Project) -> None:
    two = project.config(learners=[PUPIL, TEACHER], folds={"n_splits": 2})
    with pytest.raises(errors.ConfigError, match="without 2 folds at once(.|\n)*n_splits to 3"):
        check_plugins(two)
    chain: list[dict[str, Any]] = [PUPIL | {"name": "last", "teachers": ["pupil"]}, PUPIL, TEACHER]
    with pytest.raises(errors.ConfigError, match="without 3 folds at once(.|\n)*n_splits to 4"):
        check_plugins(project.config(learners=chain))
    check_plugins(project.config(learners=chain, folds={"n_splits": 4}))


def test_without_ties_a_pupil_hears_nothing_of_them(project: Project) -> None:
    config = _config(project)
    workspace = replace(prepared(config), ties=False)
    pupil, teacher = learner_specs(config)
    for fit in teaching_fits(0, workspace.shape).values():
        fit_fold(workspace, teacher, fit)
    fit_fold(workspace, pupil, 0)
    said = _taught()[0]["teachers"]["teacher"]
    spoken = ~np.isnan(said).any(axis=1)
    assert spoken.any()
    np.testing.assert_array_equal(said[spoken, 2], said[spoken, :2].min(axis=1) - 100)


def test_it_is_recorded_what_each_label_was(project: Project) -> None:
    config = _config(project)
    workspace = prepared(config)
    _fit_all(config, workspace, (0,))
    place = workspace.store.directory("pupil", 0)
    origins = pl.read_parquet(place / "labels.parquet")
    rows = origins.join(workspace.plan.frame.select("id", "fold"), on="id")
    soft, hard = rows.filter(kind="soft"), rows.filter(kind="hard")
    assert {(f, name) for f, name in soft.select("fold", "fit").iter_rows()} == {
        (1, "pair-0-1"),
        (2, "pair-0-2"),
    }
    assert soft["by"].to_list() == [["teacher"]] * len(soft)
    assert hard["fold"].null_count() == len(hard) > 0
    manifest = read_json(place / "manifest.json")
    assert manifest["labels"] == {"hard": len(hard), "soft": len(soft), "pseudo": 0}
    assert manifest["columns"]["fit"] == list(LEARNER_COLUMNS)
    own = pl.read_parquet(workspace.store.directory("teacher", 0) / "labels.parquet")
    assert set(own["kind"]) == {"hard"}


def test_what_a_pupil_does_to_its_teachers_logits_reaches_neither_seeds_nor_records(
    project: Project,
) -> None:
    config = _config(project, PUPIL | {"plugin": "careless", "seeds": 2}, TEACHER)
    workspace = prepared(config)
    _fit_all(config, workspace, (0,))
    one, other = (told["teachers"]["teacher"] for told in _taught())
    assert one is not other
    labels = pl.read_parquet(workspace.store.directory("pupil", 0) / "labels.parquet")
    speechless = workspace.plan.frame.filter(pl.col("fold").is_null())["id"]
    assert set(labels.filter(pl.col("id").is_in(speechless.implode()))["kind"]) == {"hard"}


def test_a_pupil_without_its_teacher_says_what_to_run(project: Project) -> None:
    config = _config(project)
    workspace = prepared(config)
    pupil = learner_specs(config)[0]
    with pytest.raises(errors.ArtifactError, match="not fitted on pair-0-1"):
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


def test_a_whole_run_with_a_teacher_passes_its_audit(project: Project) -> None:
    config = _config(project)
    result = audit_run(run(config).directory)
    names = [check.name for check in result.checks]
    assert result.ok
    assert result.complete
    assert "pupil fold 0: taught by teacher pair 0-1" in names
    assert "teacher pair 1-2: predicts its held-out rows, each once" in names
    assert "pupil fold 0: what each label was is recorded" in names
    assert "privileged columns reached only teachers" in names


@pytest.mark.parametrize(
    "how",
    [
        "another fit of the teacher",
        "a teacher that saw a held-out row",
        "a teacher that saw a row that it spoke of",
        "a row that nobody could speak of",
    ],
)
def test_the_audit_finds_a_dishonest_teacher(project: Project, how: str) -> None:
    place = run(_config(project)).directory
    fits = [place / "learners" / "teacher" / name for name in ("pair-0-1", "pair-0-2")]
    plan = pl.read_parquet(place / "folds.parquet")
    if how == "another fit of the teacher":
        shutil.rmtree(fits[0])
        shutil.copytree(fits[1], fits[0])
    elif how == "a row that nobody could speak of":
        _call_soft(place / "learners/pupil/fold-0", plan.filter(source="extra")["id"])
    else:
        fold = 0 if "held-out" in how else 1
        add_training_row(fits[0], plan.filter(fold=fold)["id"][0])
    failed = [check.name for check in audit_run(place).checks if not check.ok]
    assert any(name.startswith("pupil fold 0") for name in failed)


def _call_soft(directory: Path, ids: pl.Series) -> None:
    """Say of rows that a teacher spoke of them, in a file whose hash holds."""
    origins = pl.read_parquet(directory / "labels.parquet")
    odd = pl.col("id").is_in(ids.implode())
    forged = origins.with_columns(
        kind=pl.when(odd).then(pl.lit("soft")).otherwise("kind"),
        fit=pl.when(odd).then(pl.lit("pair-0-1")).otherwise("fit"),
        by=pl.when(odd).then(pl.lit(["teacher"])).otherwise("by"),
    )
    forged.write_parquet(directory / "labels.parquet")
    manifest = read_json(directory / "manifest.json")
    manifest["files"]["labels.parquet"] = hash_file(directory / "labels.parquet")
    manifest["labels"] = count_kinds(forged)
    write_checksummed(directory / "manifest.json", manifest)
