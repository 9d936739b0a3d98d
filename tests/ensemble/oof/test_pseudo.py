"""Soft labels: what a fold learns from unlabeled rows comes from its own, honest, models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import errors, run
from ensemble.battles.schema import LABEL_COLUMNS, labels_of
from ensemble.config.source_settings import SourceSettings
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.dependencies import dependency_depth, resolve_sources
from ensemble.oof.executors import execute
from ensemble.oof.fold_key import fold_key
from ensemble.oof.rows import FoldRows
from ensemble.oof.spec import LearnerSpec
from ensemble.oof.workspace import Workspace
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.plugin_checks import check_plugins
from ensemble.stacking.settings import learner_specs
from tests.ensemble.oof.prepared import prepared
from tests.ensemble.oof.pseudo_config import PUPIL, TEACHER, pseudo_config

if TYPE_CHECKING:
    from ensemble import BaseLearner, Config
    from ensemble.plugin.base import FloatArray
    from tests.fakes import Prior
    from tests.fixture_types import Project


def _fit(config: Config, workspace: Workspace, *folds: int | None) -> None:
    tasks = [(spec, fold) for spec in learner_specs(config) for fold in folds]
    execute(config, tasks, Reporter(workspace.run))


def _said(labels: FloatArray, shift: float = 0.0) -> FloatArray:
    """What a ``prior`` that was fitted on these labels says of any row."""
    odds: FloatArray = (labels.mean(axis=0) + 1e-3) * np.exp([shift, 0, 0])
    said: FloatArray = odds / odds.sum()
    return said


def _by_learner(fake_learners: type[Prior], workspace: Workspace) -> list[dict[str, Any]]:
    pseudo = set(workspace.battles.filter(pl.col("role") == "pseudo")["id"])
    return [{**seen, "pseudo": [i in pseudo for i in seen["ids"]]} for seen in fake_learners.seen]


def test_a_fold_learns_what_its_own_teacher_says(
    project: Project, fake_learners: type[Prior]
) -> None:
    config = pseudo_config(project)
    workspace = prepared(config)
    _fit(config, workspace, 0, 1, 2)
    fits = _by_learner(fake_learners, workspace)
    teachers = [seen for seen in fits if not any(seen["pseudo"])]
    pupils = [seen for seen in fits if any(seen["pseudo"])]
    assert len(teachers) == len(pupils) == 3
    for fold, (teacher, pupil) in enumerate(zip(teachers, pupils, strict=True)):
        outside = workspace.battles.filter(workspace.plan.training(fold, ("target",)))
        assert teacher["ids"] == outside["id"].to_list()
        soft = pupil["labels"][pupil["pseudo"]]
        np.testing.assert_allclose(soft, np.tile(_said(labels_of(outside)), (len(soft), 1)), 1e-5)
        hard = pupil["labels"][~np.array(pupil["pseudo"])]
        assert np.array_equal(hard, labels_of(outside))
    first, second = (seen["labels"][seen["pseudo"]][0] for seen in pupils[:2])
    assert not np.allclose(first, second, atol=1e-6)


def test_the_refit_is_labeled_by_the_refit(project: Project, fake_learners: type[Prior]) -> None:
    config = pseudo_config(project)
    workspace = prepared(config)
    _fit(config, workspace, None)
    pupil = _by_learner(fake_learners, workspace)[1]
    target = labels_of(workspace.battles.filter(pl.col("role") == "target"))
    np.testing.assert_allclose(pupil["labels"][pupil["pseudo"]][0], _said(target), 1e-5)


def test_several_teachers_give_their_mean_probabilities(
    project: Project, fake_learners: type[Prior]
) -> None:
    other = {"name": "other", "plugin": "prior", "shift": 3.0}
    config = pseudo_config(project, PUPIL, TEACHER, other, pseudo_labelers=["teacher", "other"])
    workspace = prepared(config)
    _fit(config, workspace, 0)
    pupil = next(s for s in _by_learner(fake_learners, workspace) if any(s["pseudo"]))
    outside = labels_of(workspace.battles.filter(workspace.plan.training(0, ("target",))))
    wanted = (_said(outside) + _said(outside, 3.0)) / 2
    np.testing.assert_allclose(pupil["labels"][pupil["pseudo"]][0], wanted, 1e-5)


def test_labels_of_the_file_are_gone_and_soft_ones_are_nowhere_kept_as_labels(
    project: Project,
) -> None:
    config = pseudo_config(project)
    place = run(config).directory
    battles = pl.read_parquet(place / "battles.parquet").filter(pl.col("role") == "pseudo")
    assert len(battles) == 20
    assert battles.select(pl.col(LABEL_COLUMNS).is_null().all()).row(0) == (True, True, True)
    manifest = _manifest(place, "pupil")
    facts = manifest["sources"]["extra"]
    assert facts["labeled_by"] == {"teacher": _manifest(place, "teacher")["key"]}
    assert sum(facts["label_shares"]) == pytest.approx(1)
    events = [json.loads(line) for line in (place / "events.jsonl").read_text().splitlines()]
    told = [event for event in events if event["event"] == "pseudo-labels"]
    assert [(one["source"], one["labelers"]) for one in told] == [("extra", ["teacher"])]


def _manifest(place: Path, learner: str) -> dict[str, Any]:
    path = place / "learners" / learner / "fold-0" / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest


def test_whoever_is_behind_the_labels_learns_from_no_pseudo_row(project: Project) -> None:
    behind = {"name": "behind", "plugin": "prior"}
    config = pseudo_config(project, PUPIL, TEACHER, behind)
    specs = {spec.name: spec for spec in learner_specs(config)}
    uses = config.source_uses()
    assert resolve_sources(specs["teacher"], uses)["extra"].role == "ignore"
    assert resolve_sources(specs["behind"], uses)["extra"].role == "pseudo"
    assert [dependency_depth(specs[name], uses) for name in ("teacher", "pupil")] == [0, 1]


def test_a_teacher_of_a_labeler_is_behind_the_labels_too(
    project: Project, monkeypatch: pytest.MonkeyPatch, fake_learners: type[Prior]
) -> None:
    behind = {"name": "behind", "plugin": "prior"}
    config = pseudo_config(project, PUPIL, TEACHER, behind)
    specs = {spec.name: spec for spec in learner_specs(config)}
    make = type(specs["teacher"]).make

    def taught(self: LearnerSpec) -> BaseLearner:
        learner = make(self)
        if self.name == "teacher":
            learner.teachers = ("behind",)
        return learner

    monkeypatch.setattr(type(specs["teacher"]), "make", taught)
    uses = config.source_uses()
    assert resolve_sources(specs["behind"], uses)["extra"].role == "ignore"
    assert [dependency_depth(specs[name], uses) for name in ("behind", "teacher", "pupil")] == [
        0,
        1,
        2,
    ]


def test_a_pupils_key_follows_its_labeler_and_not_the_other_way(project: Project) -> None:
    def keys(**changes: Any) -> dict[str, str]:
        teacher = TEACHER | {"shift": changes.pop("shift", 0.0)}
        config = pseudo_config(project, PUPIL, teacher, **changes)
        shared = prepared(config).shared_key()
        return {spec.name: fold_key(spec, 0, shared)[0] for spec in learner_specs(config)}

    plain, shifted, heavier = keys(), keys(shift=0.1), keys(weight=2.0)
    assert plain["teacher"] == heavier["teacher"] != shifted["teacher"]
    assert len({plain["pupil"], shifted["pupil"], heavier["pupil"]}) == 3


def test_pseudo_rows_may_be_matched_and_offset_as_others(
    project: Project, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_learners, "takes_offset", True)
    other = TEACHER | {"shift": 2.0}
    config = pseudo_config(project, PUPIL, other, logit_adjustment=True, weight=0.5, share=0.8)
    workspace = prepared(config)
    _fit(config, workspace, 0)
    pupil = next(s for s in _by_learner(fake_learners, workspace) if any(s["pseudo"]))
    offset, pseudo = pupil["context"].offset, np.array(pupil["pseudo"])
    assert 0 < pseudo.sum() < 20
    assert (pupil["weights"][pseudo] == 0.5).all()
    assert offset[pseudo][0].argmax() == 0
    assert not offset[~pseudo].any()


def test_a_pupil_waits_for_its_labeler(project: Project) -> None:
    config = pseudo_config(project)
    workspace = prepared(config)
    pupil = learner_specs(config)[0]
    with pytest.raises(
        errors.ArtifactError, match='"teacher", which labels source "extra" for "pupil"'
    ):
        fit_fold(workspace, pupil, 0)


def test_what_labelers_said_is_kept_for_a_resumed_fold(
    project: Project, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pseudo_config(project)
    workspace = prepared(config)
    pupil, teacher = learner_specs(config)
    fit_fold(workspace, teacher, 0)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr("ensemble.oof.crossfit.fit_seeds", fails)
        fit_fold(workspace, pupil, 0)
    kept = list(workspace.run.glob("checkpoints/pupil/*/labels/extra/teacher.parquet"))
    assert len(kept) == 1
    monkeypatch.setattr(type(workspace.store), "load", fails)  # the labeler is not asked again
    assert fit_fold(workspace, pupil, 0)


def test_predictions_from_outside_cannot_label(
    project: Project, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pseudo_config(project)
    _bring_from_outside("teacher", fake_learners, monkeypatch)
    with pytest.raises(
        errors.ConfigError, match='"teacher" cannot label(.|\n)*source "extra", pseudo_labelers'
    ):
        check_plugins(config)


def _bring_from_outside(
    name: str, kind: type[BaseLearner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make one learner of a kind that brings its predictions from outside."""
    outside, make = type("Outside", (kind,), {"trains": False}), LearnerSpec.make

    def made(self: LearnerSpec) -> BaseLearner:
        learner = make(self)
        if self.name == name:
            learner.__class__ = outside
        return learner

    monkeypatch.setattr(LearnerSpec, "make", made)


