"""Two smaller measurements for ``verdicts.py``: the best of many tries, and intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemble.evaluation.bootstrap import bootstrap_means
from ensemble.evaluation.intervals import MIN_CLUSTERS, estimate, interval
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.evaluation.selection import correct_for_choice

ROWS, TRIES = 600, 16
SIZES = (20, 30, 50, 100, 300)
LOSSES = ("gain", "exponential loss")


def best_of_many(seed: int) -> dict[str, float]:
    """Choose the best of ``TRIES`` useless predictors: its error, as measured and corrected."""
    rng = np.random.default_rng([5, seed])
    labels = np.eye(3)[rng.integers(3, size=ROWS)]
    predicted = [softmax(0.3 * rng.normal(size=(ROWS, 3))) for _ in range(TRIES)]
    losses = np.column_stack([row_log_loss(labels, p) for p in predicted])
    found = correct_for_choice(losses, np.arange(ROWS), seed=seed)
    best = predicted[int(losses.mean(axis=0).argmin())]
    truth = float(row_log_loss(np.full((ROWS, 3), 1 / 3), best).mean())
    if found.low is None or found.high is None:
        raise ValueError("too few clusters for an interval")
    return {
        "measured": found.best - truth,
        "corrected": found.best + found.optimism - truth,
        "covered": float(found.low <= truth <= found.high),
    }


def covers(seed: int) -> list[dict[str, Any]]:
    """Draw clusters of a few rows, and see which 95% intervals of the mean hold the true mean."""
    found = []
    for kind in LOSSES:
        for clusters in SIZES:
            rng = np.random.default_rng([6, seed, clusters])
            numbers = np.repeat(np.arange(clusters), 3)
            shared = rng.normal(size=clusters)[numbers]
            gain = 0.02 * (shared + rng.normal(size=len(numbers)))
            skewed = rng.exponential(size=clusters)[numbers] + rng.exponential(size=len(numbers))
            values, truth = (gain, 0.0) if kind == "gain" else (skewed, 2.0)
            samples = bootstrap_means(values[:, None], numbers, resamples=2000, seed=seed)[:, 0]
            low, high = interval(samples)
            own = estimate(values, samples, max(float(clusters), MIN_CLUSTERS))
            if own.low is None or own.high is None:
                raise ValueError("too few clusters for an interval")
            about = {"kind": kind, "clusters": clusters}
            found.append({**about, "interval": "percentile", "in": low <= truth <= high})
            found.append({**about, "interval": "used", "in": own.low <= truth <= own.high})
    return found


def show_tries(records: list[dict[str, float]]) -> None:
    """Print how far the best of many is from its true log loss."""
    print(f"best of {TRIES} useless predictors on {ROWS} rows, {len(records)} seeds")
    for key in ("measured", "corrected"):
        values = np.array([record[key] for record in records])
        error = values.std() / np.sqrt(len(values))
        print(f"- {key} minus true log loss: {values.mean():+.4f} ± {error:.4f}")
    print(f"- interval covers: {np.mean([record['covered'] for record in records]):.0%}")


def show_intervals(records: list[dict[str, Any]], seeds: int) -> None:
    """Print how often intervals hold the true mean."""
    print(f"coverage of 95% intervals, {seeds} seeds")
    print("| mean of | interval |" + "".join(f" {size} clusters |" for size in SIZES))
    print("|---" * (2 + len(SIZES)) + "|")
    for kind in LOSSES:
        for name in ("percentile", "used"):
            cells = [
                np.mean(
                    [
                        r["in"]
                        for r in records
                        if (r["kind"], r["interval"], r["clusters"]) == (kind, name, size)
                    ]
                )
                for size in SIZES
            ]
            print(f"| {kind} | {name} |" + "".join(f" {cell:.1%} |" for cell in cells))
