"""Battles to ``folds.parquet``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.battles.split import read_split_summary, split
from ensemble.battles.split_text import told_of
from ensemble.stages.shared import check_and_record, made_or_kept, say_again

if TYPE_CHECKING:
    from ensemble.config.settings import Config
    from ensemble.run_dir.folds_record import FoldsRecord
    from ensemble.run_dir.reporter import Reporter


def split_stage(config: Config, reporter: Reporter) -> FoldsRecord:
    """Turn battles into ``folds.parquet``."""
    directory = Path(config.run_dir)
    with reporter.stage("split"):
        check_and_record(config)
        made = split(
            directory,
            config.folds,
            seed=config.seed,
            tell=partial(say_again, reporter, "fold plan"),
        )
        summary = read_split_summary(directory)
        overlap = summary.test_overlap
        if overlap and overlap.test_rows:
            reporter.event("test overlap", **overlap.model_dump())
            reporter.log(
                f"{overlap.test_rows:,} of {overlap.of:,} test rows have a labeled relative: "
                "scores on these flatter"
            )
        for line in told_of(summary):
            reporter.log(line)
        for warning in summary.warnings:
            reporter.warn(warning)
    reporter.log("fold plan  " + made_or_kept(made))
    return summary
