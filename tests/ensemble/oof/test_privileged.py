"""Privileged columns: seen by a teacher in fit and OOF, and by nobody else, in nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import Run, errors, run
from ensemble.audit.audit import audit_run
from ensemble.audit.deep import audit_deep
from ensemble.oof.rows import FoldRows
from ensemble.stages.fit import fit_stage
from ensemble.stages.work import writing
from ensemble.storage.json_files import read_json
from tests.ensemble.oof.prepared import prepared
from tests.ensemble.oof.watching_learner import (
    COLUMNS,
    OWN,
    PUPIL,
    TEACHER,
    Watcher,
    privileged_config,
)

if TYPE_CHECKING:
    from ensemble import FitContext
    from tests.fixture_types import Project

pytestmark = pytest.mark.usefixtures("files_with_columns")


def test_a_teacher_sees_them_and_nobody_else_does(project: Project) -> None:
    place = run(privileged_config(project)).directory
    truth = pl.read_csv(project.path / "train.csv").select("id", *COLUMNS)
    for one in Watcher.seen:
        own = [*OWN, *COLUMNS] if one["tag"] == "teacher" else OWN
        assert one["battles"].columns == own
    mine = [one["battles"] for one in Watcher.seen if one["tag"] == "teacher"]
    for battles in mine:
        assert not battles["id"].str.starts_with("t-").any()  # test rows, though these have them
        rows = battles.select("id", *COLUMNS).join(truth, on="id", suffix="_true")
        assert rows.select(COLUMNS).rows() == rows.select(f"{c}_true" for c in COLUMNS).rows()
    assert any(battles["id"].str.starts_with("extra").any() for battles in mine)
    folds = sorted(path.name for path in (place / "learners/teacher").iterdir())
    assert folds == ["fold-0", "fold-1", "fold-2", "pair-0-1", "pair-0-2", "pair-1-2"]
    assert not list(place.glob("learners/teacher/*/test.parquet"))
    assert read_json(place / "stack/manifest.json")["learners"] == ["pupil"]
    assert "teacher" not in {
        one["name"] for one in read_json(place / "stack/verdict.json")["candidates"]
    }


def test_what_a_source_lacks_is_empty_counted_and_said(project: Project) -> None:
    place = run(privileged_config(project)).directory
    manifest = read_json(place / "learners/teacher/fold-0/manifest.json")
    extra = next(
        one["battles"].filter(pl.col("id").str.starts_with("extra"))
        for one in Watcher.seen
        if one["tag"] == "teacher"
    )
    assert extra["language"].null_count() == len(extra) > 0
    assert manifest["privileged"]["language"]["arena"] == 0
    assert manifest["privileged"]["language"]["extra"] == manifest["sources"]["extra"]["rows"]
    assert manifest["privileged"]["model_a"] == {"arena": 0, "extra": 0}
    assert manifest["columns"] == {"fit": [*OWN, *COLUMNS], "predict": [*OWN, *COLUMNS]}
    events = (place / "events.jsonl").read_text()
    assert "rows of extra have no language" in events


def test_the_audit_proves_it_and_asks_the_models(project: Project) -> None:
    place = run(privileged_config(project)).directory
    audit = audit_deep(place)
    held = {check.name: check for check in audit.checks}
    assert audit.ok
    assert audit.complete
    assert held["privileged columns reached only teachers"].detail == "seen by teacher alone"
    assert held["teacher: its privileged columns do not tell the label"].ok
    without = "privileged columns reached only teachers: all others predict what is stored"
    assert any(name.startswith(without) for name in held)


def test_the_audit_finds_a_column_that_reached_a_pupil(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is recorded is what was handed over: a leak in the toolkit itself would show."""
    honest = FoldRows.of.__func__  # type: ignore[attr-defined]
    leaky = classmethod(lambda cls, space, fold, _=(): honest(cls, space, fold, COLUMNS))
    monkeypatch.setattr(FoldRows, "of", leaky)
    monkeypatch.setattr(Watcher, "_note", lambda *_: None)
    fit = Watcher.fit
    monkeypatch.setattr(
        Watcher,
        "fit",
        lambda self, battles, labels, *, context, **options: fit(
            self, battles.select(OWN), labels, context=_plain(context)
        ),
    )
    config = privileged_config(project, stack={"meta_learner": "none", "resamples": 200})
    with writing(config) as reporter:
        prepared(config)
        fit_stage(config, reporter, fail_fast=False)
    failed = {c.name: c.detail for c in audit_run(Path(config.run_dir)).checks if not c.ok}
    assert (
        "pupil fold-0 saw language, model_a, model_b"
        in (failed["privileged columns reached only teachers"])
    )


