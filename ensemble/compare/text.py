"""What a comparison says, in whole sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.compare.measure import BETTER, OPEN, UNMEASURED, WORSE
from ensemble.evaluation.text import signed

if TYPE_CHECKING:
    from collections.abc import Iterator


def sentences(result: dict[str, Any]) -> list[str]:
    """Say what was found, what it rests on, and what it does not show."""
    return [
        *(_overall(result, name) for name in result["overall"]["differences"]),
        *_slices(result),
        *_cautions(result),
        *filter(None, [result.get("plan_doubt", "")]),
    ]


def shown(difference: dict[str, Any]) -> str:
    """Write a difference with its interval."""
    mean, low, high = (signed(difference[key]) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _overall(result: dict[str, Any], name: str) -> str:
    found, reference = result["overall"]["differences"][name], result["reference"]
    size = f"{result['rows']:,} battles in {result['clusters']:,} clusters"
    if found["conclusion"] == UNMEASURED:
        return (
            f"{name} against {reference}: {signed(found['mean'])} nats a battle, and no interval: "
            f"{size} are too few to say more."
        )
    outcome = {
        BETTER: f"{name} is better than {reference}",
        WORSE: f"{name} is worse than {reference}",
        OPEN: f"No difference is shown between {name} and {reference}",
    }[found["conclusion"]]
    family = result["family"]["overall"]
    corrected = f", corrected for {family} comparisons" if family > 1 else ""
    return (
        f"{outcome}: {signed(found['mean'])} nats a battle ({result['level']:.0%} interval "
        f"{signed(found['low'])} to {signed(found['high'])}{corrected}) on {size}."
    )


def _slices(result: dict[str, Any]) -> Iterator[str]:
    family = result["family"]
    if family["slices"]:
        counts = {BETTER: 0, WORSE: 0, OPEN: 0}
        for one in result["slices"]:
            for difference in (one["differences"] or {}).values():
                counts[difference["conclusion"]] += 1
        yield (
            f"{family['slices']} comparisons in slices: {counts[BETTER]} better, {counts[WORSE]} "
            f"worse, {counts[OPEN]} with no difference shown. Their intervals are widened for "
            f"their number: all of them hold at once in {result['level']:.0%} of the cases."
        )
    if family["too_small"]:
        yield (
            f"{family['too_small']} slices are not measured: they hold fewer than "
            f"{family['smallest']:.0f} effective clusters."
        )


def _cautions(result: dict[str, Any]) -> Iterator[str]:
    if result["rows_left_out"]:
        counts = ", ".join(
            f"{one['name']} has {one['rows_predicted']:,}" for one in result["learners"]
        )
        yield (
            f"{result['rows_left_out']:,} of {result['target_rows']:,} target rows are left out, "
            f"since not all have predicted them ({counts})."
        )
    for one in result["learners"]:
        if (planned := one["planned_folds"]) is not None:
            folds = f"fold{'s' * (len(planned) > 1)} {', '.join(map(str, planned))}"
            yield f"{one['name']} is compared on {folds} alone: the config has `folds` for it."
        candidate = one["made_from"].get("candidate")
        if candidate not in (None, one["made_from"]["name"]):
            yield f"{one['name']} is the candidate {candidate}."
        if one["training_rows"] != "recorded":
            yield (
                f"The training rows of {one['name']} are unknown: it may have seen the rows that "
                "it is scored on."
            )
