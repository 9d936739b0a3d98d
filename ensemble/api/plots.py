"""``Run.plot``: the figures of the report, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.compare.stacked import CHOSEN
from ensemble.errors import ArtifactError, InputError, unknown_name
from ensemble.evaluation.ties import number_of_classes
from ensemble.report import plots
from ensemble.report.collect import collect
from ensemble.report.figures import CLASS_NAMES
from ensemble.report.importance import draw_importance
from ensemble.report.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure

    from ensemble.report.data import Report
    from ensemble.report.svg import Drawing

_ALONE: dict[str, Callable[[Report], Drawing | None]] = {
    "forest": plots.headline,
    "folds": plots.folds,
    "sources": plots.sources,
    "gains": plots.gains,
    "labels": plots.labels,
    "timing": plots.timing,
}
KINDS = (*_ALONE, "calibration", "agreement", "importance")
"""The figures that ``Run.plot`` draws."""
_NAMED = ("calibration", "importance")
_NEEDS = {
    "sources": "two target sources with predictions",
    "gains": "a stack with more than one candidate",
    "labels": "labeled rows",
    "agreement": "two learners with predictions",
    "importance": "a meta-learner that says what it uses",
}


def draw(run: Path, kind: str, name: str | None) -> Figure:
    """Draw one figure of a run; parameters and errors are those of ``Run.plot``."""
    from ensemble.report.notebook_figure import matplotlib_figure

    if kind not in KINDS:
        raise unknown_name("figure", kind, list(KINDS))
    if name is not None and kind not in _NAMED:
        raise InputError(
            f'the figure "{kind}" is of the whole run, and takes no name',
            hint=f"figures of one learner or candidate: {', '.join(_NAMED)}",
        )
    report = collect(run)
    drawings, titles = _drawings(report, kind, name)
    if not drawings:
        needs = _NEEDS.get(kind, "a learner with predictions")
        raise ArtifactError(
            f'there is nothing to draw as "{kind}" yet: it takes {needs}',
            where=str(run),
            hint="run `ensemble run CONFIG` to its end",
        )
    return matplotlib_figure(drawings, titles)


def _drawings(report: Report, kind: str, name: str | None) -> tuple[list[Drawing], list[str]]:
    if kind == "calibration":
        return _calibration(report, name)
    if kind == "agreement":
        found = plots.agreement(report)
        return found, ["correlation of logits", "correlation of losses"][: len(found)]
    if kind == "importance":
        return _importance(report, name)
    drawing = _ALONE[kind](report)
    return ([] if drawing is None else [drawing]), []


def _calibration(report: Report, name: str | None) -> tuple[list[Drawing], list[str]]:
    models = {one["name"]: one["pictures"] for one in plots.reliability(report)}
    if not models:
        return [], []
    chosen = report.selected.name if report.selected is not None else next(iter(models))
    asked = chosen if name in (None, CHOSEN) else name
    if asked not in models:
        raise unknown_name("learner", str(asked), [CHOSEN, *models])
    first, *others = CLASS_NAMES[: number_of_classes(ties=report.ties)]
    return models[asked], [f"{shorten(str(asked), 18)}: {first}", *others]


def _importance(report: Report, name: str | None) -> tuple[list[Drawing], list[str]]:
    found = {one["candidate"].name: one["picture"] for one in draw_importance(report)}
    known = {key: picture for key, picture in found.items() if picture is not None}
    if name is not None and name not in known:
        raise unknown_name("candidate", name, list(known))
    asked = name or next(iter(known), None)
    return ([], []) if asked is None else ([known[asked]], [asked])
