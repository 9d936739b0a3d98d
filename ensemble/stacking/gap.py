"""How much better plain nesting makes candidates look than exact nesting, in this very run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.evaluation.bootstrap import bootstrap_means, effective_clusters
from ensemble.evaluation.intervals import estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.plugin.base import FloatArray, IntArray
    from ensemble.stacking.data import StackData


def nesting_record(data: StackData, unproven: Sequence[str] = ()) -> dict[str, list[str]]:
    """Name learners whose logits saw no row of an outer fold, ``exact``, and ``plain`` others.

    Parameters
    ----------
    data
        What is scored.
    unproven
        Learners of which nobody knows what their models were trained on.
    """
    learners, exact = data.meta.learners, list(data.nested_learners)
    if data.rules.is_ordered:
        # No model that a fold is fitted with has seen a later one, as far as its rows are known.
        exact = [name for name in learners if name not in unproven]
    return {"exact": exact, "plain": [name for name in learners if name not in exact]}


def nesting_gaps(
    exact: FloatArray,
    plain: FloatArray,
    clusters: IntArray,
    names: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Compare each candidate's log loss under exact nesting with that under plain nesting.

    Parameters
    ----------
    exact, plain
        ``(n, n_candidates)`` log loss of each row.
    clusters
        ``(n,)``.
    names
        Of the candidates.
    resamples, seed
        Of the bootstrap over clusters.

    Returns
    -------
    dict
        By candidate: ``plain_log_loss``, and ``gap`` with ``mean``, ``low``, ``high``: exact minus
        plain. Positive: plain nesting flatters.
    """
    gaps = exact - plain
    samples = bootstrap_means(gaps, clusters, resamples=resamples, seed=seed)
    effective = effective_clusters(clusters)
    return {
        name: {
            "plain_log_loss": float(plain[:, i].mean()),
            "gap": estimate(gaps[:, i], samples[:, i], effective).to_json(),
        }
        for i, name in enumerate(names)
    }
