"""A soup of folds: what it is made of, what it may predict, and when it is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import Config, Run, errors, run
from ensemble.audit.audit import audit_run
from ensemble.audit.deep import audit_deep
from ensemble.oof.soup_check import check_soup
from ensemble.run_dir.holdout_record import HoldoutRecord
from ensemble.storage.directories import atomic_directory, read_manifest
from ensemble.submission.new_rows import predict_file
from ensemble.submission.parse import read_submission
from tests.ensemble.oof.averaged_learners import Averaged, AveragedPlugin
from tests.ensemble.oof.cheap_learners import CheapPlugin
from tests.ensemble.report.pages import section

if TYPE_CHECKING:
    from tests.fixture_types import Project, UsePlugins

ONE: list[dict[str, Any]] = [{"name": "flat", "plugin": "averaged"}]
SOUP, LOGITS = {"models": "soup"}, ["logit_a", "logit_b", "logit_tie"]


@pytest.fixture(autouse=True)
def plugins(project: Project, use_plugins: UsePlugins) -> None:
    use_plugins(averaged=AveragedPlugin(), cheap=CheapPlugin())
    Averaged.fitted.clear()


def _config(project: Project, learners: Any = ONE, **changes: Any) -> Config:
    own = {"predict": SOUP, "execution": {"executor": "in-process", "threads": 1}}
    return project.config(learners, **own | changes)


def _test(place: Path, fit: str, learner: str = "flat") -> pl.DataFrame:
    return pl.read_parquet(place / "learners" / learner / fit / "test.parquet").sort("id")


def _mean(place: Path, learner: str = "flat") -> Any:
    return np.mean([_test(place, f"fold-{k}", learner).select(LOGITS) for k in range(3)], axis=0)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_mean_of_linear_models_predicts_the_mean_of_their_logits(
    project: Project, seeds: int
) -> None:
    place = run(_config(project, [{**ONE[0], "seeds": seeds}])).directory
    soup = _test(place, "soup").select(LOGITS).to_numpy()
    np.testing.assert_allclose(soup, _mean(place), atol=1e-6)
    assert np.ptp(soup, axis=0).max() > 0.1
    models = list((place / "learners/flat/soup/model").rglob("weights.json"))
    assert len(models) == seeds
    check = read_manifest(place / "learners/flat/soup")["check"]
    assert check["rows"] == 9
    assert check["of"] == "test"
    assert check["kl"] < 1e-9 < min(check["fold_kl"])
    assert check["changed"] == 0
    assert len(Averaged.fitted) == 3 * seeds


def test_new_rows_and_submission_are_of_the_soup_alone(project: Project) -> None:
    place = run(_config(project)).directory
    shutil.copy(project.path / "test.csv", project.path / "new.csv")
    for fold in range(3):  # nobody needs them any more
        shutil.rmtree(place / f"learners/flat/fold-{fold}")
    output = project.path / "out.csv"
    predict_file(Run(place).config, project.path / "new.csv", output)
    written, submitted = read_submission(output), read_submission(place / "submission.csv")
    np.testing.assert_allclose(written.drop("id"), submitted.drop("id"), atol=1e-6)


def test_a_soup_has_no_oof_logits_and_scores_are_those_of_the_folds(project: Project) -> None:
    plain = run(_config(project, predict={"models": "folds"})).scores()
    assert len(Averaged.fitted) == 3
    found = run(_config(project))
    assert len(Averaged.fitted) == 3  # only the soup was made
    assert found.scores().equals(plain)
    assert len(pl.read_parquet(found.directory / "learners/flat/soup/oof.parquet")) == 0
    assert found.oof("flat")[LOGITS].null_count().sum_horizontal()[0] == 0
    np.testing.assert_allclose(found.test("flat").sort("id")[LOGITS], _mean(found.directory), 1e-5)


def test_the_same_config_again_makes_nothing_and_another_fold_a_new_soup(
    project: Project,
) -> None:
    config = _config(project)
    place = run(config).directory
    before = read_manifest(place / "learners/flat/soup")
    run(config)
    assert read_manifest(place / "learners/flat/soup") == before
    _change_model(place / "learners/flat/fold-1")
    with pytest.raises(errors.ArtifactError, match="the mean of models that are others now"):
        Run(place).test("flat")
    run(config)
    after = read_manifest(place / "learners/flat/soup")
    assert after["key"] == before["key"]
    assert after["models"]["fold-1"] != before["models"]["fold-1"]
    weights = [
        json.loads((place / f"learners/flat/{fit}/model/weights.json").read_text())["outer"]
        for fit in ("fold-0", "fold-1", "fold-2", "soup")
    ]
    np.testing.assert_allclose(np.mean(weights[:3], axis=0), weights[3], atol=1e-12)
    events = [json.loads(line) for line in (place / "events.jsonl").read_text().splitlines()]
    told = [one["what"] for one in events if one["event"] == "made again"]
    (again,) = [what for what in told if "soup" in what]  # and what is made of it
    assert again == "flat, 1 soup: models that it is the mean of are others now: fold-1"


def _change_model(directory: Path) -> None:
    """Let a fold hold another model under the same key, as other hardware may give."""
    manifest = read_manifest(directory)
    files = {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    with atomic_directory(directory, manifest) as copy:
        for name, content in files.items():
            (copy / name).parent.mkdir(exist_ok=True)
            (copy / name).write_bytes(content)
        weights = json.loads((copy / "model/weights.json").read_text())
        weights["outer"] = (np.array(weights["outer"]) + 0.05).tolist()
        (copy / "model/weights.json").write_text(json.dumps(weights))


def test_solutions_that_are_too_far_apart_fail_and_folds_mend_it(project: Project) -> None:
    learners = [
        {**ONE[0], "bent": True, "spread": 0.02},
        {"name": "p", "plugin": "prior", "models": "folds"},
    ]
    with pytest.raises(errors.IncompleteRunError, match=r"too far apart(.|\n)*models = \"folds\""):
        run(_config(project, learners))
    place = project.path / "run"
    assert not (place / "learners/flat/soup").exists()
    assert json.loads((place / "stack/verdict.json").read_text())["left_out"] == ["flat"]
    fits = len(Averaged.fitted)
    mended = run(_config(project, [{**learners[0], "models": "folds"}, learners[1]]))
    assert len(Averaged.fitted) == fits
    assert "left_out" not in mended.verdict


def test_nothing_is_fitted_where_a_learner_cannot_be_averaged(project: Project) -> None:
    learners = [*ONE, {"name": "p", "plugin": "prior"}]
    with pytest.raises(errors.ConfigError, match=r'"prior" cannot(.|\n)*models = "folds" in its'):
        run(_config(project, learners))
    assert not Averaged.fitted
    found = run(_config(project, [*ONE, {**learners[1], "models": "folds"}]))
    assert audit_run(found.directory).ok
    assert not (found.directory / "learners/p/soup").exists()


def test_nothing_is_fitted_where_nothing_could_be_checked(project: Project) -> None:
    config = _config(project)
    without = config.model_copy(update={"test": None})
    with pytest.raises(errors.ConfigError, match=r"there are none(.|\n)*folds.holdout"):
        run(without)
    assert not Averaged.fitted


def test_on_a_hold_out_the_loss_stands_beside_that_of_the_folds(project: Project) -> None:
    folds = {"n_splits": 3, "holdout": 0.3}
    found = run(_config(project, folds=folds))
    (soup,) = HoldoutRecord.read_checksummed(found.directory / "holdout.json").soups
    assert abs(soup.difference) < 1e-6
    assert soup.soup.log_loss == pytest.approx(soup.folds.log_loss, abs=1e-6)
    told = found.holdout["soups"][0]["sentence"]
    assert "the soup of flat scores" in told
    assert told.count("accuracy ") == 2, "a task may compare by accuracy"
    assert "in log loss" in told
    html = (found.directory / "report.html").read_text()
    last = section(html, "holdout")
    assert "the soup of flat scores" in last
    # So few clusters allow no interval: that is said, and no column stands empty.
    assert found.holdout["sentence"].count("too few clusters for an interval") == 1
    assert told.endswith("in log loss (too few clusters for an interval).")
    assert "95% interval" not in last
    assert "9 test" in section(html, "test")
    assert found.audit(deep=True).ok


def test_without_test_rows_the_hold_out_checks(project: Project) -> None:
    config = _config(project, folds={"n_splits": 3, "holdout": 0.3})
    place = run(config.model_copy(update={"test": None})).directory
    assert read_manifest(place / "learners/flat/soup")["check"]["of"] == "hold-out"


def test_the_audit_finds_a_soup_of_other_models(project: Project) -> None:
    place = run(_config(project)).directory
    assert audit_deep(place).ok
    directory = place / "learners/flat/soup"
    manifest = read_manifest(directory)
    manifest["models"]["fold-2"] = manifest["models"]["fold-1"]
    copy = project.path / "copy"
    shutil.copytree(directory, copy)
    with atomic_directory(directory, manifest) as forged:
        shutil.copytree(copy, forged, dirs_exist_ok=True)
        (forged / "manifest.json").unlink()
    failed = [check for check in audit_run(place).checks if not check.ok]
    assert any("soup" in check.name for check in failed)


def test_the_rule_is_that_a_fold_alone_would_be_as_near() -> None:
    draw = np.random.default_rng(0).normal
    mean = draw(size=(400, 3))
    each = [(mean + 0.3 * draw(size=mean.shape)).astype(np.float32) for _ in range(5)]
    options: Any = {"of": "test", "where": "x"}
    near = (np.mean(each, axis=0) + 0.1 * draw(size=mean.shape)).astype(np.float32)
    found = check_soup(near, each, **options)
    assert 0 < found.kl < found.typical_kl
    assert 0 < found.changed < found.typical_changed
    far = (np.mean(each, axis=0) + 0.5 * draw(size=mean.shape)).astype(np.float32)
    with pytest.raises(errors.LearnerError, match="too far apart"):
        check_soup(far, each, **options)
    # Folds that say the same, and a soup that loses next to nothing.
    same = [each[0]] * 5
    moved = each[0] + (0.02 * draw(size=mean.shape)).astype(np.float32)
    assert 0 < check_soup(moved, same, **options).kl < 1e-3
    moved = each[0] + (0.2 * draw(size=mean.shape)).astype(np.float32)
    with pytest.raises(errors.LearnerError, match="too far apart"):
        check_soup(moved, same, **options)
    with pytest.raises(errors.LearnerError, match="no row that the soup could be checked on"):
        check_soup(near[:0], [one[:0] for one in each], **options)


def test_a_task_without_ties_is_checked_by_its_two_classes() -> None:
    draw = np.random.default_rng(1).normal
    each = [draw(size=(50, 3)).astype(np.float32) for _ in range(3)]
    for one in each:
        one[:, 2] = -np.inf
    soup = np.mean(each, axis=0).astype(np.float32)
    found = check_soup(soup, each, of="test", where="x")
    assert found.kl < 1e-9 < found.typical_kl < np.inf


def test_a_deep_audit_averages_anew(project: Project) -> None:
    place = run(_config(project, [{**ONE[0], "seeds": 2}])).directory
    (check,) = [one for one in audit_deep(place).checks if "soup: its model" in one.name]
    assert check.ok
    assert "averaged anew" in check.detail
    # Model and table changed alike belong together, and are the mean of nothing.
    directory = place / "learners/flat/soup"
    manifest, copy = read_manifest(directory), project.path / "copy"
    shutil.copytree(directory, copy)
    with atomic_directory(directory, manifest) as forged:
        shutil.copytree(copy, forged, dirs_exist_ok=True)
        (forged / "manifest.json").unlink()
        for path in forged.rglob("weights.json"):
            weights = json.loads(path.read_text())
            weights["outer"][0] = [one + 0.25 for one in weights["outer"][0]]
            path.write_text(json.dumps(weights))
        table = pl.read_parquet(forged / "test.parquet")
        table.with_columns(pl.col(LOGITS) + 0.25).write_parquet(forged / "test.parquet")
    (check,) = [one for one in audit_deep(place).checks if "soup: its model" in one.name]
    assert "averaged anew differs by up to 0.25" in check.detail


def test_a_refit_learns_from_the_folds_of_its_teachers(project: Project) -> None:
    learners = [
        {"name": "teacher", "plugin": "cheap", "models": "folds"},
        {"name": "pupil", "plugin": "cheap", "teachers": ["teacher"], "models": "refit"},
    ]
    place = run(_config(project, learners)).directory
    assert (place / "learners/pupil/refit/model").is_dir()
    assert not (place / "learners/teacher/refit").exists()
    assert audit_run(place).ok


def test_who_labels_for_a_refit_is_refitted_too(project: Project) -> None:
    learners = [
        {"name": "labeler", "plugin": "cheap", "models": "folds"},
        {"name": "pupil", "plugin": "cheap", "models": "refit"},
    ]
    sources = [one.model_dump(exclude_none=True) for one in _config(project, learners).sources]
    sources[1] |= {"role": "pseudo", "pseudo_labelers": ["labeler"]}
    place = run(_config(project, learners, sources=sources)).directory
    assert (place / "learners/labeler/refit/model").is_dir()
    assert audit_run(place).ok


def test_another_run_takes_over_oof_logits_of_folds_and_test_logits_of_the_soup(
    project: Project,
) -> None:
    first = run(_config(project, folds={"n_splits": 3, "holdout": 0.2}))
    taken = {"name": "taken", "plugin": "precomputed", "run": "run", "learner": "flat"}
    second = run(
        _config(
            project,
            [{**taken, "models": "folds"}],
            run_dir="second",
            folds={"n_splits": 3, "holdout": 0.2},
        )
    )
    for kind in ("oof", "test"):
        given, found = (
            getattr(one, kind)(name).sort("id")[LOGITS]
            for one, name in ((first, "flat"), (second, "taken"))
        )
        np.testing.assert_allclose(found.to_numpy(), given.to_numpy(), atol=1e-6)
    with pytest.raises(errors.ConfigError, match='"precomputed" cannot'):
        run(_config(project, [taken], run_dir="third"))