@pytest.mark.parametrize(
    "use", [{}, {"role": "train", "pseudo_labelers": [], "reweight": "importance"}]
)
def test_predictions_from_outside_have_to_do_with_no_source_but_the_target(
    project: Project,
    fake_learners: type[Prior],
    monkeypatch: pytest.MonkeyPatch,
    use: dict[str, Any],
) -> None:
    """They wait for nobody, no model labels rows for them, and no weight makes them anew."""
    _bring_from_outside("outside", fake_learners, monkeypatch)
    config = pseudo_config(project, PUPIL, TEACHER, {"name": "outside", "plugin": "prior"}, **use)
    workspace = prepared(config)
    outside = learner_specs(config)[2]
    assert fit_fold(workspace, outside, 0)
    assert not any(name.startswith("extra") for name in fake_learners.seen[-1]["ids"])
    heavier = replace(workspace.uses["extra"], weight=9.0)
    other = replace(workspace, uses={**workspace.uses, "extra": heavier})
    assert not fit_fold(other, outside, 0)


@pytest.mark.parametrize("others", [[], ["outside"]])
def test_labels_that_nobody_may_learn_are_told_before_any_work(
    project: Project, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch, others: list[str]
) -> None:
    _bring_from_outside("outside", fake_learners, monkeypatch)
    extra = [{"name": name, "plugin": "prior"} for name in others]
    config = pseudo_config(project, PUPIL, TEACHER, *extra, pseudo_labelers=["teacher", "pupil"])
    with pytest.raises(
        errors.ConfigError, match='nobody learns from its rows(.|\n)*"extra", pseudo_labelers'
    ):
        check_plugins(config)
    check_plugins(pseudo_config(project, PUPIL, TEACHER, *extra, pseudo_labelers=["teacher"]))


