"""Classes and instances straight from Python: how a config comes to name them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble.errors import ConfigError
from ensemble.plugin.base import BaseLearner, MetaLearner
from ensemble.plugin.extract import dashed
from ensemble.plugin.feature import Feature, FeatureSet
from ensemble.plugin.given import named_plugins, reference
from ensemble.plugin.manager import get_manager
from ensemble_plugins.handcrafted import Handcrafted
from ensemble_plugins.lightgbm_stacker import LightGBMStacker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.fixture_types import Project


class MyModel(BaseLearner):
    """Is never fitted here."""

    def __init__(self, rate: float = 0.5, names: Sequence[str] = ("a",), top: int | None = 3):
        self.rate, self.names, self.top = rate, names, top

    fit = predict_logits = save = load = None  # type: ignore[assignment]


class MyMeta(MetaLearner):
    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    fit = predict_proba = save = load = None  # type: ignore[assignment]


MY_SET = FeatureSet("mine", (Feature("x", pl.lit(1.0), "One.", swap="x"),))


def read_battles(path: Path) -> pl.DataFrame:
    return pl.read_csv(path)


def test_an_instance_gives_its_class_and_what_differs_from_the_defaults() -> None:
    found = named_plugins({"learners": [MyModel(rate=1e-4), MyModel, MyModel(names=["b", "c"])]})
    plugin = f"{__file__}:MyModel"
    assert found["learners"] == [
        {"name": "my-model", "plugin": plugin, "rate": 1e-4},
        {"name": "my-model-2", "plugin": plugin},
        {"name": "my-model-3", "plugin": plugin, "names": ["b", "c"]},
    ]


def test_a_table_may_hold_a_class_or_an_instance_as_its_plugin() -> None:
    asked: list[dict[str, Any]] = [
        {"name": "my-model", "plugin": "tfidf"},
        {"name": "x", "plugin": MyModel, "rate": 2.0},
        {"plugin": MyModel(rate=3.0), "seeds": 2, "rate": 4.0},
    ]
    found = named_plugins({"learners": asked})["learners"]
    assert [one["name"] for one in found] == ["my-model", "x", "my-model-2"]
    assert [one.get("rate") for one in found] == [None, 2.0, 4.0]
    assert asked[1]["plugin"] is MyModel  # what was given is left as it is


def test_what_is_registered_goes_by_its_name() -> None:
    found = named_plugins({"learners": Handcrafted(n_models=2), "stack": {}})
    assert found["learners"] == [{"name": "handcrafted", "plugin": "handcrafted", "n_models": 2}]
    stack = named_plugins({"stack": {"meta_learner": LightGBMStacker}})["stack"]
    assert stack == {"meta_learner": "lightgbm", "parameters": {}}


def test_meta_learner_feature_set_and_loader_are_named_by_their_file() -> None:
    found = named_plugins(
        {
            "sources": [{"name": "a", "loader": read_battles}],
            "learners": [{"name": "h", "plugin": "handcrafted", "features": ["length", MY_SET]}],
            "stack": {
                "meta_learner": MyMeta(power=2.0),
                "parameters": {"power": 3.0},
                "features": [MY_SET],
            },
        }
    )
    assert found["sources"][0]["loader"] == f"{__file__}:read_battles"
    assert found["learners"][0]["features"] == ["length", f"{__file__}:MY_SET"]
    assert found["stack"]["features"] == [f"{__file__}:MY_SET"]
    assert found["stack"]["meta_learner"] == f"{__file__}:MyMeta"
    assert found["stack"]["parameters"] == {"power": 3.0}


@pytest.mark.parametrize("given", [dict, 3, object(), MyMeta, lambda: None])
def test_what_is_no_learner_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="is no BaseLearner") as error:
        named_plugins({"learners": [MyModel, given]})
    assert error.value.where == "learners[2]"


def test_none_that_is_no_default_cannot_be_said() -> None:
    with pytest.raises(ConfigError, match='parameter "top" is None'):
        named_plugins({"learners": [MyModel(top=None)]})


def test_a_class_within_a_function_is_known_in_this_process() -> None:
    class Local(MyModel):
        pass

    with pytest.warns(UserWarning, match="Local can be used in this process alone") as told:
        name = reference(Local)
    assert told[0].filename == __file__
    assert get_manager().base_learners.get(name) is Local
    assert get_manager().base_learners.entry(name).distribution == "given in Python"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("MyModel", "my-model"),
        ("TFIDF2", "tfidf2"),
        ("_HTMLParser", "html-parser"),
        ("snake_case", "snake-case"),
        ("Größe", "gr-e"),
        ("漢字", "learner"),
    ],
)
def test_names_of_classes_become_names_of_learners(name: str, written: str) -> None:
    assert dashed(name) == written


SCRIPT = """
import json, sys
import numpy as np
import ensemble
import helper

class MyModel(ensemble.BaseLearner):
    cheap = True

    def __init__(self, rate=0.5):
        self.rate = rate

    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.prior = np.log(labels.mean(axis=0) + helper.SHIFT)
        return self

    def predict_logits(self, battles):
        return np.tile(self.prior, (len(battles), 1)).astype(np.float32)

    def save(self, directory):
        (directory / "prior.json").write_text(json.dumps(self.prior.tolist()))

    def load(self, directory):
        self.prior = np.array(json.loads((directory / "prior.json").read_text()))
        return self

{more}
run = ensemble.run({{
    "run_dir": "run",
    "sources": [{{"name": "a", "path": "train.csv", "role": "target"}}],
    "test": {{"path": "test.csv"}},
    "folds": {{"n_splits": 3}},
    "learners": [MyModel(rate=0.7)],
    "stack": {{"meta_learner": "none", "resamples": 200}},
    "execution": {{"executor": "{executor}"}},
}})
print(run.learners, run.predict("test.csv").equals(run.submission))
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["in-process", "processes"])
def test_a_class_of_a_script_is_asked_later_by_another_process(
    executor: str, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "helper.py").write_text("SHIFT = 0.01\n")
    (tmp_path / "script.py").write_text(SCRIPT.format(more="", executor=executor))
    done = _python(tmp_path, "script.py")
    assert done.stdout == "['my-model'] True\n", done.stderr
    for name in ("helper.py", "script.py"):
        (tmp_path / name).unlink()
    asked = (
        "import ensemble; run = ensemble.Run('run');"
        "print(run.predict('test.csv').equals(run.submission))"
    )
    assert _python(tmp_path, "-c", asked).stdout == "True\n"


@pytest.mark.slow
def test_a_class_without_a_source_is_known_to_its_process_alone(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text("SHIFT = 0.01\n")
    more = "class Odd: ...\nX = Odd()\nMyModel.other = lambda self: X\n"
    (tmp_path / "script.py").write_text(SCRIPT.format(more=more, executor="auto"))
    done = _python(tmp_path, "script.py")
    assert done.stdout == "['my-model'] True\n", done.stderr
    assert "MyModel can be used in this process alone" in done.stderr
    asked = "import ensemble; ensemble.Run('run').predict('test.csv')"
    failed = _python(tmp_path, "-c", asked).stderr
    assert '"__main__:MyModel" was given in Python by a process that has ended' in failed
    (tmp_path / "script.py").write_text(SCRIPT.format(more=more, executor="processes"))
    refused = _python(tmp_path, "script.py").stderr
    assert 'set executor = "in-process"' in refused


def _python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
