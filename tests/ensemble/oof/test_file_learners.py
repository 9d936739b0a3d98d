"""Learners that are files, through whole runs: resumed, moved, edited, asked later."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble.api import Run
from ensemble.config.load import load_config, load_run_config
from ensemble.config.plugin_files import forget_files
from ensemble.errors import ConfigError, EnsembleError
from ensemble.pipeline import run
from ensemble.plugin.manager import Manager, use_manager
from ensemble.run_dir.layout import PLUGINS
from ensemble.storage.json_files import read_json
from ensemble.submission.new_rows import predict_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fixture_types import Project

LEARNER = """
import json
import numpy as np
from ensemble import BaseLearner, MetaLearner
import helper

class MyModel(BaseLearner):
    cheap = {cheap}

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = rate

    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.prior = np.log(labels.mean(axis=0) + helper.SHIFT)
        return self

    def predict_logits(self, battles):
        return np.tile(self.prior * {factor}, (len(battles), 1)).astype(np.float32)

    def save(self, directory):
        (directory / "prior.json").write_text(json.dumps(self.prior.tolist()))

    def load(self, directory):
        self.prior = np.array(json.loads((directory / "prior.json").read_text()))
        return self
"""
OTHERS = """
import json
import numpy as np
import polars as pl
from ensemble import Feature, FeatureSet, MetaLearner

def read(path, factor=1):
    return pl.read_csv(path)

LENGTHS = FeatureSet("lengths", tuple(
    Feature(f"my_{a}", pl.col(f"response_{a}").list.len(), "Turns.", swap=f"my_{b}")
    for a, b in ("ab", "ba")
))

class MyMeta(MetaLearner):
    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    def fit(self, meta, labels, *, sample_weight=None, groups=None, context):
        self.prior = labels.mean(axis=0)
        return self

    def predict_proba(self, meta):
        return np.tile(self.prior, (len(meta), 1))

    def save(self, directory):
        (directory / "prior.json").write_text(json.dumps(self.prior.tolist()))

    def load(self, directory):
        self.prior = np.array(json.loads((directory / "prior.json").read_text()))
        return self
