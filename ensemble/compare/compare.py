"""Learners side by side on the same target rows: how much they differ, and where.

``compare`` reads verified predictions, keeps the rows that all of them have, and gives the content
of ``RUN/comparisons/<A>-<B>.json``; ``store_comparison`` writes it, and ``read_comparisons`` gives
back what is still of the run as it is now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.split import read_split_summary
from ensemble.compare.candidates import read_candidates
from ensemble.compare.columns import column_slices
from ensemble.compare.measure import measure
from ensemble.compare.records import VERSION, read_comparisons, store_comparison
from ensemble.compare.runs import read_compared
from ensemble.compare.slices import builtin_slices
from ensemble.compare.text import sentences
from ensemble.config.load import load_run_config
from ensemble.errors import DataError
from ensemble.evaluation.accuracy import accuracy_estimates
from ensemble.evaluation.losses import row_errors, row_log_loss

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.compare.candidates import Candidate
    from ensemble.compare.runs import ComparedRun
    from ensemble.plugin.base import FloatArray

__all__ = ["compare", "read_comparisons", "store_comparison"]


def compare(run: Path, names: Sequence[str], by: Sequence[str] = ()) -> dict[str, Any]:
    """Compare learners on the target rows that all of them have predicted.

    Parameters
    ----------
    run
        The run directory.
    names
        Two or more learners of the run, candidates of its stack (``stack`` is the chosen one), or
        ``OTHER_RUN:NAME``. The first is the reference that every other is compared with.
    by
        Feature columns to slice by, besides the built-in slices; see ``column_slices``.

    Returns
    -------
    dict
        The content of ``comparisons/<A>-<B>.json``; see ``docs/compare.md``. Differences are log
        losses minus that of the reference, nats a battle: negative is better.

    Raises
    ------
    ConfigError
        One of the runs is no run directory.
    UnknownNameError
        A name is no learner and no candidate, or a column is of no feature set.
    DataError
        Fewer than two names, one of them twice, another run has other battles or another fold plan,
        or no row has been predicted by all.
    ArtifactError
        What is stored is missing, damaged, or was made from something else than the run has now.
    """
    config = load_run_config(run)
    compared = read_compared(run)
    candidates = read_candidates(compared, config, names)
    losses = np.column_stack(
        [row_log_loss(compared.eval_set.labels, one.probabilities) for one in candidates]
    )
    common = _common_rows(losses, candidates)
    errors = np.column_stack(
        [row_errors(compared.eval_set.labels, one.probabilities) for one in candidates]
    )
    accuracies = accuracy_estimates(
        errors[common],
        compared.eval_set.clusters[common],
        resamples=config.stack.resamples,
        seed=config.seed,
    )
    found = measure(
        [one.name for one in candidates],
        losses[common],
        compared.eval_set.clusters[common],
        [s.take(common) for s in (*builtin_slices(compared), *column_slices(compared, by))],
        resamples=config.stack.resamples,
        seed=config.seed,
    )
    result = {
        "version": VERSION,
        **_about_rows(compared, losses, common, candidates),
        **found,
        "plan_doubt": read_split_summary(run).doubt,
        "accuracies": {
            one.name: accuracy.to_json()
            for one, accuracy in zip(candidates, accuracies, strict=True)
        },
        "plan": compared.plan.fingerprint,
        "data": compared.data,
    }
    return {**result, "sentences": sentences(result)}


def _common_rows(losses: FloatArray, candidates: Sequence[Candidate]) -> np.ndarray:
    """Mark the rows that all have predicted: ``(n,)``."""
    common = np.isfinite(losses).all(axis=1)
    if not common.any():
        counts = zip(candidates, np.isfinite(losses).sum(axis=0), strict=True)
        raise DataError(
            f"no target row has been predicted by all of {len(candidates)} learners",
            where=", ".join(f"{one.name}: {rows:,} rows" for one, rows in counts),
            hint="fit the same folds of each with `ensemble fit CONFIG --folds ...`",
        )
    return np.asarray(common)


def _about_rows(
    compared: ComparedRun,
    losses: FloatArray,
    common: np.ndarray,
    candidates: Sequence[Candidate],
) -> dict[str, Any]:
    """Say whom the comparison is of, and which rows it leaves out."""
    predicted = np.isfinite(losses)
    return {
        "reference": candidates[0].name,
        "learners": [
            {
                "name": one.name,
                "rows_predicted": int(rows.sum()),
                "made_from": one.made_from,
                "settings": one.settings,
                "training_rows": one.training_rows,
                "planned_folds": one.planned_folds,
            }
            for one, rows in zip(candidates, predicted.T, strict=True)
        ],
        "target_rows": len(compared.eval_set.labels),
        "rows": int(common.sum()),
        "rows_left_out": int((~common).sum()),
    }
