"""From scored candidates to the verdict, with all that is held against its score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.evaluation.accuracy import as_accuracy
from ensemble.evaluation.bootstrap import RESAMPLES
from ensemble.evaluation.intervals import Estimate
from ensemble.evaluation.selection import Stratified, correct_for_choice, stratification_optimism
from ensemble.stacking.gap import nesting_record
from ensemble.stacking.leakage import find_leakage
from ensemble.stacking.seed_spread import learner_losses
from ensemble.stacking.tries import META_LEARNER, Try, candidate_try, learner_try
from ensemble.stacking.verdict import AUTO, decide
from ensemble.stacking.verdict_text import describe_stratification, describe_tries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.config.settings import Metric
    from ensemble.plugin.base import FloatArray
    from ensemble.stacking.candidates import Candidate
    from ensemble.stacking.data import StackData
    from ensemble.stacking.leakage import Leakage
from ensemble.stacking.tries import TryStore


def make_verdict(
    candidates: Sequence[Candidate],
    losses: FloatArray,
    data: StackData,
    *,
    errors: FloatArray | None = None,
    metric: Metric = "log_loss",
    choose: str = AUTO,
    parts: Mapping[str, Any],
    unproven: Sequence[str] = (),
    tries: TryStore | None = None,
    replicates: FloatArray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    threads: int = 1,
) -> dict[str, Any]:
    """Decide, and say what the scores owe to leaked labels, to choosing, and to equal shares.

    Parameters
    ----------
    candidates
        In the order of the columns of ``losses``.
    losses
        ``(n, n_candidates)`` log loss of each row under nested cross-validation.
    data
        The rows that were scored.
    errors
        The same of the accuracy, as ``row_errors`` gives it; None where nothing is chosen by it.
    metric
        What is chosen by.
    choose
        ``"auto"`` or a candidate's name.
    parts
        ``key_parts`` of the stack's manifest.
    unproven
        Learners of which nobody knows what their models were trained on.
    tries
        Where what was scored is remembered; None remembers nothing.
    replicates
        ``(r, n, n_candidates)`` what is chosen by under other draws of the learners' seeds, or
        None.
    resamples, seed
        Bootstrap draws and their seed.
    threads
        CPU threads.

    Returns
    -------
    dict
        The content of ``verdict.json``.
    """
    measured: dict[Metric, FloatArray] = {"log_loss": losses}
    if errors is not None:
        measured["accuracy"] = errors
    by_metric = {
        one: _tried(candidates, values, data, parts, one) for one, values in measured.items()
    }
    known = by_metric[metric]
    if tries is not None:
        tries.record(data.ids, by_metric["log_loss"], errors=by_metric.get("accuracy", {}))
        known = tries.read(data.ids, metric) | known
    metas = sum(one.kind == META_LEARNER for one in known)
    flattered = _flattery(data, seed, metric)
    nesting = nesting_record(data, unproven)
    verdict = decide(
        candidates,
        measured[metric],
        data.clusters,
        metric=metric,
        choose=choose,
        leakage=_leakage(candidates, data, nesting["plain"], seed, threads),
        flattery=flattered.excess,
        attempts=max(metas, 1),
        replicates=replicates,
        resamples=resamples,
        seed=seed,
    )
    verdict["nesting"] = nesting
    verdict["tries"] = _describe_tries(verdict, known, data, seed, metric)
    verdict["stratification"] = flattered._asdict()
    more = [describe_tries(verdict["tries"]), describe_stratification(flattered, metric)]
    for key in ("sentence", "evidence"):
        verdict[key] = " ".join(text for text in [verdict[key], *more] if text)
    return verdict


def _flattery(data: StackData, seed: int, metric: Metric) -> Stratified:
    """Measure what equal shares of classes flatter by; blocks of time do not have them."""
    if data.rules.is_ordered:
        return Stratified(0.0, 0.0)
    return stratification_optimism(
        data.labels, data.clusters, data.outer, data.sources, seed=seed, metric=metric
    )


def _leakage(
    candidates: Sequence[Candidate], data: StackData, tested: list[str], seed: int, threads: int
) -> Leakage | None:
    """Test the learners without pair fits, where there is a meta-learner to hold it against."""
    if not tested or all(candidate.simple for candidate in candidates):
        return None
    return find_leakage(
        data.meta, data.labels, data.outer, data.clusters, tested, seed=seed, threads=threads
    )


def _tried(
    candidates: Sequence[Candidate],
    losses: FloatArray,
    data: StackData,
    parts: Mapping[str, Any],
    metric: Metric,
) -> dict[Try, FloatArray]:
    """Name everything that is scored here, with its log losses or errors ``(n,)``."""
    origins = parts.get("folds", {})
    singles = learner_losses(data.meta, data.labels, metric)
    found = {
        learner_try(name, origins.get(name, {"name": name})): singles[:, i]
        for i, name in enumerate(data.meta.learners)
    }
    for candidate, own in zip(candidates, losses.T, strict=True):
        found[candidate_try(candidate.name, parts, simple=candidate.simple)] = own
    return found


def _describe_tries(
    verdict: Mapping[str, Any],
    scored: Mapping[Try, FloatArray],
    data: StackData,
    seed: int,
    metric: Metric,
) -> dict[str, Any]:
    """Correct the score of what was chosen for the number of tries."""
    columns = [losses for losses in scored.values() if np.isfinite(losses).all()]
    found = correct_for_choice(np.column_stack(columns), data.clusters, seed=seed)
    chosen = next(one for one in verdict["candidates"] if one["name"] == verdict["chosen"])
    is_accuracy = metric == "accuracy"
    own = 1.0 - chosen["accuracy"]["mean"] if is_accuracy else float(chosen["log_loss"])
    low, high = (None if x is None else x + own - found.best for x in (found.low, found.high))
    corrected = Estimate(own + found.optimism, low, high)
    shown = as_accuracy(corrected) if is_accuracy else corrected
    return {
        "n": len(scored),
        "compared": len(columns),
        "meta_learners": sum(one.kind == META_LEARNER for one in scored),
        metric: 1.0 - own if is_accuracy else own,
        f"corrected_{metric}": shown.mean,
        "optimism": found.optimism,
        "low": shown.low,
        "high": shown.high,
    }
