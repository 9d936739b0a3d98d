"""Fixtures of what is fitted fold by fold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ensemble.oof.cluster import remote
from ensemble.plugin.manager import use_manager
from tests.ensemble.oof.beating_learner import PLUGIN as BEATS
from tests.ensemble.oof.cheap_learners import Cheap, CheapPlugin
from tests.ensemble.oof.prepared import prepared
from tests.ensemble.oof.watching_learner import Watcher, WatcherPlugin
from tests.installed import install_distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.oof.workspace import Workspace
    from tests.fixture_types import Project, UsePlugins


@pytest.fixture
def cheap(project: Project, use_plugins: UsePlugins) -> type[Cheap]:
    use_plugins(pairs=CheapPlugin())
    Cheap.taught.clear()
    Cheap.fails.clear()
    return Cheap


@pytest.fixture
def space(project: Project) -> Workspace:
    """The workspace of a run whose battles are split and where nothing is fitted."""
    return prepared(project.config())


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A node's cache, and no process left after the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "node"))
    use_manager(None)
    yield tmp_path / "node" / "preference-ensemble" / "cluster"
    remote._end_lasting()
    remote._Lasting.run = None


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a third-party plugin where this process and all that it starts find it."""
    site = tmp_path / "site"
    install_distribution(site, "beats", "1.0", "beating_learner", BEATS)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    use_manager(None)


@pytest.fixture
def files_with_columns(project: Project, use_plugins: UsePlugins) -> None:
    """Give the files columns beside the battles; the source lacks one, and the test has all."""
    Watcher.seen.clear()
    use_plugins(watcher=WatcherPlugin())
    rng = np.random.default_rng(0)
    for name in ("train", "extra", "test"):
        path = project.path / f"{name}.csv"
        frame = pl.read_csv(path)
        names = rng.choice(["gpt-4", "claude", "llama"], (len(frame), 2))
        frame = frame.with_columns(
            model_a=pl.Series(names[:, 0]),
            model_b=pl.Series(names[:, 1]),
            language=pl.Series(rng.choice(["English", "German"], len(frame))),
        )
        if name == "train":
            frame = frame.with_columns(
                strength_a=pl.col("winner_model_a") + rng.random(len(frame)) / 9,
                strength_b=pl.col("winner_model_b") + rng.random(len(frame)) / 9,
                drawn=pl.col("winner_tie") > 0,
                verbal=pl.when(pl.col("winner_model_a") > 0)
                .then(pl.lit("x"))
                .when(pl.col("winner_tie") > 0)
                .then(pl.lit("y"))
                .otherwise(pl.lit("z")),
                grade_a=pl.lit("only one side"),
                grade_b=pl.lit("and the other"),
            )
        (frame.drop("language") if name == "extra" else frame).write_csv(path)
