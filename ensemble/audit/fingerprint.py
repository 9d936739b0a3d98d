"""What an audit is of: the content of every file that it, or a score of the run, depends on.

And the code of the plugins at hand, which it holds against the code that made the run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.load import load_run_config
from ensemble.config.secrets import with_secrets
from ensemble.errors import EnsembleError
from ensemble.plugin.manager import get_manager
from ensemble.run_dir.layout import (
    BATTLES,
    BATTLES_RECORD,
    CLUSTERS,
    CONFIG,
    CORRECTIONS,
    DUPLICATES,
    FOLDS,
    FOLDS_RECORD,
    HOLDOUT,
    HOLDOUT_RECORD,
    KEPT,
    LEARNERS,
    METADATA,
    PLUGINS,
    STACK,
    SUBMISSION,
    SUBMISSION_RECORD,
    TRIES,
    UNFINISHED,
)
from ensemble.storage.atomic import TEMPORARY
from ensemble.storage.hashing import fingerprint, hash_file
from ensemble.storage.strays import is_stray

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ensemble.plugin.registry import Registry

VERSION = 12
"""Raise it when the audit comes to check something else: an audit of before is none."""

FILES = (
    CONFIG,
    BATTLES,
    CLUSTERS,
    DUPLICATES,
    METADATA,
    CORRECTIONS,
    BATTLES_RECORD,
    FOLDS,
    FOLDS_RECORD,
    KEPT,
    SUBMISSION,
    SUBMISSION_RECORD,
    HOLDOUT,
    HOLDOUT_RECORD,
    UNFINISHED,
)
TREES = (LEARNERS, STACK, TRIES, PLUGINS)


def subject_of(run: Path) -> str:
    """Name all that an audit looks at, and the audit itself: 64 hex digits.

    Every file counts by its bytes, whatever its times say: one that is altered, added, cut short or
    taken away gives another name. So does other code of a plugin than is here now. Left out are
    caches and checkpoints, logs, and what is only said of a run: report, comparisons and studies.
    """
    hashes = {path.relative_to(run).as_posix(): _content(path) for path in subject_files(run)}
    return fingerprint({"version": VERSION, "files": hashes, "codes": _codes(run)})


def subject_files(run: Path) -> Iterator[Path]:
    """Give the files that ``subject_of`` names, those that are there."""
    yield from (run / name for name in FILES if os.path.lexists(run / name))
    for tree in TREES:
        for directory, inner, names in os.walk(run / tree, followlinks=True):
            inner[:] = sorted(name for name in inner if _counts(name))
            yield from (Path(directory) / name for name in sorted(names) if _counts(name))


def _codes(run: Path) -> dict[str, Any]:
    """Name the code of what the run's config asks of plugins, as it is here now."""
    try:
        config = load_run_config(run, is_judged=True)
    except EnsembleError:  # the audit says so
        return {}
    manager, stack = get_manager(), config.stack
    asked: list[tuple[Registry[Any], str, Mapping[str, Any]]] = [
        *((manager.base_learners, one.plugin, one.parameters) for one in config.learners),
        *((manager.loaders, one.loader, one.options) for one in config.readings() if one.loader),
    ]
    if stack.meta_learner:
        asked.append((manager.meta_learners, stack.meta_learner, stack.parameters))
    codes = [_code(registry, name, values) for registry, name, values in asked]
    # Learners and the stack name sets as they please: all that are here count.
    return {"codes": codes, "features": {e.name: _features(e.name) for e in manager.feature_sets}}


def _code(registry: Registry[Any], name: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        return with_secrets(registry.entry(name).code(), values)
    except EnsembleError:  # it is not here
        return None


def _features(name: str) -> dict[str, Any] | None:
    try:
        return get_manager().feature_identity(name)
    except EnsembleError:  # it is broken; who needs it says so
        return None


def _counts(name: str) -> bool:
    """Leave out strays, and what a writer has not put into its place yet."""
    return not name.startswith(TEMPORARY) and not is_stray(name)


def _content(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
