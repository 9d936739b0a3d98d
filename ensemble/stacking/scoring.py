"""One candidate scored by nested cross-validation, and fitted on all rows."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.evaluation.losses import METRICS
from ensemble.plugin.base import FitContext
from ensemble.plugin.faults import failure_of, plugin_errors
from ensemble.plugin.time_limit import time_limit
from ensemble.run_dir.layout import MODEL
from ensemble.stacking.calls import (
    describe_validated,
    fit_validated,
    predict_validated,
    save_validated,
)
from ensemble.stacking.nested import OuterFold, cross_validate
from ensemble.stacking.outputs import ScoredCandidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.failure import Failure
    from ensemble.plugin.base import FloatArray, MetaFeatures, MetaLearner
    from ensemble.stacking.candidates import Candidate
    from ensemble.stacking.data import StackData


def score_alone(
    candidate: Candidate,
    data: StackData,
    seed: int,
    threads: int,
    replicates: Sequence[MetaFeatures],
    limit: float | None,
    failures: list[Failure],
) -> ScoredCandidate | None:
    """Score a candidate; None where it is the meta-learner and fails, which is added to these."""
    if candidate.simple:
        return _score(candidate, data, seed, threads, replicates)
    if failures:
        return None
    try:
        with time_limit(limit, candidate.where):
            found = _score(candidate, data, seed, threads, replicates)
            describe_validated(candidate.where, found.model)
            with TemporaryDirectory() as place:
                whole = Path(place) / MODEL
                save_validated(candidate.where, candidate.make, found.model, whole, data.meta)
    except plugin_errors() as error:
        failures.append(failure_of(candidate.name, "stack", error, is_meta_learner=True))
        return None
    return found


def _score(
    candidate: Candidate,
    data: StackData,
    seed: int,
    threads: int,
    replicates: Sequence[MetaFeatures],
) -> ScoredCandidate:
    began = time.perf_counter()
    drawn = {metric: np.full((len(replicates), len(data.ids)), np.nan) for metric in METRICS}

    def observe(outer: OuterFold, model: MetaLearner) -> None:
        where = f"{candidate.where}, other seeds"
        for i, meta in enumerate(replicates):
            predicted = predict_validated(model, meta.take(outer.held_out), where)
            for metric, rows in METRICS.items():
                drawn[metric][i, outer.held_out] = rows(data.labels[outer.held_out], predicted)

    def nested(**options: Any) -> FloatArray:
        return cross_validate(
            {candidate.name: candidate.make},
            data.meta,
            data.labels,
            data.outer,
            data.clusters,
            seed=seed,
            threads=threads,
            rules=data.rules,
            **options,
        )[candidate.name]

    predicted = nested(fitting=data.fitting_meta, observe=observe)
    plain = nested() if data.nested_logits else None
    context = FitContext(seed=seed, threads=threads)
    model = fit_validated(
        candidate.where, candidate.make, data.meta, data.labels, data.clusters, context
    )
    seconds = time.perf_counter() - began
    spread = drawn if len(replicates) else None
    return ScoredCandidate(candidate, predicted, model, seconds, plain, spread)
