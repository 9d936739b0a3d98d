"""The scores of a run, finished or not, as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.split import read_split_summary
from ensemble.compare.folds import read_manifests
from ensemble.compare.stacked import refuse_stale
from ensemble.errors import ArtifactError
from ensemble.evaluation.losses import row_errors, row_log_loss, softmax
from ensemble.evaluation.scores import NO_SCORE, Score, accuracies, scores
from ensemble.run_dir.layout import CANDIDATES, STACK
from ensemble.run_dir.stack_files import read_verdict
from ensemble.run_dir.stack_records import Candidates

if TYPE_CHECKING:
    from ensemble.config.settings import Config
    from ensemble.evaluation.intervals import Estimate
    from ensemble.oof.eval_set import EvalSet
    from ensemble.oof.store import FoldStore
    from ensemble.run_dir.stack_records import Interval

SCORE_SCHEMA: dict[str, Any] = {
    "name": pl.String,
    "kind": pl.String,
    "log_loss": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "accuracy": pl.Float64,
    "accuracy_low": pl.Float64,
    "accuracy_high": pl.Float64,
    "rows": pl.Int64,
    "folds": pl.Int64,
    "chosen": pl.Boolean,
    "proven": pl.Boolean,
}


def score_table(config: Config, store: FoldStore, eval_set: EvalSet) -> pl.DataFrame:
    """Score learners and, where there is a stack of them as they are, its candidates.

    Parameters
    ----------
    config
        The run's own.
    store, eval_set
        Its folds, and the rows that scores are made on.

    Returns
    -------
    polars.DataFrame
        ``SCORE_SCHEMA``, best first by the metric of the task; null where something was not
        measured.

    Raises
    ------
    ArtifactError
        A fold or the stack is damaged, or folds were made with different settings.
    """
    names = [learner.name for learner in config.learners if store.fitted_folds(learner.name)]
    rows = [_learner(config, store, eval_set, name) for name in names]
    stacked = _stack(store)
    known = {one.name: one for one in stacked.learners} if stacked else {}
    for row in rows:
        one = known.get(row["name"])
        if one is not None and one.log_loss is not None and _same(one.log_loss, row["log_loss"]):
            row |= {"low": one.low, "high": one.high, **_accuracy(one.accuracy)}
    table = pl.DataFrame([*rows, *_candidates(store, stacked)], schema=SCORE_SCHEMA)
    by_accuracy = config.task.metric == "accuracy"
    by = ["accuracy", "log_loss"] if by_accuracy else ["log_loss"]
    return table.sort(
        by, descending=[one == "accuracy" for one in by], nulls_last=True, maintain_order=True
    )


def _learner(config: Config, store: FoldStore, eval_set: EvalSet, name: str) -> dict[str, Any]:
    manifests = read_manifests(store, config.learner(name))
    probabilities, clusters = softmax(store.oof(name, eval_set)), eval_set.clusters
    losses = row_log_loss(eval_set.labels, probabilities)
    errors = row_errors(eval_set.labels, probabilities)
    found = scores(losses[:, None], clusters)[0] if len(losses) else NO_SCORE
    accuracy = accuracies(errors[:, None], clusters)[0] if len(losses) else None
    is_known = all(one.get("training_rows") == "recorded" for one in manifests.values())
    return {
        "name": name,
        "kind": "teacher" if config.learner(name).privileged else "learner",
        **_numbers(found),
        **_accuracy(accuracy),
        "folds": len(manifests),
        "chosen": None,
        "proven": is_known and not read_split_summary(store.run).doubt,
    }


def _numbers(found: Score) -> dict[str, Any]:
    ends = {"log_loss": found.log_loss, "low": found.low, "high": found.high}
    measured = {key: float(value) if np.isfinite(value) else None for key, value in ends.items()}
    return {**measured, "rows": found.rows}


def _accuracy(found: Estimate | Interval | None) -> dict[str, Any]:
    ends = (None, None, None) if found is None else (found.mean, found.low, found.high)
    names = ("accuracy", "accuracy_low", "accuracy_high")
    measured = (None if x is None or not np.isfinite(x) else x for x in ends)
    return dict(zip(names, measured, strict=True))


def _stack(store: FoldStore) -> Candidates | None:
    """Read the scores of a stack; None where there is none, or none of the run as it is now."""
    if not (store.run / STACK).exists():
        return None
    try:
        refuse_stale(store)
        return Candidates.read(store.run / STACK / CANDIDATES)
    except ArtifactError:
        return None


def _candidates(store: FoldStore, stacked: Candidates | None) -> list[dict[str, Any]]:
    if stacked is None:
        return []
    verdict = read_verdict(store.run / STACK)
    doubted = verdict.get("unproven", {}).get("candidates", [])
    return [
        {
            "name": one.name,
            "kind": "candidate",
            "log_loss": one.log_loss,
            "low": one.low,
            "high": one.high,
            **_accuracy(one.accuracy),
            "rows": stacked.rows_scored,
            "folds": None,
            "chosen": one.name == verdict["chosen"],
            "proven": one.name not in doubted,
        }
        for one in stacked.candidates
    ]


def _same(first: float, second: float | None) -> bool:
    return second is not None and math.isclose(first, second, abs_tol=1e-6)
