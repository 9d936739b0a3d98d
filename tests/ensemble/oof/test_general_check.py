"""Checks that suit every learner: each of them finds what it is there for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import hookimpl
from ensemble.oof.check import Finding, check_learner
from ensemble.oof.workspace import open_workspace
from ensemble.stacking.settings import learner_specs
from tests.ensemble.stages import prepare_and_split
from tests.fakes import Prior, raising

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble.plugin.base import FloatArray, LogitArray, Register
    from tests.fixture_types import Project, UsePlugins


@pytest.fixture
def tried(project: Project, use_plugins: UsePlugins) -> Callable[..., dict[str, Finding]]:
    """Give a function that checks a prior with other members; findings by their name."""

    def check(**members: Any) -> dict[str, Finding]:
        class Plugin:
            @hookimpl
            def register_base_learners(self, register: Register) -> None:
                register("odd", type("Odd", (Prior,), members))

        use_plugins(odd=Plugin())
        config = project.config([{"name": "mine", "plugin": "odd"}])
        prepare_and_split(config)
        (spec,) = learner_specs(config)
        found = check_learner(open_workspace(config), spec, 6)
        return {one.what: one for one in found if not one.what.startswith("fold")}

    return check


def _rank(self: Prior, battles: pl.DataFrame) -> LogitArray:
    logits = Prior.predict_logits(self, battles)
    logits[:, 0] += np.arange(len(battles))
    return logits


def _centred(self: Prior, battles: pl.DataFrame) -> FloatArray:
    size = battles["response_a"].list.join("").str.len_bytes().to_numpy().astype(float)
    return np.stack([size - size.mean(), 0 * size, 0 * size], axis=1)


def _forgets(self: Prior, directory: Path) -> Prior:
    self.shares = np.ones(3) / 3
    return self


def _noisy(self: Prior, battles: pl.DataFrame, labels: FloatArray, **options: Any) -> Prior:
    Prior.fit(self, battles, labels, **options)
    self.shares = np.random.default_rng().dirichlet(np.ones(3))
    return self


def _writes(self: Prior, battles: pl.DataFrame, labels: FloatArray, **options: Any) -> Prior:
    Prior.fit(self, battles, labels, **options)
    labels[:] = 0
    return self


def _adds_column(self: Prior, battles: pl.DataFrame, labels: FloatArray, **options: Any) -> Prior:
    battles.insert_column(0, pl.Series("mine", range(len(battles))))
    return Prior.fit(self, battles, labels, **options)


def _adds_when_asked(self: Prior, battles: pl.DataFrame) -> LogitArray:
    battles.insert_column(0, pl.Series("mine", range(len(battles))))
    return Prior.predict_logits(self, battles)


@pytest.mark.parametrize(
    ("members", "what", "told"),
    [
        ({"fit": raising(SystemExit(0))}, "fit", "fit raised SystemExit: 0"),
        ({"fit": lambda *_, **__: os._exit(0)}, "fit", r"it called os._exit\(0\)"),
        ({"predict_logits": lambda self, b: np.zeros((len(b), 2))}, "logits", r"shape \(20, 2\)"),
        ({"predict_logits": lambda self, b: np.zeros((len(b), 3), int)}, "logits", "not floats"),
        ({"predict_logits": lambda self, b: np.full((len(b), 3), np.nan)}, "logits", "NaN"),
        ({"predict_logits": _adds_when_asked}, "logits", "changes the battles"),
        ({"fit": _writes}, "inputs", "fit changes the labels that it is given"),
        ({"fit": _adds_column}, "inputs", "fit changes the battles that it is given"),
        ({"predict_logits": _rank}, "order of rows", "other logits in another order"),
        ({"predict_logits": _centred}, "one row alone", "other logits to a battle alone"),
        ({"save": raising(OSError("gone"))}, "save and load", "save raised OSError: gone"),
        ({"load": lambda self, directory: None}, "save and load", "load returned NoneType"),
        ({"load": _forgets}, "save and load", "other logits after save and load"),
        ({"fit": _noisy}, "same seed", "after another fit with the same seed"),
    ],
)
def test_each_check_finds_what_it_is_for(
    tried: Callable[..., dict[str, Finding]], members: dict[str, Any], what: str, told: str
) -> None:
    found = tried(**members)
    failed = found[what]
    assert failed.ok is False
    assert 'learner "mine", plugin "odd", on 40 battles' in failed.detail
    with pytest.raises(ValueError, match=told):
        raise ValueError(failed.detail)
    others = [one.what for one in found.values() if one.ok is False and one is not failed]
    assert set(others) <= ({"one row alone"} if what == "order of rows" else set())
    if what in ("fit", "logits"):
        assert [*found][-1] == what


def test_a_sound_learner_passes_all(tried: Callable[..., dict[str, Finding]]) -> None:
    found = tried()
    assert {one.ok for one in found.values()} == {True}
    assert found["fit"].measured == {"rows": 40}
    assert found["save and load"].measured == {"difference": 0.0}


@pytest.mark.parametrize("plugin", ["handcrafted", "tfidf"])
def test_learners_of_the_toolkit_pass(project: Project, plugin: str) -> None:
    config = project.config([{"name": "mine", "plugin": plugin}])
    prepare_and_split(config)
    (spec,) = learner_specs(config)
    found = check_learner(open_workspace(config), spec, 6)
    assert [(one.what, one.detail) for one in found if one.ok is False] == []
