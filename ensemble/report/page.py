"""From collected data to the page: which figures stand where, and the template that holds them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context

from ensemble.audit.result import LIMITS
from ensemble.evaluation.ties import number_of_classes
from ensemble.report import figures, text
from ensemble.report.comparisons import draw_comparisons
from ensemble.report.importance import draw_importance, draw_learned
from ensemble.report.plots import agreement, draw_all, reliability
from ensemble.report.source_studies import draw_studies
from ensemble.report.warnings import cautions

MOST_DRAWN = 20
"""Learners with figures of their own, and in the tables of all pairs: more nobody compares."""

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2.runtime import Context

    from ensemble.errors import ArtifactError
    from ensemble.report.data import Report


def render_page(report: Report) -> str:
    """Write the report as one HTML document."""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            folder=report.config.folder if report.config else "",
            cautions=cautions(report),
            classes=figures.CLASS_NAMES[: number_of_classes(ties=report.ties)],
            comparisons=list(draw_comparisons(report)),
            cuts=_cuts(report),
            pictures=draw_all(report),
            alike=agreement(report, MOST_DRAWN),
            reliability=reliability(report, MOST_DRAWN),
            drawn=min(MOST_DRAWN, len(report.learners)),
            studies=list(draw_studies(report)),
            importance=list(draw_importance(report)),
            limits=LIMITS,
            learned=list(draw_learned(report)),
        )
    )


def render_damage(run: Path, error: ArtifactError) -> str:
    """Write a page that says what of a run is damaged, and shows no number of it."""
    return (
        _environment()
        .get_template("damage.html.j2")
        .render(
            run="/".join(run.resolve().parts[-2:]),
            file=text.file_name(error.where),
            error=error,
        )
    )


@cache
def _environment() -> Environment:
    """Make what templates are compiled in, once a process."""
    environment = Environment(
        loader=PackageLoader("ensemble.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Not `none`: Jinja writes constants as they are, before `finalize` sees them.
    environment.globals["missing"] = text.NOT_MEASURED
    environment.filters.update(
        decimal=text.decimal,
        signed=text.signed,
        count=text.count,
        percent=text.percent,
        duration=text.duration,
        compact=text.compact,
        file_name=text.file_name,
        local=_local,
    )
    return environment


@pass_context
def _local(context: Context, words: str) -> str:
    """Leave the folder of the config out of paths."""
    return text.without_folder(words, folder=context["folder"])


def _cuts(report: Report) -> list[dict[str, Any]]:
    """Turn the cuts into one row a source and reason, one column a fold."""
    if report.plan is None:
        return []
    rows: dict[tuple[str, str, str], dict[int, int]] = {}
    for cut in report.plan.cuts or ():
        rows.setdefault((cut.source, cut.role, cut.reason), {})[cut.fold] = cut.rows
    folds = [fold.fold for fold in report.plan.folds]
    return [
        {
            "source": source,
            "role": role,
            "reason": reason,
            # Cuts were counted: a fold that is not listed has none.
            "per_fold": [counts.get(fold, 0) for fold in folds],
        }
        for (source, role, reason), counts in rows.items()
    ]
