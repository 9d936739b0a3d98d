"""What the choice of a candidate rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensemble.evaluation.intervals import MIN_CLUSTERS
from ensemble.evaluation.selection import corrected_gain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.config.settings import Metric
    from ensemble.evaluation.intervals import Estimate
    from ensemble.stacking.candidates import Candidate
    from ensemble.stacking.leakage import Leakage


@dataclass(frozen=True)
class Evidence:
    """What the choice rests on.

    Parameters
    ----------
    candidates
        In the order of ``scores`` and ``gains``.
    metric
        What was chosen by. With ``"accuracy"`` all numbers are of the error, 1 minus the accuracy.
    scores
        Log loss, or error, of each.
    gains
        Of each over the best simple candidate; those of meta-learners less the bound of the bias.
    best
        Index of the best simple candidate.
    bound
        What was taken off the gains of meta-learners.
    leakage
        Where the bound of leaked labels comes from; None where nothing was tested.
    flattery
        The part of ``bound`` that equal class shares within sources may give.
    effective
        Effective clusters.
    level
        What the intervals of the scores cover.
    gain_level
        What those of meta-learners' gains cover.
    attempts
        Meta-learners that were scored on these folds, this one included.
    """

    candidates: Sequence[Candidate]
    metric: Metric
    scores: Sequence[Estimate]
    gains: Sequence[Estimate]
    best: int
    bound: float
    leakage: Leakage | None
    flattery: float
    effective: float
    level: float
    gain_level: float
    attempts: int

    @property
    def names(self) -> list[str]:
        """Names of the candidates."""
        return [candidate.name for candidate in self.candidates]

    @property
    def corrected(self) -> list[float | None]:
        """Gains of meta-learners that are shown to gain, corrected for being chosen by that."""
        return [
            None if candidate.simple else corrected_gain(gain, self.gain_level)
            for candidate, gain in zip(self.candidates, self.gains, strict=True)
        ]

    @property
    def small(self) -> bool:
        """Whether there are too few clusters for an interval."""
        return self.effective < MIN_CLUSTERS
