"""What a stack of made-up learners says."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ensemble.evaluation.bootstrap import bootstrap_means
from ensemble.evaluation.intervals import estimate, interval
from ensemble.evaluation.losses import row_log_loss, softmax


def candidate_probabilities(
    logits: dict[str, np.ndarray], truth: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    every = np.stack(list(logits.values()))
    best = min(logits, key=lambda n: row_log_loss(labels, softmax(logits[n])).mean())
    return {
        "best_single": softmax(logits[best]),
        "mean": softmax(every.mean(axis=0)),
        "blend": softmax(1.1 * every.mean(axis=0)),
        "vector_scaling": softmax(1.15 * every.mean(axis=0) + [0.02, -0.02, 0]),
        "lightgbm": softmax(0.9 * every.mean(axis=0) + 0.2 * truth),
    }


def scores_and_verdict(
    probabilities: dict[str, np.ndarray],
    logits: dict[str, np.ndarray],
    labels: np.ndarray,
    clusters: np.ndarray,
    target: pl.DataFrame,
) -> tuple[dict[str, Any], dict[str, Any]]:
    losses = {n: row_log_loss(labels, p) for n, p in probabilities.items()}
    learner_losses = {n: row_log_loss(labels, softmax(x)) for n, x in logits.items()}
    best = min([n for n in losses if n != "lightgbm"], key=lambda n: losses[n].mean())

    def scored(values: np.ndarray, groups: np.ndarray = clusters) -> dict[str, float | None]:
        samples = bootstrap_means(values[:, None], groups, resamples=200)[:, 0]
        found = estimate(values, samples)
        return {"log_loss": found.mean, "low": found.low, "high": found.high}

    descriptions: dict[str, dict[str, Any]] = {
        "best_single": {
            "weights": {n: float(i == 0) for i, n in enumerate(logits)},
            "learner": "learner-0",
        },
        "blend": {"weights": {n: 1 / len(logits) for n in logits}},
        "vector_scaling": {"scale": [0.75, 0.75, 0.75], "bias": [0.02, -0.02, 0.0]},
        "lightgbm": {
            "importance": {
                f"{n}/logit_{c}": 1000.0 / (1 + i) / (j + 1)
                for i, n in enumerate(logits)
                for j, c in enumerate(("a", "b", "tie"))
            },
            "start": {"kind": "scaled", "weights": dict.fromkeys(logits, 0.5)},
            "rounds": 150,
        },
    }
    sources = target["source"].to_numpy()
    candidates = {
        "candidates": [
            {
                "name": n,
                "complexity": k,
                **scored(v),
                "per_fold": [],
                "per_source": [
                    {
                        "source": s,
                        "rows": int((sources == s).sum()),
                        **scored(v[sources == s], clusters[sources == s]),
                    }
                    for s in ("arena", "mt-bench")
                ],
                "description": descriptions.get(n, {}),
                "seconds": 1.5 * k + 0.1,
            }
            for k, (n, v) in enumerate(losses.items())
        ],
        "learners": [{"name": n, **scored(v), "per_fold": []} for n, v in learner_losses.items()],
        "rows_scored": len(labels),
        "rows_missing": 0,
        "clusters": len(np.unique(clusters)),
        "resamples": 200,
    }
    gains = {
        n: bootstrap_means((losses[best] - v)[:, None], clusters, resamples=200)[:, 0]
        for n, v in losses.items()
    }
    verdict = {
        "chosen": "lightgbm",
        "rule": "the stack is used where the interval of its gain is above zero",
        "sentence": f"lightgbm is used. lightgbm gains over {best}.",
        "evidence": f"lightgbm gains over {best}.",
        "best_simple": best,
        "candidates": [
            {
                "name": n,
                **scored(v),
                "gain_over_best_simple": {
                    "mean": float((losses[best] - v).mean()),
                    "low": interval(gains[n])[0],
                    "high": interval(gains[n])[1],
                },
            }
            for n, v in losses.items()
        ],
        "clusters": len(np.unique(clusters)),
        "resamples": 200,
    }
    return candidates, verdict
