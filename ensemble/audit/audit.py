"""The proof that a run is honest, from what is stored and nothing else.

Clusters and swaps are computed anew from the texts; the plan, the recorded training ids, the
predictions, the scores and the stack are held against them, and all of it against the config. It
proves which rows were handed to ``fit``, and cannot see what a plugin does on its own. It proves
that files fit together, not who wrote them (``LIMITS``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import polars as pl

from ensemble.audit.checks import Check, CheckList
from ensemble.audit.fingerprint import subject_of
from ensemble.audit.fits import check_fit, fits_of
from ensemble.audit.holdout import check_holdout
from ensemble.audit.pairs import check_pair_fits
from ensemble.audit.plan import check_described, check_given, check_plan, recomputed
from ensemble.audit.privileged import check_leaks, check_privileged
from ensemble.audit.result import Audit
from ensemble.audit.scores import check_scores, check_tries
from ensemble.audit.stack import check_stack, stacked_learners
from ensemble.battles.embeddings import PARAPHRASE
from ensemble.battles.plan import NO_METADATA
from ensemble.battles.prepared import (
    read_battles,
    read_clusters,
    read_metadata,
    read_pairs,
    read_stored_corrections,
)
from ensemble.battles.split import read_split
from ensemble.config.load import config_fault, load_run_config
from ensemble.errors import ArtifactError, ConfigError
from ensemble.oof.eval_set import EvalSet
from ensemble.oof.fold_key import shared_parts
from ensemble.oof.store import FoldStore
from ensemble.oof.teaching import PlanShape
from ensemble.oof.workspace import read_privileged, without_holdout_labels
from ensemble.run_dir.layout import AUDIT, CONFIG, STACK, SUBMISSION
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.run_dir.unfinished_record import read_unfinished
from ensemble.stacking.settings import learner_specs
from ensemble.stacking.tries import scored_rows
from ensemble.storage.json_files import read_checksummed, write_checksummed
from ensemble.submission.record import submission_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ensemble.audit.fits import Fit
    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.config.settings import Config

__all__ = ["AUDIT", "Audit", "audit_run", "read_audit", "store_audit", "stored_audit", "subject_of"]

_HINT = "run `ensemble audit RUN`"
_UNREADABLE = (AttributeError, LookupError, TypeError, ValueError, pl.exceptions.PolarsError)
"""What reading raises where a file is whole and says something else than it should."""


def audit_run(run: Path) -> Audit:
    """Prove the honesty rules of a run.

    Parameters
    ----------
    run
        The run directory.

    Returns
    -------
    Audit
        What holds, what does not with the offending ids, and what was not measured.

    Raises
    ------
    ArtifactError
        Battles or fold plan are missing or damaged, so that nothing can be proved.
    ConfigError
        The run's config cannot be read.
    """
    # Before anything is read: what changes while the audit looks is then not taken for audited.
    subject = subject_of(run)
    config = load_run_config(run, is_judged=True)
    battles, data = read_battles(run)
    plan = read_split(run)
    # What the config says is what the reader believes: not what a plan says of itself.
    threshold = config.folds.near_duplicate_threshold
    metadata = _metadata(run)
    truth = recomputed(battles, plan, config.folds, _paraphrases(run), metadata)
    only = config.some_folds(plan.n_splits)
    store = FoldStore(run, plan.fingerprint, data, plan.n_splits, config.task.ties, only)
    ledger = CheckList()
    check_described(config, data, ledger)
    if fault := config_fault(run):
        ledger.fail("the config is what was written", f"{fault} ({CONFIG})")
    _check_tables(run, ledger)
    check_plan(truth, plan.n_splits, threshold, ledger)
    check_given(config, metadata, truth, ledger)
    columns = _check_columns(run, config, battles, plan, ledger)
    shape = PlanShape(plan.n_splits, plan.is_ordered)
    _check_learners(store, config, truth, ledger, (shape, columns))
    with _readable("stack", ledger):
        check_stack(store, config, truth, ledger)
    with _readable("stack", ledger):
        check_scores(store, EvalSet.of(battles, plan), ledger)
        check_tries(run, scored_rows(plan, battles, ties=config.task.ties), ledger)
    _check_submission(run, config, ledger)
    with _readable("hold-out", ledger):
        check_holdout(run, config, plan, battles, ledger)
    return Audit.of(ledger, subject)


def _paraphrases(run: Path) -> pl.DataFrame | None:
    """Read the pairs that vectors told of; None where they are damaged, which is said elsewhere."""
    try:
        return read_pairs(run).filter(pl.col("kind") == PARAPHRASE)
    except ArtifactError:
        return None


def _metadata(run: Path) -> pl.DataFrame:
    """Read what files say beside their battles; none where damaged, which is said elsewhere."""
    try:
        return read_metadata(run)
    except ArtifactError:
        return NO_METADATA


def _check_tables(run: Path, ledger: CheckList) -> None:
    """Check the tables that stand behind the plan, which are computed anew and not read."""
    fault = None
    try:
        read_clusters(run)
        read_pairs(run)
        read_metadata(run)
        _note_lists(read_stored_corrections(run), ledger)
    except ArtifactError as error:
        fault = f"{error.message} ({error.where})"
    ledger.settle(
        "clusters, pairs and what is kept beside battles are what was written",
        fault,
        "their hashes hold",
    )


def _note_lists(corrections: pl.DataFrame | None, ledger: CheckList) -> None:
    """Note a list of labels: whoever filled it in may have seen predictions of the scored rows."""
    for name in [] if corrections is None else corrections["source"].unique().sort().to_list():
        ledger.note(
            ledger.unproven,
            f"labels of {name}: predictions that had seen the scored folds may have chosen the "
            "rows that training leaves out or relabels",
        )


def _check_columns(
    run: Path, config: Config, battles: pl.DataFrame, plan: FoldPlan, ledger: CheckList
) -> dict[str, str] | None:
    """Check who saw what does not exist at test time; gives what names those columns now."""
    check_privileged(run, config, ledger)
    try:
        columns = read_privileged(config, battles)
    except (ArtifactError, ConfigError) as error:
        ledger.fail("privileged columns are there", error.message)
        return None
    if columns is None:
        return {}
    check_leaks(config, without_holdout_labels(battles, plan), columns, ledger)
    return columns.digests


def _check_learners(
    store: FoldStore,
    config: Config,
    truth: pl.DataFrame,
    ledger: CheckList,
    known: tuple[PlanShape, dict[str, str] | None],
) -> None:
    shape, columns = known
    shared = shared_parts(
        store.data, store.plan, config.source_uses(), config.seed, shape=shape, columns=columns
    )
    asked = {spec.name: (spec, shared) for spec in learner_specs(config)}
    unfinished = read_unfinished(store.run).fits
    # A learner that was taken out of the config may still be in the stack.
    for name in dict.fromkeys([*asked, *stacked_learners(store.run)]):
        for fit in fits_of(name, config, store.n_splits):
            with _readable(fit.name, ledger):
                if _is_undone(store, fit, unfinished.get(name, {})):
                    ledger.missing.append(fit.name)
                    continue
                check_fit(store, fit, truth, ledger, asked.get(name))
    with _readable("pairs of folds", ledger):
        check_pair_fits(store, config, truth, ledger, asked)


def _is_undone(store: FoldStore, fit: Fit, unfinished: Mapping[str, str]) -> bool:
    """Say whether a fit is still undone, and what lies in its place is of former settings."""
    key, directory = unfinished.get(fit.held_out.name), store.directory(fit.learner, fit.held_out)
    if key is None or not directory.exists():
        return False
    return bool(peek_manifest(directory).get("key") != key)


def _check_submission(run: Path, config: Config, ledger: CheckList) -> None:
    if not (run / STACK).exists():
        return  # noted as missing: what a submission is from cannot be told without it
    fault = submission_fault(run, config)
    if fault or (run / SUBMISSION).exists():
        ledger.settle(
            "submission: made from this stack", fault, "file, stack and test logits are the same"
        )


@contextmanager
def _readable(name: str, ledger: CheckList) -> Iterator[None]:
    """Note a manifest that says something else than it should as a failed check, and go on."""
    try:
        yield
    except _UNREADABLE as error:
        what = f"the manifest cannot be read: {type(error).__name__}: {error}"
        ledger.fail(f"{name}: what is stored can be trusted", what)


def store_audit(run: Path, audit: Audit) -> Path:
    """Write an audit into its run, whatever it found; hold the run's lock."""
    write_checksummed(run / AUDIT, audit.to_json())
    return run / AUDIT


def read_audit(run: Path) -> Audit | None:
    """Read back the last audit, failed ones too; None where it is not of what is there now."""
    try:
        stored = read_checksummed(run / AUDIT, hint=_HINT)
        checks = tuple(Check(**{**item, "ids": tuple(item["ids"])}) for item in stored["checks"])
        lists = {name: tuple(stored[name]) for name in Audit.LISTS}
        audit = Audit(checks, **lists, subject=stored["subject"], deep=stored["deep"])
    except (ArtifactError, KeyError, TypeError):
        return None
    return audit if checks and audit.subject == subject_of(run) else None


def stored_audit(run: Path) -> Audit | None:
    """Read back an audit that holds and is of what is there now; None asks for a new one."""
    audit = read_audit(run)
    return audit if audit is not None and audit.ok else None
