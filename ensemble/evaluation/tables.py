"""Log loss with intervals, over all rows and per fold and source, for ``candidates.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.evaluation.bootstrap import bootstrap_means, effective_clusters
from ensemble.evaluation.intervals import estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.plugin.base import FloatArray, IntArray


def loss_tables(
    names: Sequence[str],
    losses: FloatArray,
    clusters: IntArray,
    folds: IntArray,
    sources: Sequence[str],
    *,
    replicates: FloatArray | None = None,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Score every column over all rows, each fold and each source.

    Parameters
    ----------
    names
        Names of the columns.
    losses
        ``(n, len(names))`` finite log loss of each row.
    clusters, folds, sources
        ``(n,)`` cluster, fold and source of each row.
    replicates
        ``(r, n, len(names))`` the same losses under other draws of seeds, or None.
    resamples, seed
        Bootstrap draws and their seed.

    Returns
    -------
    list of dict
        Per name: ``name``, ``log_loss``, ``low``, ``high``, ``per_fold``, ``per_source``.
        An end is None where there are too few clusters for an interval.
    """

    def scores(rows: np.ndarray) -> list[dict[str, float | None]]:
        drawn = losses[rows] if replicates is None else replicates[:, rows]
        samples = bootstrap_means(drawn, clusters[rows], resamples=resamples, seed=seed)
        effective = effective_clusters(clusters[rows])
        return [_score(losses[rows, i], samples[:, i], effective) for i in range(len(names))]

    def parts(key: str, values: np.ndarray) -> list[list[dict[str, Any]]]:
        found = [(value, values == value) for value in np.unique(values)]
        return [
            [
                {key: value.item(), "rows": int(rows.sum()), **score}
                for score in (whole if rows.all() else scores(rows))
            ]
            for value, rows in found
        ]

    whole = scores(np.ones(len(losses), dtype=bool))
    per_fold, per_source = parts("fold", folds), parts("source", np.asarray(sources))
    return [
        {
            "name": name,
            **whole[i],
            "per_fold": [part[i] for part in per_fold],
            "per_source": [part[i] for part in per_source],
        }
        for i, name in enumerate(names)
    ]


def _score(losses: FloatArray, samples: FloatArray, effective: float) -> dict[str, float | None]:
    found = estimate(losses, samples, effective)
    return {"log_loss": found.mean, "low": found.low, "high": found.high}
