"""Fixtures that several rooms share: small battles, learners that do little, a run to look at."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import polars as pl
import pytest
from hypothesis import settings

from ensemble import run
from ensemble.battles.schema import BATTLE_SCHEMA
from ensemble.config.load import load_config
from ensemble.interrupts import keeping_handlers
from ensemble.plugin.manager import Manager, use_manager
from ensemble.stages.shared import record_config
from ensemble.storage.hashing import fingerprint
from tests.fakes import FakePlugin, Pretrained, Prior
from tests.fixture_types import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ensemble import Config
    from tests.fixture_types import (
        Learners,
        MakeBattles,
        RunOnce,
        UsePlugins,
        WriteConfig,
        WriteCsv,
    )


def pytest_configure() -> None:
    """Give each process of pytest-xdist a core of its own: threads that wait for one another spin.

    Two processes whose fits have two threads each take several times as long on two cores.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that have slow tests: at the end the other process would wait for them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def own_user_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let no test find what another has left in the user's cache, nor leave anything there."""
    cache = tmp_path_factory.getbasetemp() / f"cache-{uuid4().hex}"  # made by who writes into it
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(autouse=True)
def own_signal_handlers() -> Iterator[None]:
    """Handle signals as before the test: where the program runs in this process, it takes them."""
    with keeping_handlers():
        yield


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what is written to the system's own time: waiting for the disk is much of a run.

    Who looks at it puts its own in place. Programs that a test starts wait as users' do.
    """
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture(autouse=True)
def empty_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave figures unpainted where no test looks at them: painting is most of a small run."""
    if request.node.get_closest_marker("figures") is None:
        empty = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
        monkeypatch.setattr("ensemble.report.svg._painted", lambda *_: empty)


@pytest.fixture(autouse=True)
def unchecked_learners(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit learners without the kit where no test looks at it: it would fit each several times."""
    if request.node.get_closest_marker("kit") is None:
        monkeypatch.setattr("ensemble.stages.contracts.unchecked", lambda *_: [])


@pytest.fixture
def use_plugins() -> Iterator[UsePlugins]:
    """Give a function that adds plugins, by name, to those that are installed and the fakes."""

    def use(**plugins: object) -> None:
        use_manager(Manager({"fakes": FakePlugin(), **plugins}))

    yield use
    use_manager(None)


@pytest.fixture
def fake_learners(use_plugins: UsePlugins) -> type[Prior]:
    """Register the fake learners beside the built-in ones."""
    Prior.seen.clear()
    Pretrained.pretrained.clear()
    use_plugins()
    return Prior


@pytest.fixture
def make_battles() -> MakeBattles:
    """Give a function that makes battles of one source: four prompts' worth by default."""

    def make(
        rows: int = 12,
        *,
        source: str = "arena",
        role: str = "target",
        prompts: int = 6,
        seed: int = 0,
    ) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        labels = np.eye(3)[rng.integers(3, size=rows)]
        test = role == "test"
        return pl.DataFrame(
            {
                "id": [f"{source}-{i}" for i in range(rows)],
                "source": [source] * rows,
                "role": [role] * rows,
                "prompt": [
                    [f"{source} question {i % prompts} {'qwertyuiop'[i % prompts] * 9}"]
                    for i in range(rows)
                ],
                "response_a": [[f"answer {i} of side a, {seed}, {source}"] for i in range(rows)],
                "response_b": [[f"reply {i} of side b, {seed}, {source}"] for i in range(rows)],
                "label_a": [None if test else float(x) for x in labels[:, 0]],
                "label_b": [None if test else float(x) for x in labels[:, 1]],
                "label_tie": [None if test else float(x) for x in labels[:, 2]],
                "is_test": [test] * rows,
                "model_a": [None] * rows,
                "model_b": [None] * rows,
            },
            schema=BATTLE_SCHEMA,
        )

    return make


@pytest.fixture
def write_csv() -> WriteCsv:
    """Give a function that writes battles in the competition's form."""

    def write(battles: pl.DataFrame, path: Path) -> None:
        text = {
            name: pl.Series([json.dumps(turns) for turns in battles[name].to_list()])
            for name in ("prompt", "response_a", "response_b")
        }
        columns: dict[str, Any] = {"id": battles["id"], **text}
        if not battles["is_test"].all():
            columns |= {
                "winner_model_a": battles["label_a"],
                "winner_model_b": battles["label_b"],
                "winner_tie": battles["label_tie"],
            }
        pl.DataFrame(columns).write_csv(path)

    return write


@pytest.fixture
def project(
    tmp_path: Path,
    fake_learners: type[Prior],
    make_battles: MakeBattles,
    write_csv: WriteCsv,
) -> Project:
    """A directory with data files and a config; ``config(**changes)`` writes and loads it."""
    write_csv(make_battles(60, prompts=10), tmp_path / "train.csv")
    external = make_battles(20, source="extra", role="train", prompts=10, seed=1)
    # The first rows of the external source share their prompts with target rows.
    shared = external.with_columns(
        prompt=pl.when(pl.int_range(pl.len()) < 8)
        .then(pl.concat_list(pl.col("prompt").list.first().str.replace("extra", "arena")))
        .otherwise("prompt")
    )
    write_csv(shared, tmp_path / "extra.csv")
    write_csv(make_battles(9, source="t", role="test", prompts=9, seed=2), tmp_path / "test.csv")
    return Project(path=tmp_path, config=_config_writer(tmp_path))


@pytest.fixture(scope="session")
def kept_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where finished runs are kept for ``run_once``."""
    return tmp_path_factory.mktemp("kept-runs")


@pytest.fixture
def run_once(request: pytest.FixtureRequest, project: Project, kept_runs: Path) -> RunOnce:
    """Give a function that finishes a run of the project, or copies one of the same config."""

    def make(learners: Learners | None = None, **changes: Any) -> Config:
        config = project.config(learners, **changes)
        marks = [request.node.get_closest_marker(name) is None for name in ("figures", "kit")]
        kept = kept_runs / fingerprint([learners, changes, marks])
        if kept.exists():
            shutil.copytree(kept, config.run_dir)
            record_config(config)  # of this project's files
        else:
            shutil.copytree(run(config).directory, kept)
        return config

    return make


def _config_writer(directory: Path) -> WriteConfig:
    import tomli_w

    def write(learners: Learners | None = None, **changes: Any) -> Config:
        raw: dict[str, Any] = {
            "run_dir": "run",
            "seed": 7,
            "sources": [
                {"name": "arena", "path": "train.csv", "role": "target"},
                {"name": "extra", "path": "extra.csv", "role": "train", "weight": 0.5},
            ],
            "test": {"path": "test.csv"},
            "folds": {"n_splits": 3},
            "learners": learners or [{"name": "p", "plugin": "prior"}],
            "stack": {"meta_learner": "none", "resamples": 200},
            "execution": {"threads": 1},
        }
        raw.update(changes)
        path = directory / "config.toml"
        path.write_text(tomli_w.dumps(raw))
        return load_config(path)

    return write