def _plain(context: FitContext) -> FitContext:
    from dataclasses import replace

    return replace(context, privileged=())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        *(
            ({"columns": columns}, "does not say which columns it saw")
            for columns in ({}, 3, ["fit"], {"fit": 3}, {"fit": [*OWN, 3]}, {"fit": [[], *OWN]})
        ),
        ({"columns": {"fit": [*OWN, "model_a"], "predict": OWN}}, "saw model_a, and is stacked"),
    ],
)
def test_the_audit_finds_manifests_that_say_so(
    project: Project, change: dict[str, Any], found: str
) -> None:
    from tests.ensemble.audit.forging import seal_manifest

    place = run(privileged_config(project)).directory
    path = place / "learners/pupil/fold-1/manifest.json"
    seal_manifest(path, read_json(path) | change)
    failed = {c.name: c.detail for c in audit_run(place).checks if not c.ok}
    assert found in failed["privileged columns reached only teachers"]


@pytest.mark.parametrize("named", [3, ["a"], "model_a"])
def test_the_audit_reads_columns_that_are_named_oddly(project: Project, named: Any) -> None:
    from tests.ensemble.audit.forging import seal_manifest

    place = run(privileged_config(project)).directory
    path = place / "learners/teacher/fold-1/manifest.json"
    told = read_json(path)
    for change in ({"privileged": named}, named):
        parts = told["key_parts"] | change if isinstance(change, dict) else change
        seal_manifest(path, told | {"key_parts": parts, "files": 3})
        assert not audit_run(place).ok


@pytest.mark.parametrize("name", ["_source", "_texts", "_value", "column", "literal", "text"])
def test_a_column_may_have_any_name_that_is_no_part_of_a_battle(
    project: Project, name: str
) -> None:
    path = project.path / "train.csv"
    frame = pl.read_csv(path).rename({"language": name})
    frame.write_csv(path)
    teacher = TEACHER | {"privileged": [name]}
    place = run(privileged_config(project, PUPIL, teacher)).directory
    manifest = read_json(place / "learners/teacher/fold-0/manifest.json")
    assert manifest["columns"]["fit"] == [*OWN, name]
    assert manifest["privileged"] == {
        name: {"arena": 0, "extra": manifest["sources"]["extra"]["rows"]}
    }
    assert audit_run(place).ok


def test_the_audit_knows_the_columns_of_rows_that_were_pretrained_on(project: Project) -> None:
    """A leak into an earlier stage is one too."""
    from tests.ensemble.audit.forging import seal_manifest

    sources = [
        {"name": "arena", "path": "train.csv", "role": "target"},
        {"name": "extra", "path": "extra.csv", "role": "pretrain"},
    ]
    place = run(privileged_config(project, sources=sources)).directory
    seen = read_json(place / "learners/teacher/fold-0/manifest.json")["columns"]
    assert seen["pretrain"] == [*OWN, *COLUMNS]
    assert audit_run(place).ok
    path = place / "learners/pupil/fold-0/manifest.json"
    told = read_json(path)
    assert told["columns"] == {"fit": OWN, "pretrain": OWN, "predict": OWN}
    faults = {
        "pupil fold-0 saw language": {**told["columns"], "pretrain": [*OWN, "language"]},
        "pupil fold-0 does not say which columns it saw": {"fit": OWN, "predict": OWN},
    }
    for fault, columns in faults.items():
        seal_manifest(path, told | {"columns": columns})
        failed = {c.name: c.detail for c in audit_run(place).checks if not c.ok}
        assert fault in failed["privileged columns reached only teachers"]


def test_a_labeler_with_privileged_columns_labels_with_them(project: Project) -> None:
    alone = {name: value for name, value in PUPIL.items() if name != "teachers"}
    sources = [
        {"name": "arena", "path": "train.csv", "role": "target"},
        {"name": "extra", "path": "extra.csv", "role": "pseudo", "pseudo_labelers": ["teacher"]},
    ]
    place = run(privileged_config(project, alone, TEACHER, sources=sources)).directory
    labeled = [
        one["battles"]
        for one in Watcher.seen
        if one["tag"] == "teacher" and one["battles"]["id"].str.starts_with("extra").any()
    ]
    assert labeled
    assert all(battles.columns == [*OWN, *COLUMNS] for battles in labeled)
    counts = read_json(place / "learners/pupil/fold-0/manifest.json")["labels"]
    assert counts["pseudo"] > 0
    assert counts["soft"] == 0
    assert audit_run(place).ok


