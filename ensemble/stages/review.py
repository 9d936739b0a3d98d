"""Labels worth a second look, and what comes of changing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.prepared import read_summary
from ensemble.battles.split import read_split, read_split_summary
from ensemble.config.load import load_run_config
from ensemble.errors import ArtifactError
from ensemble.review.effect import measure_list, measure_shares
from ensemble.review.review import ROWS, Review, keep_actions, review
from ensemble.run_dir.layout import REVIEW_LIST, REVIEW_RECORD
from ensemble.run_dir.review_record import MeasuredChange, ReviewRecord
from ensemble.stages.work import working

if TYPE_CHECKING:
    from ensemble.config.settings import Config
    from ensemble.run_dir.reporter import ProgressDisplay, Reporter


def review_stage(
    run: Path,
    *,
    by: str | None = None,
    rows: int = ROWS,
    output: Path | None = None,
    measure: Path | None = None,
    shares: bool = False,
    learner: str | None = None,
    display: ProgressDisplay | None = None,
) -> tuple[Review, ReviewRecord]:
    """Write the list of doubtful labels, and measure what is asked for.

    Parameters
    ----------
    run
        The run directory.
    by, rows
        As in ``review``.
    output
        Where the list goes; None is ``review.csv`` in the run. Actions that a list there already
        has are kept.
    measure
        A list to measure.
    shares
        Whether to measure leaving out the most contradicted rows.
    learner
        The learner that is fitted for it; None is the proxy.
    display
        Where a person watches.
    """
    config, path = load_run_config(run), output or run / REVIEW_LIST
    with working(config, display) as reporter, reporter.stage("review"):
        found = keep_actions(review(run, by, rows), path)
        found.write(path)
        known = _known(run)
        record = known.model_copy(update={**found.to_json(), "path": str(path)})
        record = record.model_copy(
            update=_measured(config, reporter, measure, learner, shares=shares)
        )
        record.write(run / REVIEW_RECORD)
    return found, record


def _known(run: Path) -> ReviewRecord:
    """Give what is known of the run as it is now; measurements of another are forgotten."""
    plan, data = read_split(run).fingerprint, read_summary(run).data
    fresh = ReviewRecord(plan=plan, data=data)
    if not (run / REVIEW_RECORD).exists():
        return fresh
    try:
        stored = ReviewRecord.read_checksummed(run / REVIEW_RECORD)
    except ArtifactError:
        return fresh
    return stored if (stored.plan, stored.data) == (plan, data) else fresh


def _measured(
    config: Config, reporter: Reporter, measure: Path | None, learner: str | None, *, shares: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    doubt = read_split_summary(Path(config.run_dir)).doubt
    if doubt and (shares or measure is not None):
        reporter.warn(doubt)
    with reporter.progress("review") as progress:

        def tell(text: str) -> None:
            progress(0.0, text)

        if measure is not None:
            found["of_list"] = measure_list(config, measure.resolve(), learner, tell)
        if shares:
            found["of_shares"] = measure_shares(config, learner, tell)
    return {name: MeasuredChange.model_validate(value) for name, value in found.items()}
