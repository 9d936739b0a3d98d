"""The check of an audit that scores are those of the stored predictions on the stored labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.errors import ArtifactError
from ensemble.evaluation.losses import row_errors, row_log_loss, softmax
from ensemble.plugin.base import CLASSES
from ensemble.run_dir.layout import CANDIDATES, OOF, OOF_CANDIDATES, STACK, VERDICT
from ensemble.run_dir.stack_files import read_candidates, read_verdict
from ensemble.run_dir.tables import read_table
from ensemble.stacking.tries import TryStore
from ensemble.storage.directories import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ensemble.audit.checks import CheckList
    from ensemble.oof.eval_set import EvalSet
    from ensemble.oof.store import FoldStore
    from ensemble.plugin.base import FloatArray

    _Named = tuple[str, tuple[float, float]]

_TOLERANCE = 1e-6
"""Nats. Scores are stored with all their digits: what differs more is not rounding."""


def check_scores(store: FoldStore, eval_set: EvalSet, ledger: CheckList) -> None:
    """Check what the stack's files say of scores against its predictions and the labels.

    Parameters
    ----------
    store
        The folds.
    eval_set
        The rows that scores are made on.
    ledger
        Takes what holds and what does not.
    """
    directory = store.run / STACK
    try:
        manifest = read_manifest(directory)
        tables, verdict = read_candidates(directory), read_verdict(directory)
        nested = read_table(directory / OOF_CANDIDATES, ["candidate", "id", *CLASSES])
        chosen = read_table(directory / OOF, ["id", *CLASSES])
    except ArtifactError:
        return  # not there, or damaged: `check_stack` says so
    title = "stack: its predictions are those of the chosen candidate"
    same = _same_rows(chosen, nested.filter(pl.col("candidate") == verdict["chosen"]))
    told = None if same else f"{OOF} has other rows than {verdict['chosen']} of all candidates"
    ledger.settle(title, told, str(verdict["chosen"]))
    found = dict(_candidate_scores(nested, eval_set.rows))
    found |= dict(_learner_scores(store, manifest["learners"], chosen, eval_set))
    losses = {name: loss for name, (loss, _) in found.items()}
    said = [
        *((CANDIDATES, one) for one in (*tables["candidates"], *tables["learners"])),
        *((VERDICT, one) for one in verdict["candidates"]),
    ]
    odd = [
        f"{one['name']} in {file} ({one['log_loss']:.6f}, and it is {_told(losses, one['name'])})"
        for file, one in said
        if not abs(losses.get(one["name"], np.nan) - float(one["log_loss"])) < _TOLERANCE
    ]
    title = "stack: log losses are those of the stored predictions on the stored labels"
    ledger.settle(title, "; ".join(odd), f"{len(losses)} log losses computed anew")
    accuracies = {name: accuracy for name, (_, accuracy) in found.items()}
    odd = [
        f"{one['name']} in {file}"
        for file, one in said
        if not abs(accuracies.get(one["name"], np.nan) - _accuracy_of(one)) < _TOLERANCE
    ]
    title = "stack: accuracies are those of the stored predictions on the stored labels"
    ledger.settle(title, "; ".join(odd), f"{len(accuracies)} accuracies computed anew")


def _accuracy_of(entry: Mapping[str, Any]) -> float:
    mean = (entry.get("accuracy") or {}).get("mean")
    return np.nan if mean is None else float(mean)


def check_tries(run: Path, scored: str, ledger: CheckList) -> None:
    """Check that what the chosen score was corrected for is remembered still, all of it.

    Parameters
    ----------
    run
        The run directory.
    scored
        Of ``scored_rows``: what tries are of.
    ledger
        Takes the check.
    """
    if not (run / STACK).exists():
        return  # noted as missing
    counted = read_verdict(run / STACK)["tries"]["n"]
    store = TryStore(run, scored)
    known, fault = store.count(), None
    if known < counted:
        lost = "".join(f"; {name} is gone or damaged" for name in store.lost())
        fault = f"corrected for {counted} tries, and {known} are there{lost}"
    name = "stack: all that it was corrected for is remembered"
    ledger.settle(name, fault, f"the best of {counted}; {known} tries are there")


def _told(losses: Mapping[str, float], name: str) -> str:
    return f"{losses[name]:.6f}" if name in losses else "of nothing that is stored"


def _same_rows(first: pl.DataFrame, second: pl.DataFrame) -> bool:
    one, other = (frame.select("id", *CLASSES).sort("id") for frame in (first, second))
    return one["id"].equals(other["id"]) and np.array_equal(
        one.select(CLASSES).to_numpy(), other.select(CLASSES).to_numpy(), equal_nan=True
    )


def _candidate_scores(nested: pl.DataFrame, battles: pl.DataFrame) -> Iterator[_Named]:
    for (name,), table in nested.partition_by("candidate", as_dict=True).items():
        joined = table.join(battles.select("id", *LABEL_COLUMNS), on="id", how="left")
        yield str(name), _scores(joined, joined.select(CLASSES).to_numpy())


def _learner_scores(
    store: FoldStore, learners: list[str], chosen: pl.DataFrame, eval_set: EvalSet
) -> Iterator[_Named]:
    """Score learners on the rows that the stack was scored on."""
    scored = chosen.filter(pl.col(CLASSES[0]).is_not_nan() & pl.col(CLASSES[0]).is_not_null())
    rows = eval_set.only(scored["id"])
    for name in learners:
        try:
            logits = store.oof(name, rows)
        except ArtifactError:
            continue  # the check of its folds says so; its score is then of nothing
        yield name, _scores(rows.rows, softmax(logits))


def _scores(rows: pl.DataFrame, probabilities: FloatArray) -> tuple[float, float]:
    """Give log loss and accuracy of the rows that are predicted; NaN where none is."""
    labels: Any = rows.select(LABEL_COLUMNS).to_numpy().astype(np.float64)
    losses = row_log_loss(labels, probabilities)
    scored = np.isfinite(losses)
    if not scored.any():
        return float("nan"), float("nan")
    errors = row_errors(labels, probabilities)[scored]
    return float(losses[scored].mean()), 1.0 - float(errors.mean())