"""
MINE = {"name": "mine", "plugin": "my_learner.py:MyModel", "rate": 0.7}


@pytest.fixture
def files(project: Project) -> Iterator[Any]:
    """A project with a learner in a file, and a function that writes it anew."""
    use_manager(None)

    def write(*, cheap: bool = False, factor: str = "1.0", shift: str = "0.01") -> None:
        text = LEARNER.format(cheap=cheap, factor=factor)
        (project.path / "my_learner.py").write_text(text)
        (project.path / "helper.py").write_text(f"SHIFT = {shift}\n")

    write()
    yield SimpleNamespace(path=project.path, config=project.config, write=write)
    forget_files()


def _fitted(place: Path) -> list[str]:
    lines = (place / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [one["event"] for one in events if one["event"] in ("fold fitted", "fold kept")]


def _predict(place: Path, test: Path) -> str:
    output = test.with_name("predicted.csv")
    predict_file(load_run_config(place), test, output)
    return output.read_text()


def test_a_rerun_and_a_copy_elsewhere_fit_nothing(files: Any) -> None:
    place = run(files.config([MINE]))
    assert _fitted(place) == ["fold fitted"] * 3
    run(load_config(files.path / "config.toml"))
    other = files.path.parent / "elsewhere"
    shutil.copytree(files.path, other)
    copied = run(load_config(other / "config.toml"))
    assert _fitted(copied) == ["fold fitted"] * 3 + ["fold kept"] * 6
    (other / "deeper").mkdir()
    for name in ("my_learner.py", "helper.py"):
        (other / name).rename(other / "deeper" / name)
    text = (other / "config.toml").read_text()
    (other / "config.toml").write_text(text.replace("my_learner.py", "deeper/my_learner.py"))
    run(load_config(other / "config.toml"))
    assert _fitted(copied)[-3:] == ["fold kept"] * 3


def test_a_run_keeps_the_source_and_is_asked_without_the_users_file(files: Any) -> None:
    place = run(files.config([MINE]))
    (kept,) = (place / PLUGINS).iterdir()
    assert {path.name for path in kept.iterdir()} == {
        "my_learner.py",
        "helper.py",
        "manifest.json",
    }
    assert load_run_config(place).learners[0].plugin == f"{kept / 'my_learner.py'}:MyModel"
    manifest = json.loads((place / "learners/mine/fold-0/manifest.json").read_text())
    assert manifest["plugin"] == manifest["key_parts"]["plugin"] == "my_learner.py:MyModel"
    for name in ("my_learner.py", "helper.py"):
        (files.path / name).unlink()
    moved = files.path.parent / "moved"
    place.rename(moved)
    said = _predict(moved, files.path / "test.csv")
    assert said == (moved / "submission.csv").read_text()
    assert Run(moved).audit(deep=True).ok


def test_an_edited_file_leaves_the_stored_run_as_it_was(files: Any) -> None:
    place = run(files.config([MINE]))
    before = (place / "submission.csv").read_text()
    files.write(factor="3.0")
    assert _predict(place, files.path / "test.csv") == before
    with pytest.raises(ConfigError, match="mine, 3 folds: the plugin's code has changed"):
        run(load_config(files.path / "config.toml"))
    # The config in the run names the new source by now; the models are asked by theirs.
    assert len(list((place / PLUGINS).iterdir())) == 2
    assert _predict(place, files.path / "test.csv") == before
    run(load_config(files.path / "config.toml"), refit=["mine"])
    assert (place / "submission.csv").read_text() != before


def test_a_helper_counts_as_the_file_does(files: Any) -> None:
    files.write(cheap=True)
    place = run(files.config([MINE]))
    files.write(cheap=True, shift="0.5")
    run(load_config(files.path / "config.toml"))
    assert _fitted(place) == ["fold fitted"] * 6


def test_a_source_that_was_tampered_with_is_refused(files: Any) -> None:
    place = run(files.config([MINE]))
    (kept,) = (place / PLUGINS).iterdir()
    (kept / "helper.py").write_text("SHIFT = 0.9\n")
    with pytest.raises(EnsembleError, match="helper.py: the file is not what its manifest|damaged"):
        _predict(place, files.path / "test.csv")


def test_meta_learner_features_and_loader_may_be_files_too(files: Any) -> None:
    (files.path / "others.py").write_text(OTHERS)
    config = files.config(
        [
            MINE,
            {
                "name": "h",
                "plugin": "handcrafted",
                "features": ["length", "others.py:LENGTHS"],
                "n_models": 2,
                "n_estimators": 5,
            },
        ],
        sources=[
            {"name": "arena", "path": "train.csv", "role": "target", "loader": "others.py:read"}
        ],
        stack={
            "meta_learner": "others.py:MyMeta",
            "features": ["others.py:LENGTHS"],
            "choose": "others.py:MyMeta",
            "resamples": 200,
        },
    )
    place = run(config)
    for name in ("my_learner.py", "helper.py", "others.py"):
        (files.path / name).unlink()
    assert _predict(place, files.path / "test.csv") == (place / "submission.csv").read_text()
    verdict = json.loads((place / "stack" / "verdict.json").read_text())
    assert verdict["chosen"] == "others.py:MyMeta"
    manifest = json.loads((place / "learners/h/fold-0/manifest.json").read_text())
    assert manifest["parameters"]["features"] == ["length", "others.py:LENGTHS"]
    assert str(files.path) not in json.dumps(manifest["key_parts"])
    again = load_run_config(place)
    run(again)
    assert set(_fitted(place)[-6:]) == {"fold kept"}


HOOKS = """
from ensemble import hookimpl
from my_learner import MyModel

@hookimpl
def register_base_learners(register):
    register("my-own", MyModel)

@hookimpl
def fold_fitted(learner, fold, directory, seconds):
    (directory.parent / f"told-{fold}").touch()
