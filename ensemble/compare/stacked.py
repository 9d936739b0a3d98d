"""Candidates of the stack: their nested predictions, while the stack is of the run as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.errors import ArtifactError, unknown_name
from ensemble.plugin.base import CLASSES
from ensemble.run_dir.layout import OOF_CANDIDATES, STACK
from ensemble.run_dir.stack_files import read_candidates, read_verdict
from ensemble.run_dir.tables import read_table
from ensemble.stacking.made_from import other_basis, other_folds, read_stack_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.oof.store import FoldStore
    from ensemble.plugin.base import FloatArray

CHOSEN = "stack"
"""Stands for the candidate that the verdict chose."""
_SCHEMA = {
    "candidate": pl.String(),
    "id": pl.String(),
    **dict.fromkeys(CLASSES, pl.Float64()),
    "fold": pl.Int32(),
}
_HINT = "run `ensemble stack CONFIG`"


def candidate_names(run: Path) -> list[str]:
    """List what a stack can be asked for: ``stack``, and every candidate; empty without a stack.

    Raises
    ------
    ArtifactError
        The stack is damaged.
    """
    if not (run / STACK).exists():
        return []
    read_stack_manifest(run)
    return [CHOSEN, *(entry["name"] for entry in _verdict(run)["candidates"])]


def read_candidate(
    store: FoldStore, name: str, rows: pl.DataFrame
) -> tuple[FloatArray, dict[str, Any]]:
    """Read the nested predictions of one candidate.

    Parameters
    ----------
    store
        The folds of the run.
    name
        Of ``candidate_names``.
    rows
        ``id``, ``fold`` of ``n`` target rows.

    Returns
    -------
    tuple
        ``(n, 3)`` probabilities, NaN where a row was not scored, and JSON that names them:
        ``candidate``, ``stack`` (its key), ``oof`` (hash of the predictions) and ``learners``.

    Raises
    ------
    ArtifactError
        The stack is damaged or was made from something else than the run has now.
    UnknownNameError
        It has no such candidate.
    """
    directory = store.run / STACK
    manifest = refuse_stale(store)
    verdict = _verdict(store.run)
    candidate = verdict["chosen"] if name == CHOSEN else name
    known = [entry["name"] for entry in verdict["candidates"]]
    if name == CHOSEN and candidate not in known:
        raise ArtifactError(
            "the verdict chooses a candidate that it does not have",
            where=str(directory),
            hint=_HINT,
        )
    if candidate not in known:
        raise unknown_name("candidate", name, [CHOSEN, *known])
    path = directory / OOF_CANDIDATES
    table = _table(path).filter(pl.col("candidate") == candidate)
    if table["id"].is_duplicated().any():
        raise ArtifactError("a row is scored more than once", where=str(path), hint=_HINT)
    joined = rows.select("id", "fold").join(
        table, on="id", how="left", maintain_order="left", suffix="_scored", validate="1:1"
    )
    odd = joined.filter(pl.col("fold_scored") != pl.col("fold"))
    if len(odd):
        raise ArtifactError(
            f"{len(odd):,} rows were scored in another fold than the plan's",
            where=str(path),
            hint=_HINT,
        )
    values = joined.select(pl.col(CLASSES).fill_null(np.nan)).to_numpy().astype(np.float64)
    return values, {
        "candidate": candidate,
        "stack": manifest["key"],
        "oof": manifest["files"][OOF_CANDIDATES],
        "learners": list(manifest["key_parts"]["folds"]),
    }


def refuse_stale(store: FoldStore) -> dict[str, Any]:
    """Give the stack's manifest; errors as ``read_candidate`` has them.

    Raises
    ------
    ArtifactError
        The stack is damaged or was made from something else than the run has now.
    """
    manifest = read_stack_manifest(store.run)
    if fault := stack_fault(store, manifest):
        raise ArtifactError(fault, where=str(store.run / STACK), hint=_HINT)
    return manifest


def stack_fault(store: FoldStore, manifest: dict[str, Any]) -> str | None:
    """Say what a stack was made from that the run does not have now; None where it has all."""
    for name in other_basis(store, manifest):
        return f"the stack belongs to another {name}"
    for learner, fit in other_folds(store, manifest):
        return (
            f"the stack was made from other predictions of learner {learner}: "
            f"{fit} is missing, damaged or another one now"
        )
    return None


def description(run: Path, candidate: str) -> dict[str, Any]:
    """Give what a candidate of a stack learned; empty where it does not say."""
    tables = read_candidates(run / STACK)["candidates"]
    return next((dict(one["description"]) for one in tables if one["name"] == candidate), {})


def _verdict(run: Path) -> dict[str, Any]:
    return read_verdict(run / STACK)


def _table(path: Path) -> pl.DataFrame:
    return read_table(path, _SCHEMA, hint=_HINT)
