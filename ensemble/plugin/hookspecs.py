"""Every hook that a plugin can implement, and nothing else.

A hook carries a ``register`` function to call, once for each thing the plugin brings, or it tells
of something that happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.plugin.base import Register

PROJECT = "ensemble"
API_VERSION = 1
"""Version of the hooks and contracts, raised where plugins of before would not do any more.

A plugin may say for which one it was made, as ``ensemble_api = 1``; others are set aside."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_base_learners(register: Register) -> None:
    """Call ``register(name, target)`` for each ``BaseLearner``."""


@hookspec
def register_feature_sets(register: Register) -> None:
    """Call ``register(name, target)`` for each ``FeatureSet``."""


@hookspec
def register_meta_learners(register: Register) -> None:
    """Call ``register(name, target)`` for each ``MetaLearner``."""


@hookspec
def register_loaders(register: Register) -> None:
    """Call ``register(name, target)`` for each ``Loader``."""


@hookspec
def fold_fitted(learner: str, fold: int | None, directory: Path, seconds: float) -> None:
    """Observe that a learner's fold (None: its refit on everything) is stored in ``directory``."""
