"""Paired differences with intervals, over all rows and in slices: arrays in, JSON out.

One draw of clusters serves every learner and every slice, so that differences are paired and the
intervals know how the slices hang together. Two families of comparisons are held apart, each of
which is wrong in 5% of the cases where nothing differs:

- **all rows**: the interval of the verdict (``expanded_interval``); with ``k`` candidates each
  at level ``1 - 0.05 / k`` (Bonferroni).
- **slices**: simultaneous intervals (``max_t``) over all slices and candidates. The critical
  value, which is that of a normal distribution, is turned into Student's for as many clusters as
  the slice has: the spread of a few clusters is itself badly known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from ensemble.evaluation.bootstrap import bootstrap_means, effective_count
from ensemble.evaluation.intervals import LEVEL, MIN_CLUSTERS, Estimate, expanded_interval, max_t

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.compare.slices import Slice
    from ensemble.plugin.base import FloatArray, IntArray

BETTER, WORSE, OPEN, UNMEASURED = "better", "worse", "no difference shown", "not measured"
"""What an interval of a candidate's loss minus the reference's says of the candidate."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows, summed by cluster.

    Parameters
    ----------
    rows
        ``(n,)`` mask.
    counts
        ``(clusters,)`` rows of each cluster.
    sums
        ``(clusters, learners)`` their losses.
    """

    rows: np.ndarray
    counts: FloatArray
    sums: FloatArray

    @property
    def clusters(self) -> int:
        """Clusters that have a row in it."""
        return int((self.counts > 0).sum())

    @property
    def effective(self) -> float:
        """How many clusters of equal size would tell as much."""
        return effective_count(self.counts)

    @property
    def measured(self) -> bool:
        """Whether there are clusters enough for an interval."""
        return self.effective >= MIN_CLUSTERS

    @property
    def means(self) -> FloatArray:
        """Mean loss of each learner, ``(learners,)``."""
        return np.asarray(self.sums.sum(axis=0) / self.counts.sum())

    def size(self) -> dict[str, Any]:
        """Give the counts as JSON."""
        return {
            "rows": int(self.counts.sum()),
            "clusters": self.clusters,
            "effective_clusters": round(self.effective, 1),
        }


def measure(
    names: Sequence[str],
    losses: FloatArray,
    clusters: IntArray,
    slices: Sequence[Slice],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compare columns of losses with the first, over all rows and in each slice.

    Parameters
    ----------
    names
        Names of the columns, the reference first.
    losses
        ``(n, len(names))`` finite log loss of each row.
    clusters
        ``(n,)``.
    slices
        Parts of the rows. What parts nothing, because all rows have one value, is named under
        ``uniform`` and not measured a second time.
    resamples, seed
        Bootstrap draws and their seed.

    Returns
    -------
    dict
        ``clusters``, ``overall``, ``slices``, ``uniform``, ``family``, and what the bootstrap was.
    """
    number = np.unique(clusters, return_inverse=True)[1]
    whole = _part(losses, number, np.ones(len(losses), dtype=bool))
    kept, uniform = _parting(slices, len(losses))
    parts = [_part(losses, number, one.rows) for one in kept]
    measured = [part for part in parts if part.measured]
    draws = _draw([whole, *measured], resamples, seed)
    family = _simultaneous(measured, draws[:, 1:])
    described = iter(_describe(names, *item) for item in zip(measured, *family, strict=True))
    return {
        "clusters": whole.clusters,
        "overall": _overall(names, whole, draws[:, 0]),
        "slices": [
            {
                "by": one.by,
                "value": one.value,
                **part.size(),
                **(next(described) if part.measured else _UNMEASURED),
            }
            for one, part in zip(kept, parts, strict=True)
        ],
        "uniform": uniform,
        "family": {
            "overall": len(names) - 1,
            "slices": len(measured) * (len(names) - 1),
            "too_small": len(parts) - len(measured),
            "smallest": MIN_CLUSTERS,
        },
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
    }


_UNMEASURED: dict[str, Any] = {"measured": False, "losses": None, "differences": None}


def _parting(slices: Sequence[Slice], rows: int) -> tuple[list[Slice], dict[str, str]]:
    """Leave out empty slices and those that hold every row."""
    uniform = {one.by: one.value for one in slices if one.rows.sum() == rows}
    kept = [one for one in slices if one.rows.any() and one.by not in uniform]
    return kept, uniform


