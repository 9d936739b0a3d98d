"""Fixtures of what is fitted fold by fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ensemble.oof.cheap_learners import Cheap, CheapPlugin
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
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
