"""What a stack was made from, and what of it the run no longer has; nothing else decides that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.battles.split import read_split_summary
from ensemble.errors import ArtifactError, IncompleteRunError
from ensemble.oof.fold_key import fold_name
from ensemble.run_dir.layout import STACK
from ensemble.stacking.assemble import check_folds, check_pairs
from ensemble.stacking.doubt import unproven_learners
from ensemble.stacking.lacking import PLAIN, UNFINISHED
from ensemble.stacking.left_out import failed_learners
from ensemble.stacking.settings import nested_specs, stack_key_parts, stacked_specs
from ensemble.stacking.unfinished import available, undone
from ensemble.storage.directories import read_manifest
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ensemble.config.settings import Config
    from ensemble.oof.store import FoldStore
    from ensemble.oof.workspace import Workspace


LEFT_OUT, FAILED = "left_out", "failed"
"""Keys of the learners that a stack was made without, and of its meta-learner that failed."""


def stack_manifest(config: Config, workspace: Workspace) -> dict[str, Any]:
    """Say what the stack is made from now: keys and logits of folds and pairs, its settings.

    Learners that failed are left out, and named under ``left_out``; so are those that a time limit
    has left without a fold to be stacked. Others take part with the folds that they have.

    Raises
    ------
    ArtifactError
        A fold or a pair is missing, damaged, or was made with other settings.
    IncompleteRunError
        No learner is left to be stacked.
    """
    failures = failed_learners(config, workspace)
    specs = stacked_specs(config) if config.learners else []
    there = available(config, workspace, [one for one in specs if one.name not in failures])
    left_out = [s.name for s in specs if s.name in failures or s.name in there.left_out]
    if left_out and len(left_out) == len(specs):
        left = undone(workspace, specs)
        error = IncompleteRunError(
            "no learner is complete: there is nothing to stack",
            tuple(failures.values()),
            unfinished={name: [fit.label for fit in fits] for name, fits in left.items()},
        )
        error.is_stacked = False
        raise error
    config, workspace = config.without(left_out), workspace.with_folds(there.folds)
    specs, nested = stacked_specs(config), nested_specs(config)
    lacking_pairs = {
        name
        for name, fits in undone(workspace, nested).items()
        if any(fit.is_joint for fit in fits)
    }
    plain = [spec.name for spec in nested if spec.name in lacking_pairs]
    gaps = {LEFT_OUT: left_out, UNFINISHED: there.lacking, PLAIN: plain}
    gaps = {name: gap for name, gap in gaps.items() if gap}
    parts = {
        "folds": check_folds(workspace, specs),
        "pairs": check_pairs(workspace, [one for one in nested if one.name not in lacking_pairs]),
        **stack_key_parts(config),
        **gaps,
    }
    return {
        "key": fingerprint(parts),
        "key_parts": parts,
        "plan": workspace.plan.fingerprint,
        "data": workspace.data_key,
        "learners": [spec.name for spec in specs],
        "unproven": unproven_learners(workspace.store, specs),
        "plan_doubt": read_split_summary(workspace.run).doubt,
        **gaps,
        **({"why_left_out": there.left_out} if there.left_out else {}),
    }


def stacked_folds(manifest: Mapping[str, Any]) -> dict[str, frozenset[int]]:
    """Give the folds that a stack was made from, by learner."""
    return {
        learner: frozenset(int(name.removeprefix("fold-")) for name in origins)
        for learner, origins in manifest["key_parts"]["folds"].items()
    }


def read_stack_manifest(run: Path, hint: str = "run `ensemble stack CONFIG`") -> dict[str, Any]:
    """Read what a run's stack says it was made from, after checking every file's hash.

    Raises
    ------
    ArtifactError
        There is no stack, a file of it is damaged, or it does not hold its own key.
    """
    directory = run / STACK
    if not directory.exists():
        raise ArtifactError("there is no stack yet", where=str(run), hint=hint)
    try:
        manifest = read_manifest(directory)
    except ArtifactError as error:
        raise ArtifactError(error.message, where=error.where, hint=hint) from error
    if fingerprint(manifest.get("key_parts")) != manifest.get("key"):
        raise ArtifactError(
            "the manifest does not hold its own key", where=str(directory), hint=hint
        )
    return manifest


def why_stacked_again(
    directory: Path, manifest: Mapping[str, Any], *, retry: bool = False
) -> str | None:
    """Say why a stack is made anew: None where it is there, empty where there was none.

    Parameters
    ----------
    directory
        The ``stack/`` of a run.
    manifest
        Of ``stack_manifest``.
    retry
        Whether a meta-learner that failed is tried again.
    """
    if not directory.exists():
        return ""
    try:
        stored = read_manifest(directory)
    except ArtifactError as error:
        return f"{error.message} ({error.where})"
    if stored.get("key") == manifest["key"]:
        failed = [one["name"] for one in stored.get(FAILED, ())] if retry else []
        return f"the meta-learner {', '.join(failed)} failed" if failed else None
    before, now = ({*one.get(LEFT_OUT, ())} for one in (stored, manifest))
    if before - now:
        return f"it was made without {', '.join(sorted(before - now))}"
    if now - before:
        return f"{', '.join(sorted(now - before))} cannot be stacked now"
    if stored.get(UNFINISHED) or stored.get(PLAIN):
        return "more folds or pairs of folds are fitted than it was made from"
    return f"other {', '.join(_other(stored['key_parts'], manifest['key_parts']))}"


def check_stack(config: Config, workspace: Workspace) -> None:
    """Refuse a stack that is missing, or that is not what would be made now.

    Raises
    ------
    ArtifactError
        It is.
    """
    directory = workspace.run / STACK
    why = why_stacked_again(directory, stack_manifest(config, workspace))
    if why is not None:
        raise ArtifactError(
            f"the stack is missing or was made with other settings{f': {why}' if why else ''}",
            where=str(directory),
            hint="run `ensemble stack CONFIG`",
        )


def other_settings(made_by: Mapping[str, Any], config: Config) -> list[str]:
    """Name the settings that a stack was made with others of than config and plugins have now.

    Parameters
    ----------
    made_by
        ``key_parts`` of its manifest.
    config
        The run's config.

    Raises
    ------
    EnsembleError
        The meta-learner's plugin or a feature set is not here.
    """
    return _other(made_by, stack_key_parts(config.without(made_by.get(LEFT_OUT, ())), made_by))


def other_folds(store: FoldStore, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name the folds that are not those that a stack was made from: learner and fold.

    Manifests alone are looked at: whether the logits are those that they name, readers see.

    Parameters
    ----------
    store
        The folds that are there.
    manifest
        Of the stack.
    """
    found = []
    for learner, made_from in manifest["key_parts"]["folds"].items():
        now, lacking = store.origins(learner), manifest.get(UNFINISHED, {}).get(learner, {})
        planned = {fold_name(fold) for fold in store.planned(learner)}
        found += [
            (learner, name)
            for name in sorted({*planned, *now, *made_from})
            if not _is_as_made(now.get(name), made_from.get(name), lacking.get(name))
        ]
    return found


def _is_as_made(
    now: Mapping[str, str] | None, made_from: Mapping[str, str] | None, lacking: str | None
) -> bool:
    """Say whether a fold is the one that a stack has, or still not the one that it lacks."""
    if lacking is not None:
        return now is None or now["key"] != lacking
    return now is not None and now == made_from


def other_basis(store: FoldStore, manifest: Mapping[str, Any]) -> list[str]:
    """Name what a stack is of another one of than the run: fold plan, set of battles."""
    known = {"fold plan": ("plan", store.plan), "set of battles": ("data", store.data)}
    return [name for name, (key, value) in known.items() if manifest.get(key) != value]


def _other(made_by: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name, v in now.items() if fingerprint(made_by.get(name)) != fingerprint(v)]
