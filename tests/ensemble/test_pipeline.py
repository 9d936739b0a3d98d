from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from filelock import FileLock

from ensemble import errors, hookimpl, run
from ensemble.audit.audit import audit_run
from ensemble.stages.fit import fit_stage
from ensemble.stages.predict import predict_stage
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.split import split_stage
from ensemble.stages.stack import stack_stage
from ensemble.stages.work import writing
from ensemble.storage.json_files import write_checksummed
from ensemble.submission.new_rows import predict_file
from tests.ensemble.stages import prepare_and_split

if TYPE_CHECKING:
    from tests.fakes import Prior
    from tests.fixture_types import Learners, Project, UsePlugins

TWO: list[dict[str, Any]] = [
    {"name": "p", "plugin": "prior"},
    {"name": "q", "plugin": "prior", "shift": 0.2},
]
NAMES = [
    "audit.json",
    "battles.parquet",
    "config.toml",
    "events.jsonl",
    "folds.json",
    "folds.parquet",
    "report.html",
    "submission.csv",
]


def _manifests(place: Path) -> dict[str, int]:
    """Modification times of all fold manifests: they tell what was made anew."""
    found = place.glob("learners/*/*/manifest.json")
    return {p.parent.relative_to(place).as_posix(): p.stat().st_mtime_ns for p in found}


