"""All that is there to ``report.html``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.report.record import is_altered, is_current_report, record_report
from ensemble.report.write import write_report
from ensemble.run_dir.layout import REPORT
from ensemble.stages.shared import say_again

if TYPE_CHECKING:
    from ensemble.config.settings import Config
    from ensemble.run_dir.reporter import Reporter


def report_stage(config: Config, reporter: Reporter) -> Path:
    """Turn all that is there into ``report.html``."""
    with reporter.stage("report"):
        path = write_report(Path(config.run_dir))
        record_report(Path(config.run_dir))
    reporter.log(f"report  {path}")
    return path


def keep_report(config: Config, reporter: Reporter) -> bool:
    """Say whether the report is of what is there now, so that it need not be written anew."""
    run = Path(config.run_dir)
    kept = is_current_report(run)
    if not kept and is_altered(run):
        say_again(reporter, REPORT, "it is not what was written")
    if kept:
        reporter.log(f"report  {Path(config.run_dir) / REPORT} (kept)")
    return kept
