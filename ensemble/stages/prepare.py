"""Sources to ``battles.parquet`` and clusters."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.battles.prepare import prepare
from ensemble.battles.prepared import read_summary
from ensemble.stages.shared import made_or_kept, record_config, say_again

if TYPE_CHECKING:
    from ensemble.config.settings import Config
    from ensemble.run_dir.battles_record import BattlesRecord, SourceRecord
    from ensemble.run_dir.reporter import Reporter


def prepare_stage(config: Config, reporter: Reporter) -> BattlesRecord:
    """Turn sources into ``battles.parquet`` and clusters."""
    with reporter.stage("prepare"):
        made = prepare(config, partial(say_again, reporter, "battles and clusters"))
        record_config(config)
        summary = read_summary(Path(config.run_dir))
        for source in summary.sources:
            _say_source(source, reporter)
        for name, use in config.source_uses().items():
            if use.role == "pseudo":
                reporter.event("pseudo-labels", source=name, labelers=list(use.pseudo_labelers))
                who = ", ".join(use.pseudo_labelers)
                reporter.log(f"{name}  labeled by {who}; labels in its file are not read")
    if vectors := summary.embeddings:
        reporter.event("vectors", **vectors.model_dump(exclude={"path"}))
        reporter.log(
            f"vectors  {vectors.with_vector:,} battles have one, {vectors.without_vector:,} "
            f"have none, {vectors.unknown_ids:,} ids are of no battle; "
            f"{vectors.pairs:,} pairs of paraphrases join clusters"
        )
    reporter.log("battles and clusters  " + made_or_kept(made))
    return summary


def _say_source(source: SourceRecord, reporter: Reporter) -> None:
    """Say how many battles a source has, and what is odd about them."""
    dropped = source.dropped_rows
    reporter.event("source", name=source.name, rows=source.rows, dropped=dropped)
    note = f", {dropped:,} rows dropped" if dropped else ""
    reporter.log(f"{source.name}  {source.rows:,} battles ({source.role}){note}")
    if source.read_as:
        reporter.log(f"  read as {source.read_as}")
    for told in source.notes:
        reporter.log(f"  {told}")
    if dropped:
        _say_dropped(source, reporter)
    for warning in source.warnings:
        reporter.warn(warning)


def _say_dropped(source: SourceRecord, reporter: Reporter) -> None:
    """Say why rows were left out, and what became of the label shares."""
    for kind, count in source.dropped_for.items():
        reporter.log(f"  {count:,} dropped: {kind}")
    before, after = source.label_shares_before, source.label_shares
    if before is not None and None not in after:
        told = [", ".join(f"{share:.1%}" for share in shares) for shares in (before, after)]
        reporter.log(f"  A, B, tie: {told[0]} with them, {told[1]} without")
