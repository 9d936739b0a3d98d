"""The proof of a run, and the report that shows it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.audit.audit import Audit, audit_run, store_audit, stored_audit
from ensemble.audit.deep import DEEP_ROWS, audit_deep
from ensemble.config.load import load_run_config
from ensemble.errors import ArtifactError, AuditError, EnsembleError
from ensemble.report.write import write_report
from ensemble.stages.report import report_stage
from ensemble.stages.work import writing

if TYPE_CHECKING:
    from ensemble.config.settings import Config
    from ensemble.run_dir.reporter import Reporter


def audit_stage(config: Config, reporter: Reporter) -> Audit:
    """Prove the honesty rules from what is stored, before anything is reported.

    Raises
    ------
    AuditError
        A rule does not hold; the report shows which, and ``audit.json`` the offending ids.
    """
    directory = Path(config.run_dir)
    with reporter.stage("audit"):
        result = stored_audit(directory) or audit_run(directory)
        store_audit(directory, result)
    if not result.ok:
        report_stage(config, reporter)
        raise AuditError(
            result.sentence, where=str(directory), hint="see the report, and audit.json for ids"
        )
    reporter.log(f"audit  {result.sentence}")
    return result


def prove_stage(
    run: Path, *, deep: bool = False, rows: int = DEEP_ROWS
) -> tuple[Audit, Path | None, str | None]:
    """Audit a run anew, keep the result whatever it is, and write the report that shows it.

    Parameters
    ----------
    run
        The run directory.
    deep
        Ask stored models again for a sample of what is stored of their predictions.
    rows
        How many held-out, and test, rows of each fit such a sample takes.

    Returns
    -------
    tuple
        The audit; the report, or None with why it could not be written: another process writes to
        the run, say, which keeps nobody from auditing.

    Raises
    ------
    ArtifactError
        Battles or plan are damaged, so that nothing can be proved; the report says so then.
    """
    try:
        result = audit_deep(run, rows) if deep else audit_run(run)
    except ArtifactError:
        # Nothing can be proved; a former report must not go on to say otherwise.
        with suppress(EnsembleError), writing(load_run_config(run, is_judged=True)):
            write_report(run)
        raise
    try:
        with writing(load_run_config(run, is_judged=True)) as reporter:
            store_audit(run, result)
            reporter.event("audit", state=result.state, deep=deep)
            return result, write_report(run), None
    except EnsembleError as error:
        return result, None, error.message
