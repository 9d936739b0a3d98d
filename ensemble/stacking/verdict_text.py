"""The verdict in plain English."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.evaluation.accuracy import as_accuracy
from ensemble.evaluation.intervals import MIN_CLUSTERS
from ensemble.evaluation.text import signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble.evaluation.intervals import Estimate
    from ensemble.evaluation.selection import Stratified
    from ensemble.stacking.evidence import Evidence

SHOWN_OPTIMISM = 0.0005
"""What equal class shares flatter by is said from here on, nats a battle."""


def describe_outcome(found: Evidence, chosen: int, *, asked: bool) -> str:
    """Say which candidate is used, how good it is, and by what it was chosen."""
    why = ", as the config asks" if asked else ""
    is_accuracy = found.metric == "accuracy"
    score = as_accuracy(found.scores[chosen]) if is_accuracy else found.scores[chosen]
    interval = "" if score.low is None else f" ({score.low:.4f} to {score.high:.4f})"
    by = " Candidates are compared by accuracy." if is_accuracy else ""
    return (
        f"{found.names[chosen]} is used{why}: {metric_name(found.metric)} "
        f"{score.mean:.4f}{interval}.{by}"
    )


def metric_name(metric: str) -> str:
    """Say a metric in words."""
    return metric.replace("_", " ")


def _unit(found: Evidence) -> str:
    return "in accuracy" if found.metric == "accuracy" else "nats a battle"


def describe_evidence(found: Evidence, winner: int, chosen: int) -> str:
    """Say what was found, and where the config went against it."""
    names, candidates = found.names, found.candidates
    reference = "it" if found.best == chosen else f"{names[found.best]}, the best simple candidate"
    said = []
    if found.small:
        said.append(
            f"Small sample: {found.effective:.0f} effective clusters, fewer than "
            f"{MIN_CLUSTERS:.0f}, allow no interval, so no candidate is shown to be better."
        )
    elif candidates[winner].simple and winner != found.best:
        said.append(
            f"{names[winner]} is simpler than {reference}, and not shown to be worse: "
            f"{_loss_shown(found, found.gains[winner])}."
        )
        reference = names[found.best]
    metas = [i for i in range(len(names)) if not candidates[i].simple]
    said += [_meta_learner(found, i, reference) for i in metas]
    if metas and found.bound > 0:
        said.append(_bound_shown(found))
    if metas and found.attempts > 1 and not found.small:
        said.append(
            f"Its interval allows for {found.attempts} meta-learners scored on these folds."
        )
    if chosen != winner:
        said.append(f"By the evidence it would be {names[winner]}.")
    return " ".join(said)


def describe_tries(tries: Mapping[str, Any]) -> str:
    """Say of how many the chosen one is the best, and its score corrected for that."""
    ends = "" if tries["low"] is None else f" ({tries['low']:.4f} to {tries['high']:.4f})"
    metric = "accuracy" if "corrected_accuracy" in tries else "log_loss"
    corrected = f"{metric_name(metric)} {tries[f'corrected_{metric}']:.4f}{ends}"
    return (
        f"Scored on these folds so far: {tries['n']} learners and candidates. Corrected for a "
        f"choice of the best of {tries['n']}: {corrected}."
    )


def describe_stratification(flattered: Stratified, metric: str = "log_loss") -> str:
    """Say what equal class shares flatter every score by; nothing where it is little."""
    most = max(flattered)
    if most < SHOWN_OPTIMISM:
        return ""
    source = " in every source" if flattered.excess else ""
    scores = "accuracies" if metric == "accuracy" else "log losses"
    return f"Folds have equal class shares{source}, which flatters {scores} by up to {most:.4f}."


def _meta_learner(found: Evidence, i: int, reference: str) -> str:
    gain = found.gains[i]
    unit, is_accuracy = _unit(found), found.metric == "accuracy"
    amount = f"{found.bound:.4f} is" if is_accuracy else f"{found.bound:.4f} nats are"
    taken = f" after {amount} taken off for {_reasons(found)}"
    less = taken if round(found.bound, 4) else ""
    if gain.low is None or gain.high is None:
        return f"{found.names[i]} against {reference}: {signed(gain.mean)} {unit}{less}."
    verb = (
        f"gains over {reference}"
        if gain.is_above
        else f"is shown to lose against {reference}"
        if gain.is_below and not found.bound
        else f"is not shown to gain over {reference}"
    )
    level = f"{found.gain_level:.1%}".replace(".0%", "%")
    corrected = found.corrected[i]
    lucky = "" if corrected is None else f" Corrected for being chosen by it: {signed(corrected)}."
    return (
        f"{found.names[i]} {verb}: {signed(gain.mean)} {unit} "
        f"({level} interval {signed(gain.low)} to {signed(gain.high)}){less}.{lucky}"
    )


def _reasons(found: Evidence) -> str:
    leaked = ["leaked labels"] if found.bound > found.flattery else []
    return " and ".join([*leaked, *(["equal class shares in sources"] if found.flattery else [])])


def _bound_shown(found: Evidence) -> str:
    leak = found.leakage
    if leak is None or not leak.nats:
        return ""
    most = found.bound - found.flattery
    in_accuracy = f", or {most:.4f} in accuracy," if found.metric == "accuracy" else ""
    return (
        f"Logits of {', '.join(leak.learners)} know labels of the fold that the stack is scored "
        f"on, and a stack can tell where by {leak.location}: it can gain up to {leak.nats:.4f} "
        f'nats{in_accuracy} by that alone (`nesting = "full"` in [stack] closes this way for '
        "learners that train here)."
    )


def _loss_shown(found: Evidence, gain: Estimate) -> str:
    """Write a gain that is none as the loss that it is; the best candidate's is never greater."""
    is_accuracy = found.metric == "accuracy"
    size = f"{abs(gain.mean):.4f}"
    worse = f"accuracy is {size} lower" if is_accuracy else f"loss is {size} nats a battle higher"
    if gain.low is None or gain.high is None:
        return f"its {worse}"
    ends = (gain.low, gain.high) if is_accuracy else (-gain.high, -gain.low)
    low, high = map(signed, ends)
    return f"its {worse} ({found.level:.0%} interval of the difference {low} to {high})"
