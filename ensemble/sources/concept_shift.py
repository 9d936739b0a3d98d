"""How differently the same features lead to labels in a source and in the target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.evaluation.bootstrap import bootstrap_means
from ensemble.evaluation.intervals import estimate
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.sources.boosting import PARTS, ConceptShift

if TYPE_CHECKING:
    from ensemble.battles.features import FeatureMatrix
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray

_LEAST_ROWS = 60
"""Rows of either side below which nothing is learned that could be compared."""
_RESAMPLES = 2_000
_MOST_OFFSET = 15.0
"""A source without ties has a log share of some -10 for them."""


def measure_concept_shift(
    matrix: FeatureMatrix,
    labels: FloatArray,
    is_target: BoolArray,
    clusters: IntArray,
    part: IntArray,
    threads: int,
) -> dict[str, Any]:
    """Learn each side's rule alone, and score it on both sides.

    Both sides learn from equally many rows, so that neither rule is worse for want of rows. Each
    row is scored by models that have not seen its cluster. Rules are indifferent to sides A and B:
    a lean to one side is a matter of label shares.

    Parameters
    ----------
    matrix
        ``n`` labeled rows of both sides.
    labels
        ``(n, 3)``.
    is_target
        ``(n,)``.
    clusters, part
        ``(n,)`` cluster, and part of the cross-validation.
    threads
        CPU threads.

    Returns
    -------
    dict[str, Any]
        ``on_target`` and ``on_source``: log loss of that side's own rule (``own``), of the other
        side's (``other``) and of the other side's after an offset of the tie that fits this side's
        training rows best (``other_offset``: it corrects label shares alone); ``gap`` and
        ``gap_offset``, by how much these are worse than ``own``, with 95% intervals by cluster;
        ``shares_alone``, the log loss of this side's label shares.
        ``agreement``: correlation of the two rules' log-odds of A over B, on the target.
    """
    fewest = int(min(is_target.sum(), (~is_target).sum()))
    if fewest < _LEAST_ROWS:
        return {"measured": False, "reason": f"fewer than {_LEAST_ROWS} labeled rows on one side"}
    # By whose rule, with or without an offset for the other side's shares.
    logits = np.full((2, 2, len(labels), 3), np.nan)
    priors = np.full((2, len(labels), 3), np.nan)
    sides = (is_target, ~is_target)
    for number in range(PARTS):
        learned = [_equally_many(side & (part != number), sides, part != number) for side in sides]
        scored = np.flatnonzero(part == number)
        if min(len(rows) for rows in learned) < 2 or not len(scored):
            continue
        for at, rows in enumerate(learned):
            rule = ConceptShift(matrix.take(rows), labels[rows], threads)
            foreign = learned[1 - at]
            offset = tie_offset(rule.logits(matrix.take(foreign)), labels[foreign])
            plain = rule.logits(matrix.take(scored))
            logits[at, 0, scored], logits[at, 1, scored] = plain, _with_tie(plain, offset)
            priors[at, scored] = rule.prior
    return {
        "measured": True,
        "rows_learned": fewest,
        "on_target": _score(labels, logits, priors, clusters, is_target, own=0),
        "on_source": _score(labels, logits, priors, clusters, ~is_target, own=1),
        "agreement": _agreement(logits[:, 0, is_target]),
    }


def tie_offset(logits: FloatArray, labels: FloatArray) -> float:
    """Give what, added to the tie's logits, fits labels best; sides are alike to begin with.

    Parameters
    ----------
    logits, labels
        ``(n, 3)``.
    """
    from scipy.optimize import minimize_scalar

    def loss(offset: float) -> float:
        return float(row_log_loss(labels, softmax(_with_tie(logits, offset))).mean())

    return float(minimize_scalar(loss, bounds=(-_MOST_OFFSET, _MOST_OFFSET), method="bounded").x)


def _with_tie(logits: FloatArray, offset: float) -> FloatArray:
    return np.asarray(logits + np.array([0.0, 0.0, offset]))


def _equally_many(
    mine: BoolArray, sides: tuple[BoolArray, BoolArray], allowed: BoolArray
) -> IntArray:
    """Take as many rows of a side as the smaller one has, spread over all of them."""
    rows = np.flatnonzero(mine)
    fewest = min(int((side & allowed).sum()) for side in sides)
    return rows[np.linspace(0, len(rows) - 1, fewest).astype(np.int64)] if fewest else rows[:0]


def _score(
    labels: FloatArray,
    logits: FloatArray,
    priors: FloatArray,
    clusters: IntArray,
    side: BoolArray,
    *,
    own: int,
) -> dict[str, Any]:
    rows = np.flatnonzero(side & np.isfinite(priors).all(axis=(0, 2)))
    other = 1 - own
    given = {
        "own": logits[own, 0, rows],
        "other": logits[other, 0, rows],
        "other_offset": logits[other, 1, rows],
        "shares_alone": priors[own, rows],
    }
    losses = {name: row_log_loss(labels[rows], softmax(value)) for name, value in given.items()}
    gaps = np.column_stack([losses[n] - losses["own"] for n in ("other", "other_offset")])
    drawn = bootstrap_means(gaps, clusters[rows], resamples=_RESAMPLES)
    return {
        **{name: float(value.mean()) for name, value in losses.items()},
        "gap": estimate(gaps[:, 0], drawn[:, 0]).to_json(),
        "gap_offset": estimate(gaps[:, 1], drawn[:, 1]).to_json(),
    }


def _agreement(logits: FloatArray) -> float | None:
    """Correlate who wins by either rule: ``(2, m, 3)`` logits of the same rows."""
    odds = logits[:, :, 0] - logits[:, :, 1]
    odds = odds[:, np.isfinite(odds).all(axis=0)]
    if odds.shape[1] < 2 or (odds.std(axis=1) == 0).any():
        return None
    return float(np.asarray(np.corrcoef(odds))[0, 1])
