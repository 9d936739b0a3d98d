"""``truth.json``: what only a generated data set can know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ensemble.run_dir.record import HINT, Record
from ensemble.storage.json_files import read_checksummed

if TYPE_CHECKING:
    from pathlib import Path


class DrawnTruth(Record):
    """Predictions and true distributions, scored on the same drawn labels."""

    log_loss: float | None = None
    best_log_loss: float | None = None


class Truth(Record):
    """``truth.json``: what only a generated data set can know."""

    @classmethod
    def read_whole(cls, path: Path) -> Self | None:
        """Read it as ``read`` does, and see that it is what was written."""
        if path.exists():
            read_checksummed(path, hint=HINT)
        return cls.read(path)

    best_log_loss_target: float | None = None
    target: DrawnTruth | None = None
    test: DrawnTruth | None = None

    @property
    def drawn(self) -> float | None:
        """Log loss of the true distributions on the labels that the target rows have."""
        return self.target.best_log_loss if self.target else None

    @property
    def best(self) -> float | None:
        """The best possible log loss on target rows: on their labels, or as an expectation."""
        return self.best_log_loss_target if self.drawn is None else self.drawn
