"""From scored candidates to the verdict, with all that is held against its score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.evaluation.bootstrap import RESAMPLES
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.evaluation.selection import Stratified, correct_for_choice, stratification_optimism
from ensemble.stacking.gap import nesting_record
from ensemble.stacking.leakage import find_leakage
from ensemble.stacking.tries import META_LEARNER, Try, candidate_try, learner_try
from ensemble.stacking.verdict import AUTO, decide
from ensemble.stacking.verdict_text import describe_stratification, describe_tries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    choose: str = AUTO,
    parts: Mapping[str, Any],
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
    choose
        ``"auto"`` or a candidate's name.
    parts
        ``key_parts`` of the stack's manifest.
    tries
        Where what was scored is remembered; None remembers nothing.
    replicates
        ``(r, n, n_candidates)`` the same losses under other draws of the learners' seeds, or None.
    resamples, seed
        Bootstrap draws and their seed.
    threads
        CPU threads.

    Returns
    -------
    dict
        The content of ``verdict.json``.
    """
    scored = _scored(candidates, losses, data, parts)
    if tries is not None:
        tries.record(data.ids, scored)
        scored = tries.read(data.ids) | scored
    metas = sum(one.kind == META_LEARNER for one in scored)
    flattered = _flattery(data, seed)
    verdict = decide(
        candidates,
        losses,
        data.clusters,
        choose=choose,
        leakage=_leakage(candidates, data, seed, threads),
        flattery=flattered.excess,
        attempts=max(metas, 1),
        replicates=replicates,
        resamples=resamples,
        seed=seed,
    )
    verdict["nesting"] = nesting_record(data)
    verdict["tries"] = _describe_tries(verdict, scored, data, seed)
    verdict["stratification"] = flattered._asdict()
    more = [describe_tries(verdict["tries"]), describe_stratification(flattered)]
    for key in ("sentence", "evidence"):
        verdict[key] = " ".join(text for text in [verdict[key], *more] if text)
    return verdict


def _flattery(data: StackData, seed: int) -> Stratified:
    """Measure what equal shares of classes flatter by; blocks of time do not have them."""
    if data.rules.is_ordered:
        return Stratified(0.0, 0.0)
    return stratification_optimism(data.labels, data.clusters, data.outer, data.sources, seed=seed)


def _leakage(
    candidates: Sequence[Candidate], data: StackData, seed: int, threads: int
) -> Leakage | None:
    """Test the learners without pair fits, where there is a meta-learner to hold it against."""
    tested = nesting_record(data)["plain"]
    if not tested or all(candidate.simple for candidate in candidates):
        return None
    return find_leakage(
        data.meta, data.labels, data.outer, data.clusters, tested, seed=seed, threads=threads
    )


def _scored(
    candidates: Sequence[Candidate], losses: FloatArray, data: StackData, parts: Mapping[str, Any]
) -> dict[Try, FloatArray]:
    """Name everything that is scored here, with its losses ``(n,)``."""
    origins = parts.get("folds", {})
    found = {
        learner_try(name, origins.get(name, {"name": name})): row_log_loss(
            data.labels, softmax(data.meta.logits[:, i])
        )
        for i, name in enumerate(data.meta.learners)
    }
    for candidate, own in zip(candidates, losses.T, strict=True):
        found[candidate_try(candidate.name, parts, simple=candidate.simple)] = own
    return found


def _describe_tries(
    verdict: Mapping[str, Any], scored: Mapping[Try, FloatArray], data: StackData, seed: int
) -> dict[str, Any]:
    """Correct the log loss of what was chosen for the number of tries."""
    columns = [losses for losses in scored.values() if np.isfinite(losses).all()]
    found = correct_for_choice(np.column_stack(columns), data.clusters, seed=seed)
    own = next(
        float(entry["log_loss"])
        for entry in verdict["candidates"]
        if entry["name"] == verdict["chosen"]
    )
    ends = [None if end is None else end + own - found.best for end in (found.low, found.high)]
    return {
        "n": len(scored),
        "compared": len(columns),
        "meta_learners": sum(one.kind == META_LEARNER for one in scored),
        "log_loss": own,
        "corrected_log_loss": own + found.optimism,
        "optimism": found.optimism,
        "low": ends[0],
        "high": ends[1],
    }
