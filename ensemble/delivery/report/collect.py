"""From a run directory to what the report shows; what no stage has written yet stays None."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.delivery.audit import subject_of
from ensemble.delivery.report import measures, tables
from ensemble.delivery.report.configured import read_config
from ensemble.delivery.report.contenders import collect_contenders, find_fault
from ensemble.delivery.report.data import Report, Submission
from ensemble.delivery.report.lead import collect_lead, read_chosen
from ensemble.delivery.report.learners import compare_learners, read_learners, score_learners
from ensemble.delivery.report.records import Audit, FoldPlan, Sources, Truth
from ensemble.delivery.report.records_stack import Candidates, Verdict
from ensemble.delivery.submission import read_submission
from ensemble.errors import ArtifactError
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.delivery.report.tables import Predictions, Target


def collect(run: Path) -> Report:
    """Read everything that the report shows.

    Raises
    ------
    ArtifactError
        A file is there but damaged. Missing files are no error.
    DataError
        The submission is no submission.
    """
    config = read_config(run)
    plan, sources = FoldPlan.read(run / "folds.json"), Sources.read(run / "battles.json")
    basis = tables.Basis.of(plan, sources)
    target = tables.read_target(run)
    predictions, left_out = read_learners(run, config.learners if config else None, target, basis)
    fault = find_fault(run, basis, predictions)
    stack = None if fault else run / "stack"
    candidates = Candidates.read(stack / "candidates.json") if stack else None
    verdict = Verdict.read(stack / "verdict.json") if stack else None
    stacked = read_chosen(run, verdict, target)
    return Report(
        run="/".join(run.resolve().parts[-2:]),
        config=config,
        sources=sources,
        plan=plan,
        labels=tables.read_labels(run),
        target_rows=None if target is None else len(target.rows),
        target_clusters=None if target is None else len(np.unique(target.clusters)),
        target_shares=None if target is None or not len(target.rows) else target.shares,
        class_prior=_class_prior(target, stacked),
        learners=score_learners(predictions, target, plan, candidates),
        agreement=compare_learners(predictions),
        contenders=collect_contenders(candidates, verdict),
        candidates=candidates,
        verdict=verdict,
        stack_fault=fault,
        lead=collect_lead(run, target, stacked, predictions),
        truth=Truth.read(run / "truth.json"),
        audit=_read_audit(run),
        submission=_read_submission(run / "submission.csv"),
        left_out=tuple(left_out),
    )


def _read_audit(run: Path) -> Audit | None:
    """Read the audit; a damaged one, or one of what has changed since, is as good as none."""
    try:
        audit = Audit.read(run / "audit.json")
    except ArtifactError:
        return None
    return audit if audit is not None and audit.subject == subject_of(run) else None


def _read_submission(path: Path) -> Submission | None:
    if not path.exists():
        return None
    predicted = read_submission(path).select(CLASSES).to_numpy()
    shares = tuple(predicted.mean(axis=0).tolist()) if len(predicted) else None
    return Submission(len(predicted), shares)


def _class_prior(target: Target | None, stacked: Predictions | None) -> float | None:
    """Score the class prior, on the rows of the chosen candidate where there is one."""
    if target is None:
        return None
    rows = np.ones(len(target.rows), bool) if stacked is None else np.isfinite(stacked.losses)
    return measures.class_prior_loss(target.labels[rows], target.folds[rows])
