"""What the candidates of the stack learned: numbers by name as bars, anything else as words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.plugin.base import CLASSES
from ensemble.report import figures, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ensemble.report.data import Report
    from ensemble.report.svg import Drawing

IMPORTANCE = "importance"
"""What a meta-learner calls how much it uses each of its inputs."""

_LARGEST = 12
_CLASS_NAMES = dict(zip(CLASSES, figures.CLASS_NAMES, strict=True))


def draw_importance(report: Report) -> Iterator[dict[str, Any]]:
    """Draw how much each candidate that says so uses its inputs, or say that it uses none."""
    for i, candidate in enumerate(report.scored_candidates):
        values = candidate.description.get(IMPORTANCE)
        if isinstance(values, dict) and _is_numbers(values):
            name = f"importance-{i}"
            title = f"{candidate.name}, {IMPORTANCE}"
            used = any(values.values())
            yield {
                "candidate": candidate,
                "picture": _bars(title, IMPORTANCE, values, name=name) if used else None,
                "words": _unused(candidate.description.get("rounds")),
            }


def _unused(rounds: object) -> str:
    """Say why a meta-learner uses nothing; the stacker gives the rounds that each seed kept."""
    if isinstance(rounds, list) and not any(rounds):
        return "No trees were kept: none of them did better than what they start from."
    return "None of its inputs, by its own account."


def draw_learned(report: Report) -> Iterator[dict[str, Any]]:
    """Show what else each candidate learned."""
    order = [*_CLASS_NAMES, *(learner.name for learner in report.learners)]
    for i, candidate in enumerate(report.scored_candidates):
        description = {k: v for k, v in candidate.description.items() if k != IMPORTANCE}
        found = dict(_flat(description))
        tables = {key: value for key, value in found.items() if isinstance(value, dict)}
        pictures = [
            _bars(
                f"{candidate.name}, {key}", key, _in_order(values, order), name=f"learned-{i}-{j}"
            )
            for j, (key, values) in enumerate(tables.items())
        ]
        rest = {key: value for key, value in found.items() if key not in tables}
        if pictures or rest:
            yield {"candidate": candidate, "pictures": pictures, "rest": rest}


def _flat(description: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Take a description apart, down to tables of numbers and whatever else is in it."""
    for key, value in description.items():
        if isinstance(value, dict) and not _is_numbers(value):
            yield from _flat(value, f"{prefix}{key}, ")
        else:
            yield f"{prefix}{key}", value


def _is_numbers(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(isinstance(v, int | float) for v in value.values())


def _in_order(values: Mapping[str, float], order: list[str]) -> dict[str, float]:
    """Put numbers by class or learner in the order that these have everywhere."""
    if not set(values) <= set(order):
        return dict(values)
    ordered = sorted(values, key=order.index)
    return {_CLASS_NAMES.get(name, name): values[name] for name in ordered}


def _bars(title: str, key: str, values: Mapping[str, float], *, name: str) -> Drawing:
    """Draw numbers by name, of many the largest, and say how many there are."""
    largest = dict(values)
    cut = ""
    if key == IMPORTANCE or len(values) > _LARGEST:
        ordered = sorted(values.items(), key=lambda item: -abs(item[1]))
        largest = dict(ordered[:_LARGEST])
    if len(largest) < len(values):
        cut = f" (largest {len(largest)} of {len(values)})"
    words = ", ".join(f"{key} {value:.4g}" for key, value in largest.items())
    return figures.bars(largest, axis=text.visible(key) + cut, name=name, label=f"{title}: {words}")
