"""Which learners a stack is made without, because they failed; everything complete is stacked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.battles.held_out import HeldOut
from ensemble.errors import EnsembleError
from ensemble.oof.fold_key import fold_key
from ensemble.run_dir.failure_record import read_failure
from ensemble.stacking.settings import learner_specs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble.config.settings import Config
    from ensemble.failure import Failure
    from ensemble.oof.workspace import Workspace


def failed_learners(config: Config, workspace: Workspace) -> dict[str, Failure]:
    """Give the learners of a config that have failed as they are now, by name, in its order.

    A failure with other settings, other code or other data counts no more: nobody knows whether
    the learner would fail again.
    """
    found = {}
    for spec in learner_specs(config):
        record = read_failure(workspace.run, spec.name)
        if record is None or not _is_wanted(config, spec.name, HeldOut.of(record.held_out)):
            continue
        try:
            key, _ = fold_key(spec, HeldOut.of(record.held_out), workspace.shared_key())
        except EnsembleError:
            continue  # who needs its folds says what is wrong with it
        if key == record.key:
            found[spec.name] = record.failure
    return found


def _is_wanted(config: Config, learner: str, held_out: HeldOut) -> bool:
    """Say whether the config still asks for what failed."""
    if held_out.is_soup:
        return config.models_of(learner) == "soup"
    return not held_out.is_refit or config.wants_refit(learner)


def as_stacked(config: Config, manifest: Mapping[str, Any]) -> Config:
    """Give the config that a stack was made with: without the learners that it was made without.

    Parameters
    ----------
    config
        Of the run.
    manifest
        Of its stack.
    """
    return config.without(manifest.get("left_out", ()))
