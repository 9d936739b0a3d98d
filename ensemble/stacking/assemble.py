"""From stored folds to what the stack learns from: OOF logits and features, joined by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.features import compute_features
from ensemble.battles.held_out import fold_pairs
from ensemble.errors import ArtifactError
from ensemble.evaluation.ties import neutral_tie
from ensemble.oof.origins import complete_origin
from ensemble.plugin.base import MetaFeatures
from ensemble.plugin.manager import get_manager
from ensemble.run_dir.layout import CACHE, LEARNERS, STACK
from ensemble.stacking.data import StackData
from ensemble.stacking.nested import NestingRules
from ensemble.storage.directories import damage_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.battles.held_out import HeldOut
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import LogitArray


def check_folds(
    workspace: Workspace,
    specs: Sequence[LearnerSpec],
    models: Mapping[str, str] | None = None,
) -> dict[str, dict[str, dict[str, str]]]:
    """Check that every fold of every learner is there, whole and current.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    specs
        The learners.
    models
        By learner, whether ``"refit"`` or ``"soup"`` is asked for in the place of ``"folds"``;
        None asks for folds alone.

    Returns
    -------
    dict[str, dict[str, dict[str, str]]]
        The origin of each (``origin_of``), by learner and by fold as its directory is called.

    Raises
    ------
    ArtifactError
        Some are not; says which, and the command that makes them.
    """
    asked, store = models or {}, workspace.store
    fits = {s.name: store.folds(asked.get(s.name, "folds"), s.name) for s in specs}
    return _origins(workspace, specs, fits)


def check_pairs(
    workspace: Workspace, specs: Sequence[LearnerSpec]
) -> dict[str, dict[str, dict[str, str]]]:
    """Check the same of every pair of folds.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    specs
        The learners that are fitted without each pair.

    Raises
    ------
    ArtifactError
        As ``check_folds`` does.
    """
    pairs = fold_pairs(workspace.plan.n_splits)
    return _origins(workspace, specs, {spec.name: pairs for spec in specs})


def _origins(
    workspace: Workspace, specs: Sequence[LearnerSpec], fits: Mapping[str, Sequence[HeldOut]]
) -> dict[str, dict[str, dict[str, str]]]:
    missing, damaged, keys = [], list[str](), workspace.fit_keys()
    origins: dict[str, dict[str, dict[str, str]]] = {spec.name: {} for spec in specs}
    for spec in specs:
        for fit in fits[spec.name]:
            key, _ = keys.of(spec, fit)
            origin = complete_origin(workspace.store.directory(spec.name, fit), key)
            if origin is None:
                missing.append(f"{spec.name} {fit.name}")
                damaged += damage_of(workspace.store.directory(spec.name, fit))
            else:
                origins[spec.name][fit.name] = origin
    if missing:
        for spec in specs:
            spec.check_secrets()  # without them the keys are others
        raise ArtifactError(
            "predictions are missing, damaged or were made with other settings: "
            + ", ".join(missing),
            where=", ".join(damaged) or str(workspace.run / LEARNERS),
            hint="run `ensemble fit CONFIG` (it makes only what is missing)",
        )
    return origins


def stack_data(
    workspace: Workspace,
    learners: Sequence[str],
    feature_sets: Sequence[str],
    nested: Sequence[str] = (),
    seeds: Mapping[str, int] | None = None,
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
    nested
        Names of the learners that are fitted without each pair of folds.
    seeds
        How many seeds each learner has; those that are not named have one.
    """
    target, store = workspace.eval_set, workspace.store
    oof = [store.oof(name, target) for name in learners]
    several = {name: n for name, n in (seeds or {}).items() if n > 1 and name in learners}
    return StackData(
        ids=target.ids.to_list(),
        sources=target.rows["source"].to_list(),
        meta=meta_features(
            target.rows,
            learners,
            oof,
            feature_sets,
            workspace.run / CACHE / STACK,
            ties=workspace.ties,
        ),
        labels=target.labels,
        clusters=target.clusters,
        folds=target.folds,
        nested_logits=_nested_logits(workspace, learners, oof, nested),
        nested_learners=tuple(nested),
        seed_logits={
            name: neutral_tie(store.seed_oof(name, target, n), ties=workspace.ties)
            for name, n in several.items()
        },
        rules=nesting_rules(workspace.plan),
        unscored=tuple(workspace.plan.frame.filter(workspace.plan.unscored())["id"]),
    )


def nesting_rules(plan: FoldPlan) -> NestingRules:
    """Say which rows an outer fold of the stack is fitted on, by what the folds are."""
    return NestingRules(plan.is_ordered, plan.rules.split_clusters)


def _nested_logits(
    workspace: Workspace,
    learners: Sequence[str],
    oof: Sequence[LogitArray],
    nested: Sequence[str],
) -> dict[int, LogitArray]:
    """Put exact logits in the place of plain ones, for each outer fold."""
    if not nested:
        return {}
    exact = {name: workspace.store.nested_oof(name, workspace.eval_set) for name in nested}
    both = list(zip(learners, oof, strict=True))
    stacked = {
        fold: np.stack([exact[n][fold] if n in exact else plain for n, plain in both], axis=1)
        for fold in range(workspace.plan.n_splits)
    }
    return {fold: neutral_tie(logits, ties=workspace.ties) for fold, logits in stacked.items()}


def meta_features(
    battles: pl.DataFrame,
    learners: Sequence[str],
    logits: Sequence[LogitArray],
    feature_sets: Sequence[str],
    cache_directory: Path | None,
    *,
    ties: bool = True,
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
    ties
        Whether the task has ties; if not, the logits say nothing of them (``neutral_tie``).
    """
    sets = [get_manager().feature_sets.get(name) for name in feature_sets]
    matrix = compute_features(battles, sets, cache_directory=cache_directory)
    return MetaFeatures(
        logits=neutral_tie(np.stack(logits, axis=1), ties=ties),
        learners=tuple(learners),
        features=matrix.values,
        feature_names=matrix.names,
        feature_swap=matrix.swap,
        feature_sign=matrix.sign,
        ties=ties,
    )
