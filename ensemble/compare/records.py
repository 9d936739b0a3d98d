"""Comparisons on disk: ``RUN/comparisons/<A>-<B>.json``, sealed, and known to be of the run or not.

A comparison outlives what it was made from. It is shown only while the plan, the battles and every
prediction of this run that it read are still there; what another run has become since is not looked
at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ensemble.compare.stacked import stack_fault
from ensemble.errors import ArtifactError
from ensemble.oof.store import FoldStore
from ensemble.run_dir.layout import COMPARISONS, LEARNERS, OOF, OOF_CANDIDATES, STACK
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.storage.hashing import fingerprint, hash_file
from ensemble.storage.json_files import read_checksummed, write_checksummed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

VERSION = 4
"""Raise it when the same predictions come to give another comparison: one of before is none."""

_LONGEST = 120
"""Characters of a file's name, of which file systems take 255 bytes."""


def store_comparison(run: Path, result: Mapping[str, Any]) -> Path:
    """Write a comparison into the run; a former one of the same learners is replaced.

    Raises
    ------
    EnsembleError
        The disk is full or cannot be written.
    """
    path = run / COMPARISONS / file_name([one["name"] for one in result["learners"]])
    write_checksummed(path, result)
    return path


def file_name(names: Sequence[str]) -> str:
    """Name the file of a comparison: ``<A>-<B>.json``.

    Eight digits of a hash follow where that could be the name of another comparison too: where a
    name has a hyphen or what a file's name cannot have, or all of it is long.
    """
    plain = "-".join(re.sub(r"[^A-Za-z0-9._-]", "_", name) for name in names)
    clear = all(re.fullmatch(r"[A-Za-z0-9._]+", name) for name in names)
    if clear and len(plain) <= _LONGEST:
        return f"{plain}.json"
    return f"{plain[:_LONGEST]}-{fingerprint(list(names))[:8]}.json"


def read_comparisons(
    run: Path, plan: str, data: str, n_splits: int, only: Mapping[str, frozenset[int]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Read the comparisons that are of the run as it is now.

    Parameters
    ----------
    run
        The run directory.
    plan, data
        Fingerprint of its fold plan and key of its battles.
    n_splits
        Number of folds.
    only
        Of learners that are not read on all folds, the folds that count.

    Returns
    -------
    tuple
        Comparisons in the order of their files, and a sentence for each that is left out.
    """
    found, left_out = [], []
    for path in sorted((run / COMPARISONS).glob("[!.]*.json")):
        try:
            result = read_checksummed(path, hint="run `ensemble compare` again")
        except ArtifactError as error:
            left_out.append(f"Comparison {path.stem}: it is damaged: {error.message}")
            continue
        reason = stale(FoldStore(run, plan, data, n_splits, only=only), result)
        if reason:
            left_out.append(f"Comparison {path.stem}: {reason}")
        else:
            found.append(result)
    return found, left_out


def stale(store: FoldStore, result: Mapping[str, Any]) -> str | None:
    """Say why a comparison is not of the run as it is now; None where it is."""
    if result.get("version") != VERSION:
        return "it was made by another version of the toolkit"
    for key, value, name in (
        ("plan", store.plan, "fold plan"),
        ("data", store.data, "set of battles"),
    ):
        if result[key] != value:
            return f"it was made under another {name}"
    for one in result["learners"]:
        made_from = one["made_from"]
        if made_from["run"] is None and not _is_current(store, made_from):
            return f"it was made from other predictions of {one['name']}"
    return None


def _is_current(store: FoldStore, made_from: Mapping[str, Any]) -> bool:
    """Hold what was read against manifests and files; what cannot be read is not current."""
    try:
        if made_from["kind"] == "learner":
            return _has_folds(store, made_from["name"], made_from["folds"])
        return _has_stack(store, made_from)
    except (ArtifactError, OSError, KeyError, TypeError):
        return False


def _has_folds(store: FoldStore, learner: str, folds: Mapping[str, Mapping[str, str]]) -> bool:
    same = store.origins(learner) == folds
    directory = store.run / LEARNERS / learner
    return same and all(hash_file(directory / k / OOF) == one["oof"] for k, one in folds.items())


def _has_stack(store: FoldStore, made_from: Mapping[str, Any]) -> bool:
    directory = store.run / STACK
    manifest = peek_manifest(directory)
    return bool(
        manifest["key"] == made_from["stack"]
        and hash_file(directory / OOF_CANDIDATES) == made_from["oof"]
        and stack_fault(store, manifest) is None
    )