def _part(losses: FloatArray, number: IntArray, rows: np.ndarray) -> Part:
    size = int(number.max()) + 1
    sums = [np.bincount(number[rows], weights=column[rows], minlength=size) for column in losses.T]
    counts = np.bincount(number[rows], minlength=size).astype(np.float64)
    return Part(rows, counts, np.column_stack(sums))


def _draw(parts: Sequence[Part], resamples: int, seed: int) -> FloatArray:
    """Draw the mean loss of each learner in each part: ``(resamples, parts, learners)``.

    The draws are those of the verdict where the rows are the same, and so are its numbers.
    """
    learners = parts[0].sums.shape[1]
    table = np.column_stack([np.column_stack([part.sums, part.counts]) for part in parts])
    drawn = bootstrap_means(table, np.arange(len(table)), resamples=resamples, seed=seed)
    cells = drawn.reshape(resamples, len(parts), learners + 1)
    counts = cells[:, :, -1:]
    # A part is missing from about one draw in e^20: the measured mean stands in for it.
    means = np.stack([part.means for part in parts])
    return np.where(counts > 0, cells[:, :, :-1] / np.where(counts > 0, counts, 1.0), means)


def _overall(names: Sequence[str], whole: Part, draws: FloatArray) -> dict[str, Any]:
    """Describe all rows: levels at ``LEVEL``, differences corrected for several candidates."""
    if not whole.measured:
        losses = {
            name: {"mean": float(mean), "low": None, "high": None}
            for name, mean in zip(names, whole.means, strict=True)
        }
        differences = {
            name: {"mean": float(mean - whole.means[0]), "low": None, "high": None}
            | {"conclusion": UNMEASURED}
            for name, mean in zip(names[1:], whole.means[1:], strict=True)
        }
        return {"measured": False, **whole.size(), "losses": losses, "differences": differences}
    level = 1.0 - (1.0 - LEVEL) / (len(names) - 1)
    differences = {}
    for k, name in enumerate(names[1:], start=1):
        ends = expanded_interval(draws[:, k] - draws[:, 0], whole.effective, level)
        differences[name] = _judged(Estimate(float(whole.means[k] - whole.means[0]), *ends))
    return {
        "measured": True,
        **whole.size(),
        "losses": _levels(names, whole, draws),
        "differences": differences,
    }


def _simultaneous(
    parts: Sequence[Part], draws: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Give draws, and the ends of simultaneous intervals, each ``(parts, ...)``.

    Returns
    -------
    tuple
        ``(parts, resamples, learners)`` draws, and lower and upper ends ``(parts, candidates)``.
    """
    learners = draws.shape[2]
    if not parts:
        nothing = np.empty((0, learners - 1))
        return np.empty((0, len(draws), learners)), nothing, nothing
    means = np.stack([part.means for part in parts])
    point = means[:, 1:] - means[:, :1]
    found = draws[:, :, 1:] - draws[:, :, :1]
    spread = found.std(axis=0)
    critical = max_t(found - point, spread)
    effective = np.array([[part.effective] for part in parts])
    # As sure as a normal distribution would be at the critical value, but for few clusters.
    student = -special.stdtrit(effective - 1.0, special.ndtr(-critical))
    margin = student * spread * np.sqrt(effective / (effective - 1.0))
    return draws.transpose(1, 0, 2), point - margin, point + margin


def _describe(
    names: Sequence[str], part: Part, draws: FloatArray, low: FloatArray, high: FloatArray
) -> dict[str, Any]:
    """Describe a slice: losses, and differences with simultaneous intervals."""
    differences = {}
    for k, name in enumerate(names[1:], start=1):
        mean = float(part.means[k] - part.means[0])
        alone = expanded_interval(draws[:, k] - draws[:, 0], part.effective)
        differences[name] = {
            **_judged(Estimate(mean, float(low[k - 1]), float(high[k - 1]))),
            "alone": {"low": alone[0], "high": alone[1]},
        }
    return {"measured": True, "losses": _levels(names, part, draws), "differences": differences}


def _levels(names: Sequence[str], part: Part, draws: FloatArray) -> dict[str, Any]:
    ends = [expanded_interval(draws[:, k], part.effective) for k in range(len(names))]
    return {
        name: Estimate(float(part.means[k]), *ends[k]).to_json() for k, name in enumerate(names)
    }


def _judged(found: Estimate) -> dict[str, Any]:
    conclusion = BETTER if found.is_below else WORSE if found.is_above else OPEN
    return {**found.to_json(), "conclusion": conclusion}
