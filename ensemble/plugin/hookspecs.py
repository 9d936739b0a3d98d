"""Every hook that a plugin can implement, and nothing else.

A hook carries a ``register`` function to call, once for each thing the plugin brings, or it tells
of something that happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
def register_observers(register: Register) -> None:
    """Call ``register(name, target)`` for each class of observers.

    A config asks for one by ``[[observers]]``; its instance's methods are hooks, marked with
    ``hookimpl``: one or more of ``fold_fitted``, ``stack_decided`` and ``run_finished``.
    """


@hookspec
def fold_fitted(
    run_dir: Path,
    learner: str,
    fold: int | None,
    directory: Path,
    seconds: float,
    score: float | None,
    parameters: Mapping[str, Any],
) -> None:
    """Observe that a learner's fold (None: its refit on everything) is stored in ``directory``.

    Called once a fold is fitted, not where it was kept. ``score`` is the log loss on the held-out
    fold, None for a refit; ``parameters`` are all of the learner's, defaults included, secrets left
    out; ``seconds`` is the time of fit and predictions.
    """


@hookspec
def stack_decided(run_dir: Path, verdict: Mapping[str, Any], directory: Path) -> None:
    """Observe that a stack is stored in ``directory``, with the content of its ``verdict.json``.

    Called when the stack is made, not where it was kept.
    """


@hookspec
def run_finished(
    run_dir: Path,
    status: str,
    submission: Path | None,
    failures: Sequence[Mapping[str, Any]],
    error: str | None,
) -> None:
    """Observe that ``ensemble run`` has ended, once for each time that it is called.

    ``status`` is ``"complete"``; ``"incomplete"`` where learners or the meta-learner failed, which
    ``failures`` lists (``name``, ``at``, ``reason``, ``line``, ``hint``, ``needs``,
    ``is_meta_learner``); ``"failed"`` where ``error`` ended it; or ``"interrupted"``.
    ``submission`` is None where there is none.
    """
