"""Which candidate to use, and the evidence for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import unknown_name
from ensemble.stacking.scoring import LEVEL, RESAMPLES, Estimate, bootstrap_means, estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.plugin.base import FloatArray, IntArray
    from ensemble.stacking.candidates import Candidate

BY_EVIDENCE = "verdict"
"""The value of ``choose`` that leaves the choice to the evidence."""

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
_BY_CONFIG = "chosen by the config"


def decide(
    candidates: Sequence[Candidate],
    losses: FloatArray,
    clusters: IntArray,
    *,
    choose: str = BY_EVIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    replicates: FloatArray | None = None,
) -> dict[str, Any]:
    """Choose a candidate by a paired bootstrap over clusters.

    A meta-learner is chosen where the interval of its gain over the best simple candidate lies
    above 0. Otherwise the simplest of the simple candidates is, whose difference to the best of
    them has an interval that includes 0.

    Parameters
    ----------
    candidates
        The candidates, in the order of the columns of ``losses``; one at least is simple.
    losses
        ``(n, n_candidates)`` log loss of each row under nested cross-validation, finite.
    clusters
        ``(n,)`` cluster of each row.
    choose
        ``"verdict"``, or the name of the candidate to use whatever the evidence says.
    resamples, seed, level
        Bootstrap draws, their seed, and what the intervals cover.
    replicates
        ``(r, n, n_candidates)`` the same losses under other draws of the learners' seeds, which the
        intervals then contain; None where each learner has one.

    Returns
    -------
    dict
        The content of ``verdict.json``. A gain is the loss of the best simple candidate minus that
        of the candidate: positive is better.

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
    if choose not in (BY_EVIDENCE, *names):
        raise unknown_name("candidate", choose, [BY_EVIDENCE, *names])
    simple = [i for i, candidate in enumerate(candidates) if candidate.simple]
    best = min(simple, key=lambda i: (float(losses[:, i].mean()), candidates[i].complexity))
    drawn = losses if replicates is None else replicates
    samples = bootstrap_means(drawn, clusters, resamples=resamples, seed=seed)
    scores = [estimate(losses[:, i], samples[:, i], level) for i in range(len(names))]
    gains = [
        estimate(losses[:, best] - losses[:, i], samples[:, best] - samples[:, i], level)
        for i in range(len(names))
    ]
    winner, rule = _by_evidence(candidates, gains, losses.mean(axis=0), best)
    chosen = winner if choose == BY_EVIDENCE else names.index(choose)
    asked = choose != BY_EVIDENCE
    outcome = _outcome(names[chosen], scores[chosen], asked=asked)
    evidence = _evidence(candidates, gains, best, winner, chosen, level)
    return {
        "chosen": names[chosen],
        "rule": _BY_CONFIG if asked else rule,
        "would_have_chosen": names[winner],
        "best_simple": names[best],
        "sentence": f"{outcome} {evidence}".rstrip(),
        "evidence": evidence,
        "candidates": [_described(*parts) for parts in zip(names, scores, gains, strict=True)],
        "rows": len(losses),
        "clusters": len(np.unique(clusters)),
        "resamples": resamples,
        "level": level,
    }


def _by_evidence(
    candidates: Sequence[Candidate], gains: Sequence[Estimate], losses: FloatArray, best: int
) -> tuple[int, str]:
    """Give the index of the candidate to use, and the rule that says so."""
    indices = range(len(candidates))
    winning = [i for i in indices if not candidates[i].simple and gains[i].low > 0]
    if winning:
        return min(winning, key=lambda i: float(losses[i])), _STACK_WINS
    # A gain is at most about 0 here: its interval includes 0 unless the candidate is worse.
    as_good = [i for i in indices if candidates[i].simple and gains[i].high >= 0]
    simplest = min(as_good, key=lambda i: candidates[i].complexity)
    if simplest != best:
        return simplest, _SIMPLER_WINS
    least = min(candidate.complexity for candidate in candidates)
    return simplest, _SIMPLEST_WINS if candidates[best].complexity == least else _BEST_WINS


def _described(name: str, score: Estimate, gain: Estimate) -> dict[str, Any]:
    return {
        "name": name,
        "log_loss": score.mean,
        "low": score.low,
        "high": score.high,
        "gain_over_best_simple": gain.to_json(),
    }


def _outcome(name: str, score: Estimate, *, asked: bool) -> str:
    """Say which candidate is used, and how good it is."""
    why = ", as the config asks" if asked else ""
    return f"{name} is used{why}: log loss {score.mean:.4f} ({score.low:.4f} to {score.high:.4f})."


def _evidence(
    candidates: Sequence[Candidate],
    gains: Sequence[Estimate],
    best: int,
    winner: int,
    chosen: int,
    level: float,
) -> str:
    """Say in plain English what was found, and where the config went against it."""
    names = [candidate.name for candidate in candidates]
    reference = "it" if best == chosen else f"{names[best]}, the best simple candidate"
    found = []
    if candidates[winner].simple and winner != best:
        found.append(
            f"{names[winner]} is simpler than {reference}, and not shown to be worse: "
            f"{_loss_shown(gains[winner], level)}."
        )
        reference = names[best]
    found += [
        f"{names[i]} {'gains' if gains[i].low > 0 else 'is not shown to gain'} over {reference}: "
        f"{_shown(gains[i], level)}."
        for i in range(len(names))
        if not candidates[i].simple
    ]
    if chosen != winner:
        found.append(f"By the evidence it would be {names[winner]}.")
    return " ".join(found)


def _shown(gain: Estimate, level: float) -> str:
    mean, low, high = (signed(value) for value in (gain.mean, gain.low, gain.high))
    return f"{mean} nats a battle ({level:.0%} interval {low} to {high})"


def _loss_shown(gain: Estimate, level: float) -> str:
    """Write a gain that is none as the loss that it is; the best candidate's is never greater."""
    low, high = signed(-gain.high), signed(-gain.low)
    return (
        f"its loss is {abs(gain.mean):.4f} nats a battle higher "
        f"({level:.0%} interval of the difference {low} to {high})"
    )


def signed(value: float, digits: int = 4) -> str:
    """Write a number with its sign; what is rounded to 0 has none."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text[1:]
