"""A learner fails alone: whatever it does, the run ends with a submission of the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ensemble
from ensemble.errors import IncompleteRunError, LearnerError
from ensemble.pipeline import run
from ensemble.plugin.manager import use_manager
from ensemble.stages.fit import fit_stage
from ensemble.stages.work import working
from ensemble.storage.json_files import read_json

PLUGIN = '''
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from ensemble import BaseLearner, MetaLearner, hookimpl


def misbehave(how):
    if how == "raises":
        raise ValueError("boom")
    if how == "exits":
        sys.exit(3)
    if how == "leaves":
        os._exit(3)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "memory":
        raise MemoryError
    if how == "hangs":
        time.sleep(600)
    if how == "spins":
        while True:
            pass
    if how == "child":
        if not os.fork():
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "disk":
        raise PermissionError(13, "Permission denied")
    if how == "keyless":
        raise KeyError


class Faulty(BaseLearner):
    """Predicts label shares, and misbehaves where it is told to: on any fold, or by a file."""

    def __init__(
        self, where: str = "", how: str = "", rows: int = 0, unless: str = "",
        teachers: list[str] = [], shift: float = 0.0,
    ) -> None:
        self.where, self.how, self.rows, self.unless = where, how, rows, unless
        self.teachers, self.shift = teachers, shift

    def dependencies(self):
        return {"unless": None}

    def act(self, where, rows=0):
        if where == self.where and not (self.unless and Path(self.unless).exists()):
            if not self.rows or self.rows == rows:
                misbehave(self.how)

    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.shares = np.average(labels, axis=0, weights=sample_weight)
        self.act("fit", len(battles))
        return self

    def predict_logits(self, battles):
        self.act("predict")
        logits = np.tile(np.log(self.shares + 1e-3), (len(battles), 1)).astype(np.float32)
        logits[:, 0] += self.shift
        if self.where == "returns" and not Path(self.unless or "/none").exists():
            if self.how == "nan":
                logits[0, 0] = np.nan
            if self.how == "shape":
                return logits[:, :2]
            if self.how == "rows":
                return logits[1:]
            if self.how == "none":
                return None
        return logits

    def save(self, directory):
        self.act("save")
        (directory / "shares.json").write_text(json.dumps(self.shares.tolist()))

    def load(self, directory):
        self.act("load")
        self.shares = np.asarray(json.loads((directory / "shares.json").read_text()))
        return self


class FaultyMeta(MetaLearner):
    """The mean of all probabilities, or whatever it is told."""

    def __init__(self, where: str = "", how: str = "") -> None:
        self.where, self.how = where, how

    def act(self, where):
        if where == self.where:
            misbehave(self.how)

    def fit(self, meta, labels, *, sample_weight=None, groups=None, context):
        self.act("fit")
        return self

    def predict_proba(self, meta):
        self.act("predict")
        powers = np.exp(meta.logits.astype(float).mean(axis=1))
        found = powers / powers.sum(axis=1, keepdims=True)
        return found * 2 if self.where == "returns" else found

    def save(self, directory):
        self.act("save")

    def load(self, directory):
        self.act("load")
        return self

    def describe(self):
        self.act("describe")
        return {}


@hookimpl
def register_base_learners(register):
    register("faulty", Faulty)


@hookimpl
def register_meta_learners(register):
    register("faulty-meta", FaultyMeta)
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the plugin, for this process and all that it starts."""
    site = tmp_path / "site"
    info = site / "faulty-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "faulty_learner.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ensemble]\nfaulty = faulty_learner\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    sys.modules.pop("faulty_learner", None)
    use_manager(None)


@pytest.fixture
def given(tmp_path: Path, use_plugins: Any) -> None:
    """Give the plugin in Python: it is fitted in this process."""
    scope: dict[str, Any] = {"__name__": "given_faulty"}
    exec(compile(PLUGIN, str(tmp_path / "given_faulty.py"), "exec"), scope)  # noqa: S102
    module = type(sys)("given_faulty")
    vars(module).update(scope)
    for kind in ("Faulty", "FaultyMeta"):
        scope[kind].__module__ = "given_faulty"
    sys.modules["given_faulty"] = module
    (tmp_path / "given_faulty.py").write_text(PLUGIN)
    module.__file__ = str(tmp_path / "given_faulty.py")
    use_plugins(faulty=module)


def _learners(**bad: Any) -> list[dict[str, Any]]:
    good = [{"name": f"good{i}", "plugin": "proxy"} for i in range(2)]
    return [good[0], {"name": "bad", "plugin": "faulty", **bad}, good[1]]


def _run(config: Any) -> IncompleteRunError:
    with pytest.raises(IncompleteRunError, match="bad") as caught:
        run(config)
    return caught.value


KINDS = [
    ("fit", "raises", "fit raised ValueError: boom"),
    ("fit", "exits", "fit raised SystemExit: 3"),
    ("fit", "leaves", r"it called os._exit\(3\)"),
    ("fit", "memory", "fit raised MemoryError"),
    ("fit", "disk", "Permission denied"),
    ("fit", "keyless", r"fit raised KeyError: \(no message\)"),
    ("fit", "hangs", "longer than time_limit = 2 s"),
    ("fit", "spins", "longer than time_limit = 2 s"),
    ("predict", "raises", "predict_logits raised ValueError: boom"),
    ("predict", "hangs", "longer than time_limit = 2 s"),
    ("save", "raises", "save raised ValueError: boom"),
    ("load", "raises", "load raised ValueError: boom"),
    ("returns", "nan", "NaN or infinity for 1 of"),
    ("returns", "shape", r"returned shape \(\d+, 2\)"),
    ("returns", "rows", "returned shape"),
    ("returns", "none", "returned shape|no array"),
]
ONLY_APART = [
    ("fit", "killed", "died after .* SIGKILL, which the system sends where memory runs out"),
    ("predict", "killed", "SIGKILL"),
    ("fit", "crashes", "it was killed by SIGSEGV"),
    ("fit", "child", "SIGKILL"),
]


def _check_alone(project: Any, where: str, how: str, reason: str) -> None:
    learners = _learners(where=where, how=how)
    if how in ("hangs", "spins"):
        learners[1]["time_limit"] = 2
    config = project.config(learners)
    error = _run(config)
    (failure,) = error.failures
    assert failure.name == "bad" and failure.at == "fold 0"
    assert __import__("re").search(reason, failure.reason), failure.reason
    directory = Path(config.run_dir)
    verdict = read_json(directory / "stack/verdict.json")
    assert verdict["left_out"] == ["bad"] and "Made without bad, which failed." in str(verdict)
    assert len((directory / "submission.csv").read_text().splitlines()) == 10
    assert "ensemble fit CONFIG --learner bad\n    ensemble run CONFIG" in str(error)


@pytest.mark.slow
@pytest.mark.parametrize(("where", "how", "reason"), [*KINDS, *ONLY_APART])
def test_an_installed_learner_fails_alone(
    where: str, how: str, reason: str, project: Any, installed: None
) -> None:
    _check_alone(project, where, how, reason)


@pytest.mark.parametrize(("where", "how", "reason"), KINDS)
def test_a_learner_given_in_python_fails_alone(
    where: str, how: str, reason: str, project: Any, given: None
) -> None:
    _check_alone(project, where, how, reason)
