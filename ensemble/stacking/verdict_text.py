"""The verdict in plain English."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    """Say which candidate is used, and how good it is."""
    why = ", as the config asks" if asked else ""
    score = found.scores[chosen]
    interval = "" if score.low is None else f" ({score.low:.4f} to {score.high:.4f})"
    return f"{found.names[chosen]} is used{why}: log loss {score.mean:.4f}{interval}."


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
            f"{_loss_shown(found.gains[winner], found.level)}."
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
    return (
        f"Scored on these folds so far: {tries['n']} learners and candidates. Corrected for a "
        f"choice of the best of {tries['n']}: log loss {tries['corrected_log_loss']:.4f}{ends}."
    )


def describe_stratification(flattered: Stratified) -> str:
    """Say what equal class shares flatter every score by; nothing where it is little."""
    most = max(flattered)
    if most < SHOWN_OPTIMISM:
        return ""
    source = " in every source" if flattered.excess else ""
    return f"Folds have equal class shares{source}, which flatters log losses by up to {most:.4f}."


def _meta_learner(found: Evidence, i: int, reference: str) -> str:
    gain = found.gains[i]
    taken = f" after {found.bound:.4f} nats are taken off for {_reasons(found)}"
    less = taken if round(found.bound, 4) else ""
    if gain.low is None or gain.high is None:
        return f"{found.names[i]} against {reference}: {signed(gain.mean)} nats a battle{less}."
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
        f"{found.names[i]} {verb}: {signed(gain.mean)} nats a battle "
        f"({level} interval {signed(gain.low)} to {signed(gain.high)}){less}.{lucky}"
    )


def _reasons(found: Evidence) -> str:
    leaked = ["leaked labels"] if found.bound > found.flattery else []
    return " and ".join([*leaked, *(["equal class shares in sources"] if found.flattery else [])])


def _bound_shown(found: Evidence) -> str:
    leak = found.leakage
    if leak is None or not leak.nats:
        return ""
    return (
        f"Logits of {', '.join(leak.learners)} know labels of the fold that the stack is scored "
        f"on, and a stack can tell where by {leak.location}: it can gain up to {leak.nats:.4f} "
        'nats by that alone (`nesting = "full"` in [stack] closes this way for learners that '
        "train here)."
    )


def _loss_shown(gain: Estimate, level: float) -> str:
    """Write a gain that is none as the loss that it is; the best candidate's is never greater."""
    if gain.low is None or gain.high is None:
        return f"its loss is {abs(gain.mean):.4f} nats a battle higher"
    low, high = signed(-gain.high), signed(-gain.low)
    return (
        f"its loss is {abs(gain.mean):.4f} nats a battle higher "
        f"({level:.0%} interval of the difference {low} to {high})"
    )
