"""What a reader has to know before trusting the report's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.report.data import Learner, Report

# Predictions are stored as float64 and losses with all their digits: what differs more is not
# rounding.
_TOLERANCE = 1e-6


def cautions(report: Report) -> list[str]:
    """List everything that is missing, odd or unproven, in whole sentences."""
    return [
        *_about_audit(report),
        *_about_failures(report),
        *_about_learners(report),
        *_about_stack(report),
        *(
            f"{name} is damaged: {what}. What it holds is not measured: run `ensemble run CONFIG` "
            "again."
            for name, what in report.damaged.items()
        ),
        *(f"Left out. {reason}." for reason in report.left_out),
        *_about_data(report),
    ]


def _about_audit(report: Report) -> Iterator[str]:
    audit = report.audit
    if audit is not None and not audit.ok:
        yield "The audit found that this run breaks an honesty rule; see the audit section."
    if audit is None and report.audited_before:
        yield (
            "Files of the run have changed since its audit, or the audit is damaged: nothing is "
            "proved of what is shown here. Run `ensemble audit RUN`."
        )
    for name in report.unproven:
        yield (
            f"The training rows of learner {name} are unknown: it may have seen the rows that it "
            "is scored on."
        )
    if report.doubt:
        yield report.doubt
    if report.plan_fault:
        yield f"The config is not the one that the scores are of: {report.plan_fault}."


def _about_failures(report: Report) -> Iterator[str]:
    for one in report.failures:
        yield (
            f"Learner {one.name} failed ({one.at}): {one.sentence}. It is not in the stack."
            if one.needs is None
            else f"Learner {one.name} was not fitted: {one.reason}."
        )
    for meta in report.verdict.failed if report.verdict else ():
        line = f" ({meta.line})" if meta.line else ""
        yield (
            f"The meta-learner {meta.name} failed: {meta.reason}{line}. Only simple candidates "
            "were compared."
        )


def _about_learners(report: Report) -> Iterator[str]:
    for learner in report.learners:
        yield from (f"Learner {learner.name}: {text}." for text in learner.cautions)
        if learner.privileged:
            yield (
                f"Learner {learner.name} sees {', '.join(learner.privileged)}, which do not exist "
                "at test time: its scores are of a teacher, and nobody has them there."
            )
        if learner.rows_missing:
            stacked = {one.name for one in report.candidates.learners} if report.candidates else ()
            apart = report.candidates is not None and learner.name not in stacked
            yield _missing_rows(learner) + (" It takes no part in the stack." if apart else "")


def _missing_rows(learner: Learner) -> str:
    planned = "" if learner.folds_planned is None else f" of {learner.folds_planned}"
    done = len(learner.folds_done)
    if done == learner.folds_planned:  # it brings its predictions, and has not all
        return (
            f"Learner {learner.name} has no prediction of {learner.rows_missing:,} target rows; "
            "they are in none of its scores."
        )
    return (
        f"Learner {learner.name}: {done}{planned} folds are complete; "
        f"{learner.rows_missing:,} target rows have no prediction and are in none of its scores."
    )


def _about_stack(report: Report) -> Iterator[str]:
    if report.stack_fault is not None:
        yield (
            f"The stack is not of this run as it is now: {report.stack_fault}. Its verdict and "
            "scores are not shown, and submission.csv may come from it: run "
            "`ensemble run CONFIG` again."
        )
    candidates, lead, chosen = report.candidates, report.selected, report.chosen
    if candidates is not None and candidates.rows_missing:
        yield (
            f"{candidates.rows_missing:,} target rows lack a prediction and are in none of the "
            "candidates' scores."
        )
    verdict = report.verdict
    if verdict is not None and verdict.would_have_chosen not in (None, verdict.chosen):
        yield (
            f"The config asks for {verdict.chosen}; by the evidence it would be "
            f"{verdict.would_have_chosen}."
        )
    if lead is None or not lead.is_chosen or chosen is None:
        return
    difference = abs(lead.log_loss - chosen.score.log_loss)
    if np.isfinite(difference) and difference > _TOLERANCE:
        yield (
            f"stack/oof.parquet scores {lead.log_loss:.6f}, but the recorded log loss of "
            f"{chosen.name} is {chosen.score.log_loss:.6f}: run `ensemble run CONFIG` again."
        )


def _about_data(report: Report) -> Iterator[str]:
    yield from _about_pretraining(report)
    for source in report.sources.sources if report.sources else ():
        if source.dropped_rows:
            why = "; ".join(f"{kind} ({count:,})" for kind, count in source.dropped_for.items())
            reasons = f": {why}" if why else ""
            what = f"rows of source {source.name} could not be used"
            yield f"{source.dropped_rows:,} {what}{reasons}."
        yield from source.warnings
    if report.plan is not None:
        yield from report.plan.warnings
    if report.candidates:
        yield from report.candidates.doubts


def _about_pretraining(report: Report) -> Iterator[str]:
    """Point out rows for pre-training that some learner, or every one, has no use for."""
    states = {one.name: one.pretrain for one in report.learners if one.pretrain is not None}
    without = [name for name, state in states.items() if state == "unsupported"]
    if not without:
        return
    who = (
        "no learner of this run pre-trains: they were not used"
        if len(without) == len(states)
        else f"{', '.join(without)} cannot pre-train: not used there"
    )
    for source in report.labels or ():
        if source.role == "pretrain":
            yield f"{source.rows:,} rows of source {source.source} are for pre-training, and {who}."
