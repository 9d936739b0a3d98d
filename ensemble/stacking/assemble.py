"""From stored folds to what the stack learns from: OOF logits and features, joined by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.features import compute_features
from ensemble.battles.schema import labels_of
from ensemble.errors import ArtifactError
from ensemble.oof.spec import LearnerSpec, fold_key, fold_name
from ensemble.oof.store import complete_origin
from ensemble.plugin.base import MetaFeatures
from ensemble.plugin.manager import get_manager
from ensemble.stacking.stack import StackData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import LogitArray


def check_folds(
    workspace: Workspace, specs: Sequence[LearnerSpec], models: str = "folds"
) -> dict[str, dict[str, dict[str, str]]]:
    """Check that every fold (or the refit) of every learner is there, whole and current.

    Returns
    -------
    dict[str, dict[str, dict[str, str]]]
        The origin of each (``origin_of``), by learner and by fold as its directory is called.

    Raises
    ------
    ArtifactError
        Some are not; says which, and the command that makes them.
    """
    store, missing = workspace.store, []
    origins: dict[str, dict[str, dict[str, str]]] = {spec.name: {} for spec in specs}
    for spec in specs:
        for fold in store.folds(models):
            name = fold_name(fold)
            key, _ = fold_key(spec, fold, workspace.shared_key())
            origin = complete_origin(store.directory(spec.name, fold), key)
            if origin is None:
                missing.append(f"{spec.name} {name}")
            else:
                origins[spec.name][name] = origin
    if missing:
        raise ArtifactError(
            "predictions are missing, damaged or were made with other settings: "
            + ", ".join(missing),
            where=str(workspace.run / "learners"),
            mend="run `ensemble fit CONFIG` (it makes only what is missing)",
        )
    return origins


def stack_data(
    workspace: Workspace, learners: Sequence[str], feature_sets: Sequence[str]
) -> StackData:
    """Put together what the stack is fitted and scored on: the target rows.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    learners
        Names of the learners, in order.
    feature_sets
        Names of the feature sets that the meta-learner sees beside the logits.
    """
    target = workspace.battles.filter(pl.col("role") == "target")
    plan = target.select("id").join(
        workspace.plan.frame, on="id", how="left", maintain_order="left"
    )
    oof = [workspace.store.oof(name, target["id"]) for name in learners]
    return StackData(
        ids=target["id"].to_list(),
        sources=target["source"].to_list(),
        meta=meta_features(target, learners, oof, feature_sets, workspace.run / "cache" / "stack"),
        labels=labels_of(target),
        clusters=plan["cluster"].to_numpy(),
        folds=plan["fold"].to_numpy(),
    )


def meta_features(
    battles: pl.DataFrame,
    learners: Sequence[str],
    logits: Sequence[LogitArray],
    feature_sets: Sequence[str],
    cache_directory: Path | None,
) -> MetaFeatures:
    """Join logits and features of the same battles.

    Parameters
    ----------
    battles
        ``(n)`` rows with ``LEARNER_COLUMNS``.
    learners
        Names, in order.
    logits
        One ``(n, 3)`` array a learner, in the order of ``battles``.
    feature_sets
        Names of feature sets; may be empty.
    cache_directory
        Where features are cached; None computes them.
    """
    sets = [get_manager().feature_sets.get(name) for name in feature_sets]
    matrix = compute_features(battles, sets, cache_directory=cache_directory)
    return MetaFeatures(
        logits=np.stack(logits, axis=1),
        learners=tuple(learners),
        features=matrix.values,
        feature_names=matrix.names,
        feature_swap=matrix.swap,
        feature_sign=matrix.sign,
    )
