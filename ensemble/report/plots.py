"""Which figures the page has, and what stands in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.report import figures, text
from ensemble.report.forest import Row, forest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ensemble.evaluation.calibration import Reliability
    from ensemble.evaluation.scores import Score
    from ensemble.report.data import Learner, Report, ScoredCandidate
    from ensemble.report.svg import Drawing


# Predictions are stored as float32: scores of the same ones differ by rounding only.
_SAME = 1e-6


def draw_all(report: Report) -> dict[str, Drawing | None]:
    """Draw the figures that stand alone; None where there is nothing to draw."""
    return {
        "headline": headline(report),
        "labels": labels(report),
        "folds": folds(report),
        "sources": sources(report),
        "gains": gains(report),
        "timing": timing(report),
    }


def headline(report: Report) -> Drawing | None:
    """Learners and candidates on one scale, against what needs no learner at all."""
    rows = sorted(
        [
            *(
                _row(_marked(report, c), c.score, emphasis=c.chosen, combined=True)
                for c in report.scored_candidates
            ),
            *(
                _row(_doubted(one.name, doubted=_is_doubted(one.name, report)), one.overall)
                for one in report.learners
            ),
        ],
        key=lambda row: (not np.isfinite(row.value), row.value),
    )
    if not rows:
        return None
    lines = {"class prior": _number(report.class_prior)}
    if report.truth is not None:
        lines["best possible"] = _number(report.truth.best)
    return forest(
        rows, lines, axis="log loss (lower is better)", name="headline", label=_in_words(rows)
    )


def _marked(report: Report, candidate: ScoredCandidate) -> str:
    doubted = candidate.name in report.doubted
    return _doubted(_alias(candidate, report.learners), doubted=doubted)


def _is_doubted(name: str, report: Report) -> bool:
    return bool(report.plan_doubt) or name in report.unproven


def _doubted(name: str, *, doubted: bool) -> str:
    return f"{name} (unproven)" if doubted else name


def _alias(candidate: ScoredCandidate, learners: Sequence[Learner]) -> str:
    """Name a candidate; one that is a learner by another name says which."""
    picked = candidate.description.get("learner")
    same = [
        one.name
        for one in learners
        if one.name == picked and abs(one.overall.log_loss - candidate.score.log_loss) < _SAME
    ]
    return f"{candidate.name} = {same[0]}" if same else candidate.name


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _row(name: str, score: Score, **options: Any) -> Row:
    return Row(name, score.log_loss, score.low, score.high, _interval(score), **options)


def _interval(score: Score) -> str:
    loss, low, high = (text.decimal(v) for v in (score.log_loss, score.low, score.high))
    if loss is None:
        return "not measured"
    return loss if low is None or high is None else f"{loss}  [{low}, {high}]"


def _in_words(rows: Sequence[Row]) -> str:
    return "; ".join(f"{row.name}: {row.note}" for row in rows)


def labels(report: Report) -> Drawing | None:
    """Draw the label shares of each source; None where nothing is labeled."""
    labeled = [s for s in report.labels or () if s.shares is not None]
    return figures.label_bars(labeled, name="labels") if labeled else None


def folds(report: Report) -> Drawing | None:
    """Learners with a tick for each fold."""
    rows = [
        _row(
            learner.name,
            learner.overall,
            dots=tuple(score.log_loss for score in learner.per_fold.values()),
        )
        for learner in report.learners
        if learner.rows_predicted
    ]
    if not rows:
        return None
    return forest(rows, {}, axis="log loss; ticks are folds", name="folds", label=_in_words(rows))


def sources(report: Report) -> Drawing | None:
    """Every learner on every target source, where there is more than one."""
    names = report.target_sources
    rows = [
        _row(f"{source}: {learner.name}", learner.per_source[source])
        for source in names
        for learner in report.learners
        if learner.rows_predicted and source in learner.per_source
    ]
    if len(names) < 2 or not rows:
        return None
    return forest(rows, {}, axis="log loss", name="sources", label=_in_words(rows))


def gains(report: Report) -> Drawing | None:
    """Draw what each candidate gains over the best simple one; None where nothing is measured."""
    rows = list(_gain_rows(report.scored_candidates))
    if not rows:
        return None
    return forest(
        rows,
        {"best simple": 0.0},
        axis=f"gain in {report.metric.replace('_', ' ')} (higher is better)",
        name="gains",
        label=_in_words(rows),
    )


def _gain_rows(candidates: Sequence[ScoredCandidate]) -> Iterator[Row]:
    for candidate in candidates:
        gain = candidate.gain
        # The best simple candidate is what gains are measured from: its own is no measurement.
        if gain is None or gain.mean is None or candidate.best_simple:
            continue
        ends = [text.signed(v) for v in (gain.low, gain.high)]
        interval = "" if None in ends else f"  [{ends[0]}, {ends[1]}]"
        note = f"{text.signed(gain.mean)}{interval}"
        yield Row(
            candidate.name,
            gain.mean,
            _number(gain.low),
            _number(gain.high),
            note,
            emphasis=candidate.chosen,
            combined=True,
        )


def best_learners(report: Report, most: int | None) -> list[Learner]:
    """Give the learners with the lowest log loss, in the config's order; None gives all."""
    if most is None or len(report.learners) <= most:
        return list(report.learners)
    losses = {
        one.name: one.overall.log_loss if one.rows_predicted else float("inf")
        for one in report.learners
    }
    best = sorted(report.learners, key=lambda one: losses[one.name])[:most]
    return [one for one in report.learners if one in best]


def agreement(report: Report, most: int | None = None) -> list[Drawing]:
    """Draw how alike the learners are, by their logits and by their losses.

    Of more than ``most``, the best are shown.
    """
    if report.agreement is None:
        return []
    found, shown = report.agreement, {one.name for one in best_learners(report, most)}
    kept = [i for i, name in enumerate(found.names) if name in shown]
    names = [found.names[i] for i in kept]
    parts = {"centered logits": found.logits, "row losses": found.losses}
    return [
        figures.heat_map(
            names,
            matrix[np.ix_(kept, kept)],
            name=f"agreement-{i}",
            label=f"Correlation of {what}, {', '.join(names)}",
        )
        for i, (what, matrix) in enumerate(parts.items())
    ]


def reliability(report: Report, most: int | None = None) -> list[dict[str, Any]]:
    """Draw curves of the lead, then of each learner; each with one picture a class.

    Of more learners than ``most``, the best are shown.
    """
    models = []
    if report.selected is not None and report.selected.is_chosen:
        models.append((report.selected.name, report.selected.reliability))
    models += [(one.name, one.reliability) for one in best_learners(report, most)]
    return [
        {"name": name, "curves": curves, "pictures": _curves(name, curves, f"reliability-{i}")}
        for i, (name, curves) in enumerate(models)
        if curves
    ]


def _curves(title: str, curves: Sequence[Reliability], name: str) -> list[Drawing]:
    return [
        figures.reliability_curve(curve, k, name=f"{name}-{k}", title=title)
        for k, curve in enumerate(curves)
    ]


def timing(report: Report) -> Drawing | None:
    """Time of each learner over its complete folds, where all of it is known."""
    seconds = {
        learner.name: learner.fit_seconds + learner.predict_seconds
        for learner in report.learners
        if learner.fit_seconds is not None and learner.predict_seconds is not None
    }
    if not seconds:
        return None
    words = "; ".join(f"{name}: {text.duration(value)}" for name, value in seconds.items())
    axis = "seconds, all complete folds"
    return figures.bars(seconds, axis=axis, name="timing", label=words)
