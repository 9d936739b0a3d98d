"""From a run directory to what the report shows; what no stage has written yet stays None."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ensemble.audit.audit import read_audit
from ensemble.battles.labels import WINNER_COLUMN
from ensemble.battles.prepared import read_battles
from ensemble.battles.split import read_split
from ensemble.errors import ArtifactError, DataError
from ensemble.evaluation.losses import class_prior_losses
from ensemble.evaluation.scores import class_prior_loss
from ensemble.report import tables
from ensemble.report.candidates import collect_candidates, find_fault
from ensemble.report.comparisons import collect_comparisons
from ensemble.report.configured import read_config
from ensemble.report.data import Report, Submission
from ensemble.report.learners import compare_learners, read_learners, score_learners
from ensemble.report.selected import collect_selected, read_chosen
from ensemble.report.soups import read_soups
from ensemble.report.source_studies import collect_studies
from ensemble.report.staleness import Asked, RunKey
from ensemble.run_dir.battles_record import BattlesRecord
from ensemble.run_dir.failure_record import read_failure
from ensemble.run_dir.folds_record import FoldsRecord
from ensemble.run_dir.layout import (
    AUDIT,
    BATTLES,
    BATTLES_RECORD,
    CANDIDATES,
    FOLDS,
    FOLDS_RECORD,
    HOLDOUT_RECORD,
    REVIEW_RECORD,
    STACK,
    SUBMISSION,
    TRUTH,
    VERDICT,
)
from ensemble.run_dir.record import HINT
from ensemble.run_dir.review_record import ReviewRecord
from ensemble.run_dir.stack_records import Candidates, Verdict
from ensemble.run_dir.truth_record import Truth
from ensemble.submission.forms import WINNERS, form_of
from ensemble.submission.holdout import read_holdout
from ensemble.submission.parse import read_submission
from ensemble.submission.record import submission_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ensemble.config.settings import Metric
    from ensemble.failure import Failure
    from ensemble.oof.eval_set import EvalSet
    from ensemble.report.tables import Predictions
    from ensemble.run_dir.holdout_record import HoldoutRecord

T = TypeVar("T")


def collect(run: Path) -> Report:
    """Read everything that the report shows.

    Raises
    ------
    ArtifactError
        Config, battles or fold plan are there but damaged. Missing files are no error, and of a
        damaged by-product the report says that it is.
    """
    config = read_config(run)
    _check_tables(run)
    plan, sources = FoldsRecord.read(run / FOLDS_RECORD), BattlesRecord.read(run / BATTLES_RECORD)
    basis = RunKey.of(plan, sources)
    target = tables.read_target(run)
    asked = Asked.of(run, config, basis)
    names = config.learners if config else None
    ties = sources is None or sources.ties
    predictions, left_out = read_learners(run, names, target, basis, asked, ties=ties)
    comparisons, stale = collect_comparisons(run, plan, sources, asked.config)
    studies, outdated = collect_studies(run, plan, sources)
    damaged: dict[str, str] = {}
    candidates, verdict, stacked, fault = _read_stack(run, target, basis, predictions, asked)
    return Report(
        run="/".join(run.resolve().parts[-2:]),
        config=config,
        sources=sources,
        plan=plan,
        labels=tables.read_labels(run),
        target_rows=None if target is None else len(target.rows),
        target_clusters=None if target is None else len(np.unique(target.clusters)),
        target_shares=None if target is None or not len(target.rows) else target.shares,
        class_prior=_class_prior(target, stacked, "log_loss"),
        class_prior_accuracy=_prior_accuracy(target, stacked),
        learners=score_learners(predictions, target, plan, candidates, ties=ties),
        agreement=compare_learners(predictions),
        scored_candidates=collect_candidates(candidates, verdict),
        candidates=candidates,
        verdict=verdict,
        stack_fault=fault,
        selected=collect_selected(run, target, stacked, predictions, ties=ties),
        truth=_unless_damaged(TRUTH, lambda: Truth.read_whole(run / TRUTH), damaged),
        failures=_failures(run, names),
        audit=read_audit(run),
        audited_before=(run / AUDIT).exists(),
        plan_fault=asked.plan_fault(),
        submission=_unless_damaged(SUBMISSION, lambda: _read_submission(run, asked), damaged),
        comparisons=comparisons,
        studies=studies,
        review=_unless_damaged(REVIEW_RECORD, lambda: _read_review(run, basis), damaged),
        damaged=damaged,
        left_out=(*left_out, *stale, *outdated),
        holdout=_unless_damaged(HOLDOUT_RECORD, lambda: _read_holdout(run, asked), damaged),
        soups=read_soups(run, asked),
    )


def _read_stack(
    run: Path,
    target: EvalSet | None,
    basis: RunKey,
    learners: Sequence[Predictions],
    asked: Asked,
) -> tuple[Candidates | None, Verdict | None, Predictions | None, str | None]:
    """Read the stack whole or, with the reason, not at all."""
    stack = run / STACK
    try:
        fault = find_fault(run, basis, learners, asked)
        if fault:
            return None, None, None, fault
        candidates = Candidates.read(stack / CANDIDATES)
        verdict = Verdict.read(stack / VERDICT)
        return candidates, verdict, read_chosen(run, verdict, target), None
    except ArtifactError as error:
        return None, None, None, f"{Path(error.where or stack).name} is damaged: {error.message}"


def _unless_damaged(name: str, read: Callable[[], T], damaged: dict[str, str]) -> T | None:
    """Read a by-product; where it is damaged, note what is wrong with it."""
    try:
        return read()
    except (ArtifactError, DataError) as error:
        damaged[name] = error.message
        return None


def _failures(run: Path, learners: Sequence[str] | None) -> tuple[Failure, ...]:
    """Read why learners of the config are not complete."""
    found = (read_failure(run, name) for name in learners or ())
    return tuple(record.failure for record in found if record is not None)


def _read_review(run: Path, basis: RunKey) -> ReviewRecord | None:
    """Read what is known of the labels; None where it is of other battles or folds."""
    path = run / REVIEW_RECORD
    found = ReviewRecord.read_checksummed(path) if path.exists() else None
    return found if found and (found.plan, found.data) == (basis.plan, basis.data) else None


def _read_holdout(run: Path, asked: Asked) -> HoldoutRecord | None:
    config = asked.config
    if config is None or not config.folds.holdout or not (run / HOLDOUT_RECORD).exists():
        return None
    return read_holdout(run, config)


def _read_submission(run: Path, asked: Asked) -> Submission | None:
    fault = submission_fault(run, asked.config) if asked.config else None
    if fault:
        raise ArtifactError(fault)
    path = run / SUBMISSION
    if not path.exists():
        return None
    predicted = read_submission(path)
    form = form_of(predicted.columns)
    if not len(predicted):
        return Submission(0, None, form.is_winner)
    if form.is_winner:
        named = predicted[WINNER_COLUMN].to_list()
        shares = tuple(named.count(winner) / len(named) for winner in WINNERS)
        return Submission(len(predicted), shares, is_winner=True)
    means = predicted.select(form.columns[1:]).to_numpy().mean(axis=0)
    return Submission(len(predicted), tuple(means.tolist()))


def _check_tables(run: Path) -> None:
    """Refuse battles and plan that are not what was written: labels are in them, and so scores.

    What no stage has written yet is no error; a table without its record is.
    """
    if any((run / name).exists() for name in (BATTLES, BATTLES_RECORD)):
        _refuse_damaged(lambda: read_battles(run))
    if any((run / name).exists() for name in (FOLDS, FOLDS_RECORD)):
        _refuse_damaged(lambda: read_split(run))


def _refuse_damaged(read: Callable[[], object]) -> None:
    try:
        read()
    except ArtifactError as error:
        raise ArtifactError(error.message, where=error.where, hint=HINT) from error
    except KeyError as error:
        raise ArtifactError(f"a record of the run lacks {error}", hint=HINT) from error


def _prior_accuracy(target: EvalSet | None, stacked: Predictions | None) -> float | None:
    error = _class_prior(target, stacked, "accuracy")
    return None if error is None else 1.0 - error


def _class_prior(
    target: EvalSet | None, stacked: Predictions | None, metric: Metric
) -> float | None:
    """Score the class prior, on the rows of the chosen candidate where there is one."""
    if target is None:
        return None
    rows = np.ones(len(target.rows), bool) if stacked is None else np.isfinite(stacked.losses)
    if not rows.any():
        return None
    if len(np.unique(target.folds[rows])) < 2:  # one block of time is scored, against the others
        return float(class_prior_losses(target.labels, target.folds, metric)[rows].mean())
    return class_prior_loss(target.labels[rows], target.folds[rows], metric)