def test_another_value_makes_another_teacher_and_another_pupil(project: Project) -> None:
    run(privileged_config(project, PUPIL, TEACHER, {"name": "other", "plugin": "watcher"}))
    place = project.path / "run"

    def keys() -> dict[str, str]:
        return {
            str(path.relative_to(place)): read_json(path)["key"]
            for path in sorted(place.glob("learners/*/fold-*/manifest.json"))
        }

    before = keys()
    path = project.path / "train.csv"
    frame = pl.read_csv(path)
    frame.with_columns(
        language=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("Thai")).otherwise("language")
    ).write_csv(path)
    run(privileged_config(project, PUPIL, TEACHER, {"name": "other", "plugin": "watcher"}))
    changed = {name.split("/")[1] for name, key in keys().items() if key != before[name]}
    assert changed == {"teacher", "pupil"}


def test_a_teacher_is_no_candidate_anywhere(project: Project) -> None:
    done = Run(run(privileged_config(project, PUPIL, TEACHER, PUPIL | {"name": "two"})).directory)
    assert done.oof("teacher").columns[0] == "id"
    with pytest.raises(errors.ConfigError, match='"teacher" predicts no test rows'):
        done.test("teacher")
    with pytest.raises(errors.ConfigError, match="it teaches, and is no candidate"):
        done.compare("pupil", "teacher")
    tries = json.dumps([read_json(p) for p in done.directory.glob("tries/*/*.json")])
    assert '"teacher"' not in tries
    assert done.predict(project.path / "test.csv").height == 9


@pytest.mark.slow
def test_workers_know_of_them_too(project: Project, tmp_path: Path) -> None:
    """A process of its own gets the columns, and a refit asks no teacher for test rows."""
    fast = {
        "plugin": "handcrafted",
        "features": ["length"],
        "n_models": 2,
        "n_estimators": 5,
        "min_child_samples": 3,
    }
    learners = [
        {"name": "teacher", **fast, "privileged": COLUMNS},
        {"name": "pupil", **fast, "teachers": ["teacher"]},
    ]
    place = run(
        privileged_config(
            project,
            *learners,
            execution={"executor": "processes", "workers": 2, "threads": 1},
            predict={"models": "refit"},
        )
    ).directory
    assert not (place / "learners/teacher/refit").exists()
    assert (place / "learners/pupil/refit/test.parquet").exists()
    manifest = read_json(place / "learners/pupil/refit/manifest.json")
    assert sorted(manifest["key_parts"]["teachers"]["teacher"]) == ["fold-0", "fold-1", "fold-2"]
    audit = audit_deep(place)
    assert audit.ok
    assert audit.complete
    assert Run(place).predict(project.path / "test.csv").height == 9


def test_in_the_order_of_time_a_teacher_is_fitted_on_what_was_before_all(project: Project) -> None:
    rng = np.random.default_rng(1)
    for name in ("train", "extra", "test"):
        path = project.path / f"{name}.csv"
        frame = pl.read_csv(path)
        texts = [json.dumps([" ".join(map(str, rng.integers(10**9, size=9)))]) for _ in frame["id"]]
        frame.with_columns(
            prompt=pl.Series(texts),
            at=pl.int_range(pl.len()) + (0 if name == "train" else -100),
        ).write_csv(path)
    folds = {"n_splits": 3, "scheme": "time", "time_column": "at"}
    predict = {"models": "refit"}
    place = run(privileged_config(project, PUPIL, TEACHER, folds=folds, predict=predict)).directory
    fits = {path.name for path in (place / "learners/teacher").glob("pair-*")}
    assert fits == {"pair-0-1", "pair-0-2", "pair-1-2"}
    counts = [
        read_json(place / f"learners/pupil/{fit}/manifest.json")["labels"]["soft"]
        for fit in ("fold-0", "fold-1", "fold-2", "refit")
    ]
    assert counts[0] == 0 < counts[1] < counts[2] < counts[3]
    times = dict(pl.read_csv(project.path / "train.csv").select("id", "at").iter_rows())
    plan = dict(pl.read_parquet(place / "folds.parquet").select("id", "fold").iter_rows())
    for fit in fits:
        first = min(times[i] for i in times if plan[i] == int(fit.split("-")[1]))
        used = pl.read_parquet(place / f"learners/teacher/{fit}/train_ids.parquet")["id"]
        assert all(times.get(name, -1) < first for name in used)
    audit = audit_run(place)
    assert audit.ok
    assert Run(place).predict(project.path / "test.csv").height == 9


def test_scores_say_who_is_only_a_teacher(project: Project) -> None:
    done = Run(run(privileged_config(project)).directory)
    kinds = dict(done.scores().select("name", "kind").iter_rows())
    assert (kinds["teacher"], kinds["pupil"]) == ("teacher", "learner")
    page = " ".join((done.directory / "report.html").read_text().split())
    assert "Learner teacher sees model_a, model_b, language" in page
