"""``ensemble export``: which model, where to, and what is written where something is wrong."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from ensemble import Run, errors, hookimpl, run
from ensemble.battles.held_out import HeldOut
from ensemble.cli import cli
from ensemble.oof.predictions import read_logits
from ensemble.storage.directories import atomic_directory
from ensemble.submission.export import export_fit
from tests.ensemble.oof.averaged_learners import Averaged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.plugin.base import LogitArray, Register
    from tests.fixture_types import Project, UsePlugins


class Exported(Averaged):
    """Writes what it was asked, and refuses logits that are not its own."""

    def export(
        self, directory: Path, battles: pl.DataFrame, logits: LogitArray, *, about: Any
    ) -> dict[str, Any]:
        (directory / "model.json").write_text(json.dumps(about))
        found = self.predict_logits(battles) + float(os.environ.get("EXPORTED_SHIFT", "0"))
        gap = float(np.abs(found - logits).max())
        if gap > 1e-5:
            raise errors.LearnerError(f"other logits: {gap}")
        return {"rows": len(battles), "max_difference": gap, "allowed": 1e-5}


class _Plugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("exported", Exported)


ONE: list[dict[str, Any]] = [{"name": "flat", "plugin": "exported"}]


@pytest.fixture(autouse=True)
def plugins(project: Project, use_plugins: UsePlugins) -> None:
    use_plugins(exported=_Plugin())


def _run(project: Project, learners: Sequence[dict[str, Any]] = ONE, **changes: Any) -> Run:
    execution = {"executor": "in-process", "threads": 1}
    predict = {"models": "soup", "refit": True}
    return run(project.config(learners, **{"execution": execution, "predict": predict} | changes))


def test_folds_soup_and_refit_are_held_against_their_own_test_logits(project: Project) -> None:
    place = _run(project).directory
    for options, fit in ((["--fold", "1"], "fold 1"), (["--soup"], "soup"), (["--refit"], "refit")):
        output = project.path / f"out-{fit.replace(' ', '-')}"
        asked = ["export", str(place), "flat", *options, "--output", str(output), "--json"]
        done = CliRunner().invoke(cli, asked)
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert told["fit"] == fit
        assert told["rows"] == 9
        assert told["max_difference"] < 1e-5
        assert json.loads((output / "model.json").read_text()) == {
            "learner": "flat",
            "fit": fit,
            "ties": True,
        }
        manifest = json.loads((output / "manifest.json").read_text())
        fitted = json.loads(
            (place / f"learners/flat/{fit.replace(' ', '-')}/manifest.json").read_text()
        )
        assert manifest["key"] == fitted["key"]
        assert manifest["checked"]["rows"] == 9
    assert not list(project.path.glob(".tmp*"))


@pytest.mark.parametrize(
    ("fit", "option"), [("fold-0", ["--fold", "0"]), ("soup", ["--soup"]), ("refit", ["--refit"])]
)
def test_the_verb_names_what_mends_a_damaged_fit(
    fit: str, option: list[str], project: Project
) -> None:
    """Running `export` again would change nothing: it fits none."""
    found = _run(project)
    fitted = found.directory / "learners/flat" / fit
    kept = project.path / "kept"
    shutil.copytree(fitted, kept)
    asked = ["export", str(found.directory), "flat", *option, "--output", str(project.path / "out")]
    for damage in _DAMAGES:
        shutil.rmtree(fitted, ignore_errors=True)
        shutil.copytree(kept, fitted)
        damage(fitted)
        told = str(CliRunner().invoke(cli, asked).exception)
        assert "`ensemble run CONFIG`" in told
        assert "[[learners]]" not in told, "the config asks for it already"
        assert not (project.path / "out").exists()
    run(found.config)
    assert CliRunner().invoke(cli, asked).exit_code == 0


def test_rows_that_a_fit_lacks_are_told_as_such(project: Project) -> None:
    """By a manifest that agrees with the file: nothing can be held against NaN."""
    found = _run(project)
    fitted, kept = found.directory / "learners/flat/fold-0", project.path / "kept"
    shutil.copytree(fitted, kept)
    manifest = json.loads((kept / "manifest.json").read_text())
    (kept / "manifest.json").unlink()
    pl.read_parquet(kept / "test.parquet").head(3).write_parquet(kept / "test.parquet")
    shutil.rmtree(fitted)
    with atomic_directory(fitted, {k: manifest[k] for k in manifest.keys() - _WRITTEN_LAST}) as new:
        shutil.copytree(kept, new, dirs_exist_ok=True)
    lacking = r"rows that it predicts are missing(.|\n)*`ensemble run CONFIG`"
    with pytest.raises(errors.ArtifactError, match=lacking):
        found.export("flat", project.path / "out", fold=0)


_WRITTEN_LAST = {"files", "content"}


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


_DAMAGES = (
    lambda fit: next(fit.glob("model/*")).unlink(),
    lambda fit: _shorten(next(fit.glob("model/*"))),
    lambda fit: _shorten(fit / "test.parquet"),
    lambda fit: _shorten(fit / "manifest.json"),
    lambda fit: (fit / "manifest.json").write_text("{}"),
    lambda fit: (fit / "manifest.json").unlink(),
    shutil.rmtree,
)


def test_the_verb_tells_the_greatest_difference(project: Project) -> None:
    place = _run(project).directory
    asked = ["export", str(place), "flat", "--soup", "--output", str(project.path / "out")]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 0
    assert "logits of 9 rows differ from the run's by up to" in done.stdout


def test_what_a_killed_export_has_left_is_removed_by_the_next(project: Project) -> None:
    found, output = _run(project), project.path / "out"
    names = ("0" * 32 + "-out", "1" * 32 + "-out", "0" * 32 + "-mine")
    left, going_on, other = (project.path / f".tmp-{name}" for name in names)
    for one in (left, going_on, other):
        (one / "inner").mkdir(parents=True)
        (one / "inner/model.safetensors").write_bytes(b"half")
    for one in (left, other):
        os.utime(one, (0, 0))
    found.export("flat", output, fold=0)
    assert not left.exists()
    assert going_on.exists(), "somebody may be writing it"
    assert other.exists(), "it was meant for another place"
    assert (output / "model.json").exists()


def test_a_fold_that_other_parameters_made_is_refused_in_a_sentence(project: Project) -> None:
    found = _run(project)
    config = found.config
    (learner,) = config.learners
    other = learner.model_copy(update={"parameters": {**learner.parameters, "spread": 0.5}})
    changed = config.model_copy(update={"learners": [other]})
    with pytest.raises(
        errors.ArtifactError,
        match=r"made with other parameters than those of .*: spread was 0\.\d+, and now is 0\.5",
    ):
        export_fit(changed, "flat", HeldOut((1,)), project.path / "out")
    assert not (project.path / "out").exists()


def test_where_logits_are_others_nothing_is_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, output = _run(project), project.path / "out"
    monkeypatch.setenv("EXPORTED_SHIFT", "0.5")
    with pytest.raises(errors.LearnerError, match="other logits: 0.5"):
        found.export("flat", output, fold=0)
    assert not output.exists()
    assert not list(project.path.glob(".tmp*"))
    monkeypatch.delenv("EXPORTED_SHIFT")
    path = found.directory / "learners/flat/fold-0/model/weights.json"
    path.write_text(path.read_text().replace("0", "1", 1))
    with pytest.raises(errors.ArtifactError, match="damaged"):
        found.export("flat", output, fold=0)


def test_of_several_seeds_one_is_exported_and_their_mean_is_the_run_s(project: Project) -> None:
    found = _run(project, [{**ONE[0], "seeds": 2}])
    with pytest.raises(
        errors.InputError, match=r"2 models, one for each seed(.|\n)*--seed, 0 to 1"
    ):
        found.export("flat", project.path / "out", soup=True)
    told = found.export("flat", project.path / "out", soup=True, seed=1)
    assert told["fit"] == "soup, seed 1"
    assert told["max_difference"] < 1e-5
    table = found.directory / "learners/flat/soup/test.parquet"
    assert len(read_logits(table, pl.read_parquet(table)["id"])) == 9
    with pytest.raises(errors.InputError, match="one for each seed"):
        found.export("flat", project.path / "other", soup=True, seed=2)


def test_without_test_rows_others_are_compared(project: Project) -> None:
    config = project.config(ONE, execution={"executor": "in-process", "threads": 1})
    found = run(config.model_copy(update={"test": None}))
    told = found.export("flat", project.path / "fold", fold=2)
    held_out = found.folds.filter(pl.col("fold") == 2)
    assert told["rows"] == min(64, len(held_out))


def test_a_model_that_is_not_there_or_not_meant_is_refused(project: Project) -> None:
    found = _run(project, predict={"models": "folds"})
    output = project.path / "out"
    with pytest.raises(errors.ArtifactError, match=r'no soup of it; it has fold-0(.|\n)*"soup" in'):
        found.export("flat", output, soup=True)
    with pytest.raises(errors.ArtifactError, match=r'no refit of it(.|\n)*models = "refit"'):
        found.export("flat", output, refit=True)
    with pytest.raises(errors.ArtifactError, match="no fold 7 of it"):
        found.export("flat", output, fold=7)
    with pytest.raises(errors.InputError, match="name one(.|\n)*--fold K, --soup and --refit"):
        found.export("flat", output)
    with pytest.raises(errors.InputError, match="name one"):
        found.export("flat", output, fold=0, refit=True)
    with pytest.raises(errors.ConfigError, match='no learner is called "flut"'):
        found.export("flut", output, fold=0)
    assert not output.exists()


def test_learners_that_nobody_else_can_read_are_refused(project: Project) -> None:
    found = _run(project, [{"name": "p", "plugin": "prior"}], predict={"models": "folds"})
    with pytest.raises(errors.ConfigError, match='plugin "prior" exports no model'):
        found.export("p", project.path / "out", fold=0)
    words = {"name": "words", "plugin": "tfidf", "min_df": 1}
    found = _run(project, [words], predict={"models": "folds"}, run_dir="other")
    with pytest.raises(errors.ConfigError, match='plugin "tfidf" exports no model'):
        found.export("words", project.path / "out", fold=0)


def test_a_teacher_that_sees_privileged_columns_is_refused(project: Project) -> None:
    path = project.path / "train.csv"
    frame = pl.read_csv(path)
    names = [("one", "two")[number % 2] for number in range(len(frame))]
    columns = {"model_a": pl.Series(names), "model_b": pl.Series(names[::-1])}
    frame.with_columns(**columns).write_csv(path)
    learners: list[dict[str, Any]] = [
        {**ONE[0], "privileged": ["model_a", "model_b"]},
        {"name": "words", "plugin": "tfidf", "min_df": 1, "teachers": ["flat"]},
    ]
    found = _run(project, learners, predict={"models": "folds"})
    with pytest.raises(errors.ConfigError, match="it sees model_a, model_b, which new battles"):
        found.export("flat", project.path / "out", fold=0)
    assert not (project.path / "out").exists()


def test_an_output_that_is_there_or_in_a_run_is_refused(project: Project) -> None:
    found = _run(project, predict={"models": "folds"})
    there = project.path / "there"
    there.mkdir()
    found.export("flat", there, fold=0)  # it was empty
    with pytest.raises(errors.InputError, match="not empty"):
        found.export("flat", there, fold=0)
    (project.path / "file").write_text("mine")
    with pytest.raises(errors.InputError, match="is no directory"):
        found.export("flat", project.path / "file", fold=0)
    with pytest.raises(errors.InputError, match=r"lies below .*file, which is no directory"):
        found.export("flat", project.path / "file" / "below", fold=0)
    with pytest.raises(errors.InputError, match="lies in a run directory"):
        found.export("flat", found.directory / "models" / "mine", fold=0)
    assert (project.path / "file").read_text() == "mine"
    shutil.rmtree(there)


def test_what_has_come_to_lie_there_meanwhile_is_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, output = _run(project), project.path / "out"
    own = Exported.export

    def slow(self: Exported, directory: Path, *rows: Any, about: Any) -> dict[str, Any]:
        output.mkdir()
        (output / "mine").write_text("kept")
        return own(self, directory, *rows, about=about)

    monkeypatch.setattr(Exported, "export", slow)
    with pytest.raises(errors.InputError, match="not empty"):
        export_fit(made.config, "flat", HeldOut((0,)), output)
    assert [path.name for path in output.iterdir()] == ["mine"]
    assert not list(project.path.glob(".tmp-*"))
