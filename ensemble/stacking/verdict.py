"""Which candidate to use, and the evidence for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import unknown_name
from ensemble.evaluation.accuracy import as_accuracy
from ensemble.evaluation.bootstrap import RESAMPLES, bootstrap_means, effective_clusters
from ensemble.evaluation.intervals import LEVEL, MIN_CLUSTERS, Estimate, estimate
from ensemble.stacking.evidence import Evidence
from ensemble.stacking.verdict_text import describe_evidence, describe_outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.config.settings import Metric
    from ensemble.plugin.base import FloatArray, IntArray
    from ensemble.stacking.candidates import Candidate
    from ensemble.stacking.leakage import Leakage

AUTO = "auto"
"""The value of ``choose`` that leaves the choice to the evidence."""

METHOD = (
    "upper 95% limit of what a stack can gain by labels of other folds in the logits that it is "
    "fitted on, from the logits of neighbors in the own and in other folds; 0 where a test with an "
    "error rate of 5% a run finds none"
)

_STACK_WINS = (
    "the meta-learner is used: its gain over the best simple candidate has an interval above 0"
)
_BEST_WINS = (
    "the best simple candidate: no meta-learner is shown to gain over it, "
    "and every simpler candidate is shown to be worse"
)
_SIMPLEST_WINS = (
    "the best simple candidate, which is the simplest of all: "
    "no meta-learner is shown to gain over it"
)
_SIMPLER_WINS = (
    "the simplest candidate that is not shown to be worse than the best simple one: "
    "the interval of its difference to it includes 0"
)
_SMALL_SAMPLE = (
    f"small sample: fewer than {MIN_CLUSTERS:.0f} effective clusters show no difference, so the "
    "simplest candidate is used"
)
_BY_CONFIG = "chosen by the config"


def decide(
    candidates: Sequence[Candidate],
    losses: FloatArray,
    clusters: IntArray,
    *,
    metric: Metric = "log_loss",
    choose: str = AUTO,
    leakage: Leakage | None = None,
    flattery: float = 0.0,
    attempts: int = 1,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    replicates: FloatArray | None = None,
) -> dict[str, Any]:
    """Choose a candidate by a paired bootstrap over clusters.

    A meta-learner is chosen where the interval of its gain over the best simple candidate, less
    the bound of its bias, lies above 0. Otherwise the simplest of the simple candidates is, whose
    difference to the best of them has an interval that includes 0. With fewer than
    ``MIN_CLUSTERS`` effective clusters there are no intervals: the simplest candidate is chosen.

    Parameters
    ----------
    candidates
        The candidates, in the order of the columns of ``losses``; one at least is simple.
    losses
        ``(n, n_candidates)`` log loss of each row under nested cross-validation, finite; or, to
        choose by accuracy, its error, as ``row_errors`` gives it.
    clusters
        ``(n,)`` cluster of each row.
    metric
        What ``losses`` are.
    choose
        ``"auto"``, or the name of the candidate to use whatever the evidence says.
    leakage
        What a stack can gain by labels that leak through logits; None where all nesting is exact.
    flattery
        What a stack that tells the source can gain by folds with equal class shares in each
        source, in units of the metric.
    attempts
        How many meta-learners were scored on these folds, this one included: the interval of its
        gain misses with probability ``(1 - level) / attempts`` (Bonferroni).
    resamples, seed, level
        Bootstrap draws, their seed, and what the intervals cover.
    replicates
        ``(r, n, n_candidates)`` the same losses under other draws of the learners' seeds, which the
        intervals then contain; None where each learner has one.

    Returns
    -------
    dict
        The content of ``verdict.json``. A gain is the loss of the best simple candidate minus that
        of the candidate, and so its accuracy minus that of the other: positive is better.

    Raises
    ------
    UnknownNameError
        ``choose`` is no candidate.

    Notes
    -----
    The best simple candidate is the best on these very rows, which favors it a little: a
    meta-learner has to win against that too.
    """
    names = [candidate.name for candidate in candidates]
    if choose not in (AUTO, *names):
        raise unknown_name("candidate", choose, [AUTO, *names])
    drawn = losses if replicates is None else replicates
    samples = bootstrap_means(drawn, clusters, resamples=resamples, seed=seed)
    found = _weigh(
        candidates, losses, samples, clusters, leakage, flattery, attempts, level, metric
    )
    winner, rule = _by_evidence(found, losses.mean(axis=0))
    chosen = winner if choose == AUTO else names.index(choose)
    asked = choose != AUTO
    outcome = describe_outcome(found, chosen, asked=asked)
    evidence = describe_evidence(found, winner, chosen)
    return {
        "chosen": names[chosen],
        "metric": metric,
        "rule": _BY_CONFIG if asked else rule,
        "would_have_chosen": names[winner],
        "best_simple": names[found.best],
        "sentence": f"{outcome} {evidence}".rstrip(),
        "evidence": evidence,
        "candidates": [_described(found, i) for i in range(len(names))],
        "bias_bound": _described_bound(leakage),
        "rows": len(losses),
        "clusters": len(np.unique(clusters)),
        "effective_clusters": round(found.effective, 1),
        "small_sample": found.small,
        "resamples": resamples,
        "level": level,
        "gain_level": found.gain_level,
    }


def _weigh(
    candidates: Sequence[Candidate],
    losses: FloatArray,
    samples: FloatArray,
    clusters: IntArray,
    leakage: Leakage | None,
    flattery: float,
    attempts: int,
    level: float,
    metric: Metric,
) -> Evidence:
    """Estimate scores and gains with their intervals."""
    simple = [i for i, candidate in enumerate(candidates) if candidate.simple]
    best = min(simple, key=lambda i: (float(losses[:, i].mean()), candidates[i].complexity))
    effective = effective_clusters(clusters)
    bound = flattery + (in_metric(leakage.nats, metric) if leakage else 0.0)
    gain_level = 1.0 - (1.0 - level) / attempts

    def gain(i: int) -> Estimate:
        at = level if candidates[i].simple else gain_level
        own = estimate(
            losses[:, best] - losses[:, i], samples[:, best] - samples[:, i], effective, at
        )
        return own if candidates[i].simple else _less(own, bound)

    indices = range(len(candidates))
    return Evidence(
        candidates=candidates,
        metric=metric,
        scores=[estimate(losses[:, i], samples[:, i], effective, level) for i in indices],
        gains=[gain(i) for i in indices],
        best=best,
        bound=bound,
        leakage=leakage,
        flattery=flattery,
        effective=effective,
        level=level,
        gain_level=gain_level,
        attempts=attempts,
    )


def in_metric(nats: float, metric: Metric) -> float:
    """Bound what so many nats of leaked labels add to a metric.

    What tells so much of a label moves its probabilities by no more than the root of half of it on
    average (Pinsker's inequality), and so the accuracy.
    """
    return float(np.sqrt(nats / 2)) if metric == "accuracy" else nats


def _less(gain: Estimate, bound: float) -> Estimate:
    """Take the bound off a gain and off both ends of its interval."""
    if gain.low is None or gain.high is None:
        return replace(gain, mean=gain.mean - bound)
    return Estimate(gain.mean - bound, gain.low - bound, gain.high - bound)


def _by_evidence(found: Evidence, losses: FloatArray) -> tuple[int, str]:
    """Give the index of the candidate to use, and the rule that says so."""
    candidates, gains = found.candidates, found.gains
    indices = range(len(candidates))
    winning = [i for i in indices if not candidates[i].simple and gains[i].is_above]
    if winning:
        return min(winning, key=lambda i: float(losses[i])), _STACK_WINS
    # A gain is at most about 0 here: its interval includes 0 unless the candidate is worse.
    as_good = [i for i in indices if candidates[i].simple and not gains[i].is_below]
    simplest = min(as_good, key=lambda i: candidates[i].complexity)
    if found.small:
        return simplest, _SMALL_SAMPLE
    if simplest != found.best:
        return simplest, _SIMPLER_WINS
    least = min(candidate.complexity for candidate in candidates)
    return simplest, _SIMPLEST_WINS if candidates[found.best].complexity == least else _BEST_WINS


def _described(found: Evidence, i: int) -> dict[str, Any]:
    score = found.scores[i]
    return {
        "name": found.names[i],
        **(
            {"accuracy": as_accuracy(score).to_json()}
            if found.metric == "accuracy"
            else {"log_loss": score.mean, "low": score.low, "high": score.high}
        ),
        "gain_over_best_simple": found.gains[i].to_json(),
        "corrected_gain": found.corrected[i],
        "bias_bound": 0.0 if found.candidates[i].simple else found.bound,
    }


def _described_bound(leakage: Leakage | None) -> dict[str, Any]:
    if leakage is None:
        return {"nats": 0.0, "method": "none is needed: no logits know the fold that is scored"}
    return {**leakage.to_json(), "method": METHOD}
