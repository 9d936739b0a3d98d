"""The stack stage: every candidate scored by nested cross-validation, one chosen, all stored.

``stack/`` holds ``candidates.json``, ``verdict.json``, ``oof.parquet`` (nested predictions of the
chosen candidate, with the outer fold that gave each), ``oof_candidates.parquet`` (those of all) and
``model/<candidate>/``, fitted on all rows, so that another choice needs no new fit. Its manifest
records, under ``nested``, the rows that candidates were fitted on for each outer fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import DataError, unknown_name
from ensemble.evaluation.bootstrap import RESAMPLES
from ensemble.evaluation.losses import class_prior_losses, row_log_loss
from ensemble.evaluation.ties import leave_out_tie
from ensemble.run_dir.layout import MODEL
from ensemble.run_dir.stack_files import write_stack_tables
from ensemble.stacking.calls import save_validated
from ensemble.stacking.choice import make_verdict
from ensemble.stacking.doubt import with_doubt, with_gaps
from ensemble.stacking.gap import nesting_gaps
from ensemble.stacking.listed import list_candidates
from ensemble.stacking.nested import scored_rows
from ensemble.stacking.outputs import (
    ScoredCandidate,
    losses_of,
    nested_record,
    on_rows,
    replicates_of,
    score_tables,
    write_predictions,
)
from ensemble.stacking.parts import in_parts
from ensemble.stacking.sanity import doubts_about
from ensemble.stacking.scoring import score_alone
from ensemble.stacking.seed_spread import seed_replicates
from ensemble.stacking.verdict import AUTO
from ensemble.storage.directories import atomic_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ensemble.config.settings import Metric
    from ensemble.failure import Failure
    from ensemble.plugin.base import FloatArray, MetaLearner
    from ensemble.stacking.data import StackData
    from ensemble.stacking.tries import TryStore

VERSION = 9
"""Raise it when the same logits come to give other candidates, scores or verdicts."""


def run_stack(
    directory: Path,
    data: StackData,
    *,
    meta_learner: Callable[[], MetaLearner] | None,
    meta_learner_name: str,
    choose: str = AUTO,
    seed: int,
    threads: int,
    manifest: Mapping[str, Any],
    resamples: int = RESAMPLES,
    tries: TryStore | None = None,
    progress: Callable[[float, str], None] | None = None,
    limit: float | None = None,
    failed: Sequence[Failure] = (),
    metric: Metric = "log_loss",
) -> dict[str, Any]:
    """Score all candidates, decide, fit all on all rows, and store everything at once.

    Parameters
    ----------
    directory
        Where ``stack/`` goes; a former one is replaced only when the new one is whole.
    data
        Target rows. Those that a learner has not predicted are counted and left out.
    meta_learner
        Makes an unfitted meta-learner; None where only simple candidates are wanted.
    meta_learner_name
        The meta-learner's name as a candidate.
    choose
        ``"auto"`` or a candidate's name.
    seed, threads
        Seed of fits and bootstrap; CPU threads for a fit.
    manifest
        What made the stack, kept in its manifest.
    resamples
        Bootstrap draws.
    tries
        Where the run remembers what was scored; None remembers nothing.
    progress
        ``progress(done, message)`` with ``done`` in [0, 1].
    limit
        Seconds that the meta-learner may take for all that it does; None sets no limit.
    failed
        Why the meta-learner is not tried: it has failed elsewhere.
    metric
        What candidates are chosen by. Both metrics are measured in any case.

    Returns
    -------
    dict
        The verdict, as in ``verdict.json``. A meta-learner that fails leaves the simple
        candidates; ``failed`` says why, and so does the sentence.

    Raises
    ------
    DataError
        Logits are infinite, or no row has been predicted by all learners.
    FoldError
        A cluster lies in two folds, or there is only one fold.
    LearnerError
        A simple candidate failed.
    UnknownNameError
        ``choose`` is no candidate; raised before anything is fitted.
    """
    candidates = list_candidates(len(data.meta.learners), meta_learner, meta_learner_name, metric)
    names = [candidate.name for candidate in candidates]
    if choose not in (AUTO, *names):
        raise unknown_name("candidate", choose, [AUTO, *names])
    rows = _predicted_rows(data)
    scored_data = data.take(rows)
    if len(np.unique(data.folds)) > 1:
        scored_data = in_parts(scored_data, seed)
    tell = progress or (lambda _done, _message: None)
    scored, replicates = [], seed_replicates(scored_data, seed)
    failures = list(failed)
    for i, candidate in enumerate(candidates):
        tell(i / len(candidates), f"candidate {candidate.name}")
        found = score_alone(candidate, scored_data, seed, threads, replicates, limit, failures)
        scored += [found] if found else []
    candidates = [one.candidate for one in scored]
    fitted_data, everywhere = scored_data, scored
    judged = scored_rows(fitted_data.folds, fitted_data.rules)
    scored_data, scored = fitted_data.take(judged), [on_rows(one, judged) for one in scored]
    if choose not in (AUTO, *(candidate.name for candidate in candidates)):
        choose = AUTO  # what the config asks for has failed
    tell(1.0, "verdict")
    bootstrap = {"resamples": resamples, "seed": seed}
    losses = losses_of(scored, scored_data.labels)
    verdict = make_verdict(
        candidates,
        losses,
        scored_data,
        errors=losses_of(scored, scored_data.labels, "accuracy"),
        metric=metric,
        choose=choose,
        parts=manifest.get("key_parts", {}),
        unproven=manifest.get("unproven", ()),
        tries=tries,
        replicates=replicates_of(scored, metric),
        resamples=resamples,
        seed=seed,
        threads=threads,
    )
    tables = score_tables(scored, scored_data, **bootstrap)
    for entry, measured in zip(verdict["candidates"], tables["candidates"], strict=True):
        entry |= {key: measured[key] for key in ("log_loss", "low", "high", "accuracy")}
    gaps = _gaps(scored, scored_data, losses, bootstrap)
    for entry in (*verdict["candidates"], *tables["candidates"]):
        entry |= gaps.get(entry["name"], {})
    tables |= {
        "rows_scored": len(scored_data.ids),
        "rows_missing": len(data.ids) + len(data.unscored) - len(scored_data.ids),
        "missing_by_learner": _missing_by_learner(data),
        "clusters": verdict["clusters"],
        "resamples": resamples,
        "metric": metric,
        **_against_class_prior(fitted_data, scored_data, judged),
    }
    doubted = manifest.get("unproven", ()), manifest.get("plan_doubt", "")
    verdict = with_doubt(verdict, tables, *doubted) | {"doubts": tables["doubts"]}
    verdict = with_gaps(verdict, manifest, failures)
    stored = {**manifest, "nested": nested_record(fitted_data)}
    if failures:
        stored["failed"] = [one.to_json() for one in failures]
    with atomic_directory(directory, stored) as path:
        write_stack_tables(path, verdict, tables)
        write_predictions(path, data, rows, fitted_data.parts, everywhere, verdict["chosen"])
        for one in scored:
            made, place = one.candidate, path / MODEL / one.candidate.name
            save_validated(made.where, made.make, one.model, place, scored_data.meta)
    return verdict


def _predicted_rows(data: StackData) -> NDArray[np.bool_]:
    """Mark the rows that every learner has predicted: ``(n,)``."""
    infinite = np.isinf(data.meta.logits).any(axis=(0, 2))
    if infinite.any():
        names = [data.meta.learners[i] for i in np.flatnonzero(infinite)]
        raise DataError("OOF logits are infinite", where=f"learners {', '.join(names)}")
    rows = np.asarray(~np.isnan(data.meta.logits).any(axis=(1, 2)))
    if not rows.any():
        raise DataError(
            f"none of {len(rows)} rows has been predicted by all learners",
            where=", ".join(data.meta.learners),
            hint="fit the same folds of every learner",
        )
    return rows


def _missing_by_learner(data: StackData) -> dict[str, int]:
    """Count the rows that each learner has no prediction of; those that lack none are left out."""
    counts = np.isnan(data.meta.logits).any(axis=2).sum(axis=0).tolist()
    return {name: n for name, n in zip(data.meta.learners, counts, strict=True) if n}


def _against_class_prior(
    data: StackData, scored: StackData, judged: NDArray[np.bool_]
) -> dict[str, Any]:
    """Score the class prior on the rows that are judged, and doubt learners by it."""
    prior = float(class_prior_losses(data.labels, data.outer)[judged].mean())
    errors = class_prior_losses(data.labels, data.outer, "accuracy")[judged]
    meta = scored.meta
    doubts = [
        doubt
        for i, name in enumerate(meta.learners)
        for doubt in doubts_about(
            name, leave_out_tie(meta.logits[:, i], ties=meta.ties), scored.labels, prior
        )
    ]
    accuracy = 1.0 - float(errors.mean())
    return {"class_prior": prior, "class_prior_accuracy": accuracy, "doubts": doubts}


def _gaps(
    scored: Sequence[ScoredCandidate], data: StackData, exact: FloatArray, bootstrap: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """Say how plain nesting would have scored each candidate, where exact nesting is in use."""
    plain = [one.plain for one in scored if one.plain is not None]
    if not plain:
        return {}
    losses = np.column_stack([row_log_loss(data.labels, each) for each in plain])
    names = [one.candidate.name for one in scored]
    return nesting_gaps(exact, losses, data.clusters, names, **bootstrap)