def test_a_source_that_becomes_pseudo_needs_labelers(project: Project) -> None:
    workspace = prepared(project.config([PUPIL, TEACHER]))
    spec = learner_specs(project.config([PUPIL, TEACHER]))[0]
    other = workspace.with_uses({"extra": SourceSettings("pseudo")}, run=workspace.run / "other")
    with pytest.raises(errors.ConfigError, match='nobody labels its rows(.|\n)*"extra"'):
        fit_fold(other, spec, 0)


def test_labels_that_a_source_has_give_way_to_soft_ones(
    project: Project, fake_learners: type[Prior]
) -> None:
    config = project.config([PUPIL, TEACHER])
    workspace = prepared(config)
    use = SourceSettings("pseudo", pseudo_labelers=("teacher",))
    other = workspace.with_uses({"extra": use}, run=workspace.run / "other")
    pupil, teacher = learner_specs(config)
    fit_fold(other, teacher, 0)
    fit_fold(other, pupil, 0)
    seen = _by_learner(fake_learners, other)[-1]
    assert ((seen["labels"][seen["pseudo"]] > 0) & (seen["labels"][seen["pseudo"]] < 1)).all()


def test_rows_without_labels_are_never_learned_from(project: Project) -> None:
    workspace = prepared(pseudo_config(project))
    with pytest.raises(errors.EnsembleError, match='have no label(.|\n)*source "extra", id extra-'):
        FoldRows.of(workspace, 0)
