"""Stored comparisons that are still of the run, with a picture of each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.compare.measure import OPEN, UNMEASURED
from ensemble.compare.records import read_comparisons
from ensemble.compare.text import shown
from ensemble.report.forest import Row, forest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ensemble.config.settings import Config
    from ensemble.report.data import Report
    from ensemble.report.svg import Drawing
    from ensemble.run_dir.battles_record import BattlesRecord
    from ensemble.run_dir.folds_record import FoldsRecord

_NOT_SET = "not set"


def collect_comparisons(
    run: Path, plan: FoldsRecord | None, sources: BattlesRecord | None, config: Config | None
) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """Read the comparisons that are of the run as it is now, and say which are left out and why."""
    if plan is None or sources is None or sources.data is None:
        return (), []
    only = config.some_folds(plan.n_splits) if config else {}
    found, left_out = read_comparisons(run, plan.fingerprint, sources.data, plan.n_splits, only)
    return tuple(found), left_out


def draw_comparisons(report: Report) -> Iterator[dict[str, Any]]:
    """Give each comparison, with the pairs in it: a picture, and in what the two differ."""
    for number, result in enumerate(report.comparisons):
        names = list(result["overall"]["differences"])
        yield {
            "result": result,
            "pairs": [
                {
                    "name": name,
                    "picture": _picture(result, name, f"comparison-{number}-{place}"),
                    "differs": _differing(result, name),
                }
                for place, name in enumerate(names)
            ],
        }


def _picture(result: dict[str, Any], name: str, place: str) -> Drawing | None:
    """Draw the difference over all rows and in each measured slice; None where none is."""
    rows = [_row("all rows", result["overall"], name, emphasis=True)]
    rows += [
        _row(f"{one['by']}: {one['value']}", one, name)
        for one in result["slices"]
        if one["measured"]
    ]
    rows = [row for row in rows if np.isfinite(row.low)]
    if not rows:
        return None
    return forest(
        rows,
        {"no difference": 0.0},
        axis=f"log loss minus that of {result['reference']} (left: better)",
        name=place,
        label="; ".join(f"{row.name}: {row.note}" for row in rows),
    )


def _row(text: str, part: dict[str, Any], name: str, *, emphasis: bool = False) -> Row:
    found = part["differences"][name]
    if found["conclusion"] == UNMEASURED:
        return Row(text, found["mean"], np.nan, np.nan, UNMEASURED)
    ends = found["low"], found["high"]
    settled = found["conclusion"] != OPEN
    return Row(text, found["mean"], *ends, shown(found), emphasis=emphasis, combined=settled)


def _differing(result: dict[str, Any], name: str) -> dict[str, tuple[Any, Any]]:
    """Name the settings in which a candidate differs from the reference, with both values."""
    settings = {one["name"]: one["settings"] for one in result["learners"]}
    mine, theirs = settings[result["reference"]], settings[name]
    if not mine or not theirs:
        return {}
    if mine["plugin"] != theirs["plugin"]:
        return {"plugin": (mine["plugin"], theirs["plugin"])}
    first, second = mine["parameters"], theirs["parameters"]
    return {
        key: (first.get(key, _NOT_SET), second.get(key, _NOT_SET))
        for key in dict.fromkeys([*first, *second])
        if first.get(key, _NOT_SET) != second.get(key, _NOT_SET)
    }