def test_a_run_leaves_everything_where_the_design_says(project: Project) -> None:
    place = run(project.config(TWO)).directory
    assert all((place / name).is_file() for name in NAMES)
    assert {"candidates.json", "verdict.json", "oof.parquet", "model"} <= {
        p.name for p in (place / "stack").iterdir()
    }
    submission = pl.read_csv(place / "submission.csv", schema_overrides={"id": pl.String})
    test = pl.read_csv(project.path / "test.csv", schema_overrides={"id": pl.String})
    assert submission["id"].to_list() == test["id"].to_list()
    lines = (place / "events.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events.count("fold fitted") == 6
    assert events[-1] == "stage done"
    assert not list(place.rglob(".tmp-*"))


def test_the_same_command_again_does_nothing_twice(
    project: Project, fake_learners: type[Prior]
) -> None:
    place = run(project.config(TWO)).directory
    before, report = _manifests(place), (place / "report.html").read_bytes()
    submission = (place / "submission.csv").read_bytes()
    fitted = len(fake_learners.seen)
    run(project.config(TWO))
    assert _manifests(place) == before
    assert len(fake_learners.seen) == fitted
    assert (place / "submission.csv").read_bytes() == submission
    assert (place / "report.html").read_bytes() == report


def test_changing_one_learner_refits_that_learner_alone(project: Project) -> None:
    place = run(project.config(TWO)).directory
    before = _manifests(place)
    run(project.config([TWO[0], {**TWO[1], "shift": 0.4}]))
    changed = {name for name, time in _manifests(place).items() if before[name] != time}
    assert changed == {f"learners/q/fold-{fold}" for fold in range(3)}


def test_learners_and_folds_can_be_fitted_apart_and_copied_together(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = project.config(TWO)
    prepare_and_split(config)
    here = Path(config.run_dir)
    there = tmp_path_factory.mktemp("other_machine") / "run"
    shutil.copytree(here, there)
    elsewhere = config.model_copy(update={"run_dir": str(there), "base_dir": str(there)})
    with writing(elsewhere) as reporter:
        # The sources are not needed there.
        fit_stage(elsewhere, reporter, learners=["q"])
        fit_stage(elsewhere, reporter, learners=["p"], folds=[1])
    with writing(config) as reporter:
        fit_stage(config, reporter, learners=["p"], folds=[0, 2])
        with pytest.raises(errors.ArtifactError, match="p fold-1, q fold-0, q fold-1, q fold-2"):
            stack_stage(config, reporter)
        shutil.copytree(there / "learners", here / "learners", dirs_exist_ok=True)
        fit_stage(config, reporter)
        stack_stage(config, reporter)
        predict_stage(config, reporter)
    assert audit_run(here).ok


def test_folds_of_another_run_are_not_taken(project: Project, fake_learners: type[Prior]) -> None:
    place = run(project.config(TWO)).directory
    fitted = len(fake_learners.seen)
    run(project.config(TWO, seed=8))
    assert len(fake_learners.seen) == 2 * fitted
    assert audit_run(place).ok


@pytest.mark.slow
def test_processes_give_the_same_logits(project: Project) -> None:
    few = {"features": ["length"], "n_estimators": 5, "n_models": 2}
    learners: Learners = [{"name": "h", "plugin": "handcrafted", **few}]
    place = run(project.config(learners)).directory
    names = ("fold-1", "pair-0-2")
    before = [pl.read_parquet(place / f"learners/h/{name}/oof.parquet") for name in names]
    shutil.rmtree(place)
    run(project.config(learners, execution={"executor": "processes", "workers": 2, "threads": 1}))
    for name, stored in zip(names, before, strict=True):
        assert pl.read_parquet(place / f"learners/h/{name}/oof.parquet").equals(stored)


def test_a_learner_that_fails_loses_nothing_of_the_others(project: Project) -> None:
    bad = {"name": "bad", "plugin": "raises"}
    message = "bad +fold 0 +fit raised(.|\n)*no luck today"
    with pytest.raises(errors.IncompleteRunError, match=message):
        run(project.config([TWO[0], bad]))
    place = project.path / "run"
    kept = _manifests(place)
    assert len(kept) == 3
    assert '"fold failed"' in (place / "events.jsonl").read_text()
    run(project.config([TWO[0], TWO[1]]))
    assert kept.items() <= _manifests(place).items()


def test_faults_of_all_learners_are_reported_before_any_work(project: Project) -> None:
    learners: Learners = [
        {"name": "a", "plugin": "pior"},
        {"name": "b", "plugin": "prior", "shfit": 1.0},
    ]
    with pytest.raises(errors.ConfigError, match='did you mean "prior"(.|\n)*did you mean "shift"'):
        run(project.config(learners))
    assert not (project.path / "run" / "battles.parquet").exists()


def test_an_unknown_fold_or_learner_is_refused(project: Project) -> None:
    config = project.config(TWO)
    with writing(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
        with pytest.raises(errors.ConfigError, match="there is no fold 3: folds are 0 to 2"):
            fit_stage(config, reporter, folds=[0, 3])
        with pytest.raises(errors.ConfigError, match='no learner is called "x"'):
            fit_stage(config, reporter, learners=["x"])


def test_a_second_writer_is_refused(project: Project) -> None:
    config = project.config(TWO)
    (project.path / "run").mkdir()
    with (
        FileLock(project.path / "run" / ".lock"),
        pytest.raises(errors.RunLockedError, match="another process writes to this run"),
    ):
        run(config)


def test_no_learners_is_an_error(project: Project) -> None:
    config = project.config(TWO).model_copy(update={"learners": []})
    with pytest.raises(errors.ConfigError, match="nothing to stack"):
        run(config)


def test_without_a_test_file_there_is_no_submission(project: Project) -> None:
    config = project.config(TWO).model_copy(update={"test": None})
    place = run(config).directory
    assert (place / "report.html").exists()
    assert not (place / "submission.csv").exists()


@pytest.mark.parametrize("models", ["folds", "refit"])
def test_a_saved_run_scores_new_rows_as_it_scored_the_test_set(
    project: Project, models: str, tmp_path: Path
) -> None:
    config = project.config(TWO, predict={"models": models, "refit": True})
    place = run(config).directory
    (project.path / "train.csv").unlink()
    (place / "battles.parquet").unlink()
    shutil.rmtree(place / "cache")
    predict_file(config, project.path / "test.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == (place / "submission.csv").read_text()
    assert "folds against refit" in (place / "events.jsonl").read_text()


def test_a_submission_with_refits_is_kept_too(project: Project) -> None:
    config = project.config(TWO, predict={"refit": True})
    made = '"stage started", "stage": "predict"'
    place = run(config).directory
    assert (place / "events.jsonl").read_text().count(made) == 1
    run(config)
    assert (place / "events.jsonl").read_text().count(made) == 1


def test_a_damaged_model_is_refused(project: Project, tmp_path: Path) -> None:
    config = project.config(TWO)
    place = run(config).directory
    (place / "learners/p/fold-0/model/prior.json").write_text("[0.9, 0.05, 0.05]")
    with pytest.raises(errors.ArtifactError, match="not what its manifest says"):
        predict_file(config, project.path / "test.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_choose_overrides_the_verdict(project: Project) -> None:
    stack = {"meta_learner": "none", "resamples": 200, "choose": "mean"}
    place = run(project.config(TWO, stack=stack)).directory
    assert json.loads((place / "stack/verdict.json").read_text())["chosen"] == "mean"
    with pytest.raises(
        errors.InputError, match='unknown candidate "men"(.|\n)*did you mean "mean"'
    ):
        run(project.config(TWO, stack={**stack, "choose": "men"}))


def test_an_audit_that_fails_stops_the_run(project: Project) -> None:
    config = project.config(TWO)
    place = run(config).directory
    manifest_path = place / "learners/p/fold-0/manifest.json"
    _plant_leak(place, "p", 0)
    with pytest.raises(errors.AuditError, match="training rows that leak"):
        run(config)
    assert json.loads((place / "audit.json").read_text())["ok"] is False
    assert manifest_path.exists()


def _plant_leak(place: Path, learner: str, fold: int) -> None:
    """Record a held-out row among the training rows, with hashes that hold."""
    from ensemble.storage.hashing import hash_file

    directory = place / "learners" / learner / f"fold-{fold}"
    ids = pl.read_parquet(directory / "train_ids.parquet")
    held_out = pl.read_parquet(directory / "oof.parquet")["id"][0]
    leak = pl.DataFrame({"id": [held_out], "stage": ["train"]}, schema=ids.schema)
    pl.concat([ids, leak]).write_parquet(directory / "train_ids.parquet")
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"]["train_ids.parquet"] = hash_file(directory / "train_ids.parquet")
    write_checksummed(directory / "manifest.json", manifest)


@pytest.mark.slow
def test_exchanging_the_names_of_learners_makes_the_stack_anew(project: Project) -> None:
    stack = {"meta_learner": "none", "resamples": 200, "choose": "blend"}
    far = {"plugin": "prior", "shift": 3.0}
    near = {"plugin": "prior"}
    place = run(
        project.config([{"name": "p", **near}, {"name": "q", **far}], stack=stack)
    ).directory
    before = pl.read_csv(place / "submission.csv")["winner_model_a"].to_list()
    run(project.config([{"name": "q", **near}, {"name": "p", **far}], stack=stack))
    after = pl.read_csv(place / "submission.csv")["winner_model_a"].to_list()
    assert after == pytest.approx(before, abs=0.02)


def test_a_learner_taken_out_of_the_config_is_no_part_of_the_run(project: Project) -> None:
    run(project.config(TWO))
    place = run(project.config(TWO[:1], seed=8)).directory
    (place / "learners" / ".DS_Store").write_text("")
    audit = audit_run(place)
    assert audit.ok
    assert not any(check.name.startswith("q ") for check in audit.checks)


def test_a_config_that_has_changed_since_does_not_score_new_rows(
    project: Project, tmp_path: Path
) -> None:
    run(project.config(TWO))
    changed = project.config([TWO[0], {**TWO[1], "shift": 1.0}])
    with pytest.raises(errors.ArtifactError, match="made with other parameters"):
        predict_file(changed, project.path / "test.csv", tmp_path / "out.csv")
    with writing(changed) as reporter:
        fit_stage(changed, reporter)
    with pytest.raises(errors.ArtifactError, match="not one that the stack was made from"):
        predict_file(changed, project.path / "test.csv", tmp_path / "out.csv")
    other = project.config(TWO, stack={"meta_learner": "none", "choose": "mean"})
    with pytest.raises(errors.ArtifactError, match="other settings"):
        predict_file(other, project.path / "test.csv", tmp_path / "out.csv")


def test_new_rows_do_not_replace_their_own_file(project: Project) -> None:
    config = project.config(TWO)
    run(config)
    test = project.path / "test.csv"
    with pytest.raises(errors.InputError, match="would replace the test file"):
        predict_file(config, test, test)


def test_the_lock_is_free_after_an_error(project: Project) -> None:
    config = project.config(TWO)
    with pytest.raises(RuntimeError, match="in the body") as kept, writing(config):
        raise RuntimeError("in the body")
    with writing(config):
        assert str(kept.value) == "in the body"


def test_taking_the_test_file_out_takes_the_submission_away(project: Project) -> None:
    place = run(project.config(TWO)).directory
    assert (place / "submission.csv").exists()
    run(project.config(TWO).model_copy(update={"test": None}))
    assert not (place / "submission.csv").exists()


def test_a_learner_that_cannot_pretrain_is_named(project: Project) -> None:
    sources = [source.model_dump(exclude_none=True) for source in project.config().sources]
    sources[1]["role"] = "pretrain"
    place = run(
        project.config([{"name": "w", "plugin": "pretrained"}, TWO[0]], sources=sources)
    ).directory
    lines = (place / "events.jsonl").read_text().splitlines()
    warnings = [json.loads(line)["text"] for line in lines if '"warning"' in line]
    assert any(text.startswith("p cannot pre-train: the rows of extra") for text in warnings)


def test_an_observer_that_raises_does_not_stop_the_run(
    project: Project, use_plugins: UsePlugins
) -> None:
    class Observer:
        @hookimpl
        def fold_fitted(self, learner: str, fold: int | None) -> None:
            raise RuntimeError(f"cannot watch {learner} {fold}")

    use_plugins(watch=Observer())
    place = run(project.config()).directory
    assert "cannot watch p 0" in (place / "events.jsonl").read_text()


def _tries(place: Path) -> dict[str, Any]:
    return dict(json.loads((place / "stack" / "verdict.json").read_text())["tries"])


@pytest.mark.slow
def test_what_was_scored_on_a_fold_plan_is_counted_once_and_never_forgotten(
    project: Project,
) -> None:
    place = run(project.config(TWO)).directory
    first = _tries(place)["n"]
    assert first >= len(TWO) + 2, "learners and candidates"
    shutil.rmtree(place / "stack")
    run(project.config(TWO))
    assert _tries(place)["n"] == first, "the same again is no other try"
    run(project.config([TWO[0], {**TWO[1], "shift": 0.4}]))
    second = _tries(place)["n"]
    assert second > first, "other parameters are"
    run(project.config([TWO[0]]))
    assert _tries(place)["n"] > second, "a learner taken out still counts, and so do new candidates"
    run(project.config(TWO, seed=8))
    assert _tries(place)["n"] == first, "another fold plan starts anew"


def test_a_learner_that_was_fitted_and_never_stacked_counts(project: Project) -> None:
    plain, watched = project.config([TWO[0]]), [TWO[0], {**TWO[1], "shift": 0.9}]
    place = run(plain).directory
    before = _tries(place)["n"]
    more = project.config(watched)
    with writing(more) as reporter:
        fit_stage(more, reporter)
    shutil.rmtree(place / "stack")
    run(project.config([TWO[0]]))
    assert _tries(place)["n"] == before + 1
