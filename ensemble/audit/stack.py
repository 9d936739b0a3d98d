"""The checks of an audit on the stack: what it was made from, and what it was scored on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.audit.checks import told_error
from ensemble.audit.plan import is_ordered
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.oof.fold_key import fold_name
from ensemble.oof.predictions import read_logits
from ensemble.run_dir.layout import OOF, STACK
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.run_dir.tables import read_table
from ensemble.stacking.lacking import UNFINISHED
from ensemble.stacking.made_from import (
    other_basis,
    other_folds,
    other_settings,
    read_stack_manifest,
)
from ensemble.stacking.outputs import ids_fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ensemble.audit.checks import CheckList
    from ensemble.config.settings import Config
    from ensemble.oof.store import FoldStore


def stacked_learners(run: Path) -> list[str]:
    """Name the learners whose folds the stack was made from, whatever the config says now."""
    try:
        return list(peek_manifest(run / STACK)["key_parts"]["folds"])
    except (ArtifactError, KeyError, TypeError):
        return []  # not there, or damaged: `check_stack` says so


def left_out_of(run: Path) -> list[str]:
    """Name the learners that the stack says it was made without; they had failed."""
    try:
        return [str(name) for name in peek_manifest(run / STACK).get("left_out", ())]
    except (ArtifactError, AttributeError, TypeError):
        return []  # as in ``stacked_learners``


def plain_of(manifest: Mapping[str, Any]) -> list[str]:
    """Name the learners that a stack says to be nested plainly, since pairs are not fitted yet."""
    return [str(name) for name in manifest.get("plain", ())]


def check_stack(store: FoldStore, config: Config, truth: pl.DataFrame, ledger: CheckList) -> None:
    """Check what the stack was made from, and that its nested scores held the right rows out.

    Parameters
    ----------
    store
        The folds.
    config
        The run's config.
    truth
        Of ``recomputed``.
    ledger
        Takes what holds and what does not.
    """
    directory = store.run / STACK
    if not directory.exists():
        ledger.missing.append("stack")
        return
    try:
        manifest = read_stack_manifest(store.run)
        scored = read_table(directory / OOF, ["id", "fold", "part"])
    except ArtifactError as error:
        ledger.fail("stack: what is stored can be trusted", told_error(error))
        return
    _note_gaps(manifest, ledger)
    config = config.without(manifest.get("left_out", ()))
    _check_learners(manifest, [one.name for one in config.stacked_learners()], ledger)
    _check_settings(manifest, config, ledger)
    _check_vouched(manifest, ledger)
    _check_origin(store, manifest, ledger)
    _check_scored(scored, truth, ledger)
    _check_nested(store, manifest, scored, truth, ledger)


def _note_gaps(manifest: dict[str, Any], ledger: CheckList) -> None:
    """Note what the stack was made without: a run without it is not complete."""
    reasons = manifest.get("why_left_out", {})
    ledger.missing += [
        f"{name} in the stack" + (f": {why}" if (why := reasons.get(name)) else ", since it failed")
        for name in manifest.get("left_out", ())
    ]
    ledger.missing += [
        f"{name} {fit} in the stack"
        for name, fits in manifest.get(UNFINISHED, {}).items()
        for fit in fits
    ]
    ledger.missing += [f"pairs of folds of {name} in the stack" for name in plain_of(manifest)]
    ledger.missing += [
        f"candidate {one['name']}, which failed" for one in manifest.get("failed", ())
    ]


def _check_learners(manifest: dict[str, Any], learners: list[str], ledger: CheckList) -> None:
    """Check that the stack has the learners that the reader of the config believes it has."""
    name = "stack: made from the learners that the config stacks"
    groups = (manifest["learners"], manifest["key_parts"]["folds"], learners)
    used, recorded, asked = (", ".join(sorted(group)) or "none" for group in groups)
    if used == recorded == asked:
        ledger.record(name, (), "", used)
    else:
        ledger.fail(name, f"it uses {used}, records {recorded}, and the config asks for {asked}")


def _check_settings(manifest: dict[str, Any], config: Config, ledger: CheckList) -> None:
    """Check that the stack was made with the settings that the reader of the config sees."""
    try:
        different = other_settings(manifest["key_parts"], config)
    except EnsembleError as error:
        ledger.note(ledger.unproven, f"settings of the stack: {error.message}")
        return
    told = f"made with other values of: {', '.join(different)}" if different else None
    name = "stack: made with what the config and the plugins say"
    ledger.settle(name, told, "settings, meta-learner, features and seed")


def _check_vouched(manifest: dict[str, Any], ledger: CheckList) -> None:
    """Check that the stack names those of its learners whose training rows nobody knows."""
    said = list(manifest["unproven"])
    hidden = [n for n in manifest["learners"] if n in ledger.unknown and n not in said]
    fault = f"it does not say so of {', '.join(hidden)}" if hidden else None
    ledger.settle(
        "stack: says which of its learners are unproven", fault, ", ".join(said) or "none"
    )
    for name in said:
        ledger.note(ledger.unknown, name)


def _check_origin(store: FoldStore, manifest: dict[str, Any], ledger: CheckList) -> None:
    """Check that the stack was made from the folds that are there now, all of them and no other."""
    stale = other_basis(store, manifest)
    stale += [" ".join(fold) for fold in other_folds(store, manifest)]
    if stale:
        ledger.fail("stack: made from the folds that are there", f"other: {', '.join(stale)}")
    else:
        detail = "all keys and logits are the same"
        ledger.record("stack: made from the folds that are there", (), "", detail)


def _check_scored(scored: pl.DataFrame, truth: pl.DataFrame, ledger: CheckList) -> None:
    """Check that the rows scored are target rows, in the folds that held them out."""
    target = truth.filter(pl.col("role") == "target")
    joined = scored.join(target.select("id", "role", plan="fold"), on="id", how="left")
    in_fold = pl.col("fold").is_not_null()
    odd = joined.filter(
        pl.col("role").is_null() | (in_fold & ~pl.col("plan").eq_missing(pl.col("fold")))
    )
    ledger.record(
        "stack: scored on target rows, each once, in its own fold",
        set(odd["id"]) | set(scored.filter(scored["id"].is_duplicated())["id"]),
        "foreign, repeated or misplaced rows",
        f"{scored['fold'].count()} of {len(target)} target rows scored",
    )


def _check_nested(
    store: FoldStore,
    manifest: dict[str, Any],
    scored: pl.DataFrame,
    truth: pl.DataFrame,
    ledger: CheckList,
) -> None:
    """Check that each row was scored by a stack fitted on other, or earlier, folds alone."""
    if scored["part"].is_not_null().any():
        _check_parts(manifest, scored, truth, ledger)
        return
    folds, ordered = _common_folds(store, _due_folds(store, manifest), truth), is_ordered(truth)
    recorded = sorted(nested["fold"] for nested in manifest["nested"])
    name = "stack: scored by a fit of its own for each fold"
    there = sorted(scored["fold"].drop_nulls().unique())
    if recorded == folds[int(ordered) :] and there == folds:
        ledger.record(name, (), "", f"{len(folds)} folds")
    else:
        detail = f"{len(folds)} folds have predictions, and the manifest records {len(recorded)}"
        ledger.fail(name, detail)
    for nested in manifest["nested"]:
        fold = nested["fold"]
        outside = scored.filter(pl.col("fold") != fold)["id"].to_list()
        name = f"stack fold {fold}: fitted on the other folds alone"
        if ordered:
            name = f"stack fold {fold}: fitted on earlier folds alone"
            outside = _earlier(name, scored, truth, fold, ledger)
        if ids_fingerprint(outside) == nested["ids_sha256"]:
            ledger.record(name, (), "", f"{nested['fitted_on']} rows")
        else:
            ledger.fail(name, "the recorded rows are not those of the other folds")


def _check_parts(
    manifest: dict[str, Any], scored: pl.DataFrame, truth: pl.DataFrame, ledger: CheckList
) -> None:
    """Check the same where all rows that were scored are of one fold, which was parted.

    Logits of these rows are of models that saw no row of the fold, if its own checks hold.
    """
    rows = scored.drop_nulls("part").join(truth.select("id", "cluster", "swap"), on="id")
    one_fold = scored["fold"].drop_nulls().n_unique() == 1
    in_all = scored.filter(pl.col("fold").is_not_null() & pl.col("part").is_null())["id"]
    apart = pl.any_horizontal(
        pl.col("part").n_unique().over(key) > 1 for key in ("cluster", "swap")
    )
    ledger.record(
        "stack: scored by parts of one fold, which keep clusters together",
        set(rows.filter(apart)["id"]) | set(in_all) | (set() if one_fold else set(rows["id"])),
        "rows whose cluster is in two parts, or of another fold",
        f"{len(rows)} rows in {rows['part'].n_unique()} parts",
    )
    recorded = sorted(nested.get("part", -1) for nested in manifest["nested"])
    if recorded != sorted(rows["part"].unique()):
        ledger.fail("stack: scored by a fit of its own for each part", "other parts are recorded")
    for nested in manifest["nested"]:
        outside = rows.filter(pl.col("part") != nested.get("part", -1))["id"].to_list()
        name = f"stack part {nested.get('part')}: fitted on the other parts alone"
        if ids_fingerprint(outside) == nested["ids_sha256"]:
            ledger.record(name, (), "", f"{nested['fitted_on']} rows")
        else:
            ledger.fail(name, "the recorded rows are not those of the other parts")


def _due_folds(store: FoldStore, manifest: Mapping[str, Any]) -> dict[str, frozenset[int]]:
    """Give the folds of each learner that a stack has to be made from: all but those it lacks."""
    lacking = manifest.get(UNFINISHED, {})
    return {
        name: frozenset(k for k in store.planned(name) if fold_name(k) not in lacking.get(name, {}))
        for name in manifest["learners"]
    }


def _common_folds(
    store: FoldStore, due: Mapping[str, frozenset[int]], truth: pl.DataFrame
) -> list[int]:
    """Give the folds, of those that a stack is due to be made from, that all learners predict."""
    target = truth.filter((pl.col("role") == "target") & pl.col("fold").is_not_null())
    ids, folds = target["id"], target["fold"].to_numpy()
    known = np.ones(len(target), dtype=bool)
    for learner, own in due.items():
        found = np.zeros(len(target), dtype=bool)
        for fold in sorted(own):
            with suppress(ArtifactError):  # the checks of its folds say what is wrong
                logits = read_logits(store.directory(learner, fold) / OOF, ids)
                found |= np.isfinite(logits).all(axis=1) & (folds == fold)
        known &= found
    return sorted({int(fold) for fold in folds[known]})


def _earlier(
    name: str, scored: pl.DataFrame, truth: pl.DataFrame, fold: int, ledger: CheckList
) -> list[str]:
    """Give the rows of earlier blocks whose cluster, by the plan, the fold has not.

    They are checked to be earlier, and of no cluster or swap of the fold, as computed anew.
    """
    own = ["id", "planned", "cluster", "swap", "time"]
    rows = scored.drop_nulls("fold").join(truth.select(own), on="id", how="inner")
    held_out = rows.filter(pl.col("fold") == fold)
    before = rows.filter(pl.col("fold") < fold).filter(
        ~pl.col("planned").is_in(held_out["planned"].implode())
    )
    leaks = before.filter(
        pl.col("cluster").is_in(held_out["cluster"].implode())
        | pl.col("swap").is_in(held_out["swap"].implode())
        | ~(pl.col("time") < held_out["time"].min())
    )
    ledger.record(
        f"{name}, without its clusters", leaks["id"], "rows that leak", f"{len(before)} rows"
    )
    return before["id"].to_list()
