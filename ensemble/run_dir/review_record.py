"""``review.json``: what is known of a run's labels, and what came of changing them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ensemble.run_dir.record import Record
from ensemble.run_dir.stack_records import Interval


class ShareGain(Record):
    """What it gains to leave out a share of the training rows, the most contradicted first."""

    share: float
    gain: Interval


class MeasuredChange(Record):
    """What changed labels do to the log loss on the target."""

    learner: str
    seeds: int
    scored_rows: int
    exact: bool
    gain: Interval | None = None
    rows: dict[str, int] = Field(default_factory=dict)
    shares: tuple[ShareGain, ...] = ()


class ReviewRecord(Record):
    """All of it.

    Parameters
    ----------
    plan, data
        Fingerprint of the fold plan and key of the battles that it is of.
    by, proven
        Whose predictions the labels were held against; whether its training rows are on record.
    counts
        Rows by the reason to look at them.
    path
        Where the list is.
    of_list, of_shares
        What ``--measure`` and ``--shares`` found; None where they were not asked for.
    """

    plan: str
    data: str
    by: str | None = None
    proven: bool = True
    counts: dict[str, int] = Field(default_factory=dict)
    path: str | None = None
    of_list: MeasuredChange | None = None
    of_shares: MeasuredChange | None = None

    def told(self) -> dict[str, Any]:
        """Give it as JSON."""
        return self.model_dump()