"""


def test_hooks_in_a_file_are_found_again_in_the_run(files: Any) -> None:
    (files.path / "hooks.py").write_text(HOOKS)
    place = run(files.config([{"name": "mine", "plugin": "my-own"}], plugins=["hooks.py"]))
    assert (place / "learners/mine/told-0").exists()
    for name in ("my_learner.py", "helper.py", "hooks.py"):
        (files.path / name).unlink()
    use_manager(None)
    assert _predict(place, files.path / "test.csv") == (place / "submission.csv").read_text()


def test_a_file_with_hooks_that_cannot_be_used_is_told_at_once(files: Any) -> None:
    (files.path / "hooks.py").write_text(HOOKS.replace("_learners", "_leaners"))
    with pytest.raises(ConfigError, match="hooks.py cannot be used as a plugin: unknown hook"):
        run(files.config([MINE], plugins=["hooks.py"]))
    with pytest.raises(ConfigError, match="there is no file hook.py(.|\n)*did you mean"):
        run(files.config([MINE], plugins=["hook.py"]))


def test_a_newer_version_of_a_file_with_hooks_takes_the_place_of_the_other(files: Any) -> None:
    path = files.path / "hooks.py"
    manager = Manager(discover=False)
    for name in ("one", "two"):
        path.write_text(HOOKS.replace("my-own", name))
        manager.use_files([path])
        assert [entry.name for entry in manager.base_learners] == [name]
    assert [found.name for found in manager.found.values()] == ["hooks.py"]


@pytest.mark.slow
def test_worker_processes_know_the_files_of_the_config(files: Any) -> None:
    (files.path / "hooks.py").write_text(HOOKS)
    learners = [MINE, {"name": "named", "plugin": "my-own"}]
    executor = {"executor": "processes", "workers": 2, "threads": 1}
    place = run(files.config(learners, plugins=["hooks.py"], execution=executor))
    assert _fitted(place) == ["fold fitted"] * 6


@pytest.mark.slow
def test_a_file_that_is_edited_while_a_run_goes_on_is_what_it_was_to_all_of_it(files: Any) -> None:
    """Each worker would read it anew, and the folds would be of two codes."""
    mine, helper = (files.path / name for name in ("my_learner.py", "helper.py"))
    edits = f"        open({str(helper)!r}, 'w').write('SHIFT = 2.0')\n        self.prior ="
    mine.write_text(mine.read_text().replace("        self.prior =", edits, 1))
    executor = {"executor": "processes", "workers": 1, "threads": 1}
    place = run(files.config([MINE], execution=executor))
    assert helper.read_text() == "SHIFT = 2.0"
    manifests = [read_json(one) for one in place.glob("learners/mine/*/manifest.json")]
    assert len({one["key_parts"]["code"]["source"] for one in manifests}) == 1
    assert len(manifests) == 3


@pytest.mark.slow
def test_the_command_line_takes_a_file_with_hooks(files: Any) -> None:
    (files.path / "hooks.py").write_text(HOOKS)
    files.config([{"name": "mine", "plugin": "tfidf"}])
    path = files.path / "config.toml"
    path.write_text(path.read_text().replace('"tfidf"', '"my-own"'))

    def ensemble(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ensemble.cli", *arguments]
        return subprocess.run(command, cwd=files.path, capture_output=True, text=True, check=False)

    assert "my-own" in ensemble("--plugin", "hooks.py", "learners").stdout
    failed = ensemble("run", "config.toml", "--quiet")
    assert (failed.returncode, 'unknown base learner "my-own"' in failed.stderr) == (2, True)
    done = ensemble("--plugin", "hooks.py", "run", "config.toml", "--quiet")
    assert done.returncode == 0, done.stderr
    (files.path / "hooks.py").unlink()
    scored = ensemble("predict", "run", "--test", "test.csv", "--output", "out.csv")
    assert scored.returncode == 0, scored.stderr
    assert pl.read_csv(files.path / "out.csv").equals(
        pl.read_csv(files.path / "run/submission.csv")
    )
