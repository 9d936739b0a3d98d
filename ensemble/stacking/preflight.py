"""Everything that can be known to fail before anything is fitted, all of it at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.features import compute_features
from ensemble.battles.schema import labels_of
from ensemble.errors import ConfigError, EnsembleError
from ensemble.oof.preflight import disk_faults, learner_faults, sample, unfinished
from ensemble.plugin.manager import get_manager
from ensemble.stacking.sanity import refuse_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.config.settings import Config
    from ensemble.oof.preflight import Task
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace


def refuse_faults(config: Config, workspace: Workspace, tasks: Sequence[Task]) -> None:
    """See that nothing is known to fail in what has to be fitted, and in the stack after it.

    Parameters
    ----------
    config
        The config; what it asks of plugins is there.
    workspace
        The run's battles and plan.
    tasks
        All fits; those that are there cost nothing.

    Raises
    ------
    ConfigError
        All faults of all learners, reported together.
    """
    waiting = unfinished(workspace, tasks)
    if not waiting:
        return
    specs = {spec.name: spec for spec, _ in waiting}
    faults = [told for spec in specs.values() for told in faults_of(workspace, spec)]
    faults += [*stack_faults(config, workspace), *disk_faults(workspace, waiting)]
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))


def faults_of(workspace: Workspace, spec: LearnerSpec) -> list[str]:
    """Find what is known to fail of one learner; see ``learner_faults``."""
    labels = labels_of(workspace.battles.filter(pl.col("role") == "target"))
    return learner_faults(workspace, spec, partial(refuse_labels, labels=labels))


def stack_faults(config: Config, workspace: Workspace) -> list[str]:
    """Compute what the meta-learner asks for beside logits, for a few battles."""
    try:
        sets = [get_manager().feature_sets.get(name) for name in config.stack.features]
        compute_features(sample(workspace.battles), sets)
    except EnsembleError as error:
        where = f"stack.features{f', {error.where}' if error.where else ''}"
        return [str(type(error)(error.message, where=where, hint=error.hint))]
    return []
