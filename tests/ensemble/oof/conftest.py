"""Fixtures of what is fitted fold by fold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble.oof.cluster import remote
from ensemble.plugin.manager import use_manager
from tests.ensemble.oof.beating_learner import PLUGIN as BEATS
from tests.ensemble.oof.cheap_learners import Cheap, CheapPlugin
from tests.ensemble.oof.prepared import prepared
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
