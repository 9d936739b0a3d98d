"""What the stack stage writes: scores, nested predictions, final models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.schema import PROBABILITY_SCHEMA
from ensemble.evaluation.accuracy import accuracy_estimates
from ensemble.evaluation.losses import METRICS
from ensemble.evaluation.tables import loss_tables
from ensemble.plugin.base import CLASSES
from ensemble.run_dir.layout import OOF, OOF_CANDIDATES
from ensemble.run_dir.tables import write_table
from ensemble.stacking.calls import describe_validated
from ensemble.stacking.nested import outer_folds
from ensemble.stacking.seed_spread import learner_losses, seed_records, seed_replicates
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ensemble.config.settings import Metric
    from ensemble.plugin.base import FloatArray, IntArray, MetaLearner
    from ensemble.stacking.candidates import Candidate
    from ensemble.stacking.data import StackData

OOF_SCHEMA: dict[str, pl.DataType] = {
    **PROBABILITY_SCHEMA,
    "fold": pl.Int32(),
    "part": pl.Int32(),
}
"""``stack/oof.parquet``: ``fold`` is the row's outer fold, null where learners have not predicted.

The first of folds that are blocks of time has NaN: no stack is fitted on earlier rows. ``part`` is
null but where all rows that were scored are of one fold: the part of it that was held out.
"""


@dataclass(frozen=True)
class ScoredCandidate:
    """A candidate with its evidence.

    Parameters
    ----------
    candidate
        Which one.
    probabilities
        ``(n, 3)`` nested predictions.
    model
        Its final model, fitted on all rows.
    seconds
        Time of the nested fits and the final one.
    plain
        ``(n, 3)`` predictions under plain nesting; None where all nesting is plain.
    replicates
        By metric, ``(r, n)`` log loss or error of each row where other seeds had been drawn; None
        where each learner has one seed.
    """

    candidate: Candidate
    probabilities: FloatArray
    model: MetaLearner
    seconds: float
    plain: FloatArray | None = None
    replicates: Mapping[Metric, FloatArray] | None = None


def on_rows(one: ScoredCandidate, rows: NDArray[np.bool_]) -> ScoredCandidate:
    """Keep what a candidate shows on rows ``(n,)``."""
    if rows.all():
        return one
    return replace(
        one,
        probabilities=one.probabilities[rows],
        plain=None if one.plain is None else one.plain[rows],
        replicates=one.replicates and {m: each[:, rows] for m, each in one.replicates.items()},
    )


def losses_of(
    scored: Sequence[ScoredCandidate], labels: FloatArray, metric: Metric = "log_loss"
) -> FloatArray:
    """Log loss, or error, of each row under each candidate: ``(n, n_candidates)``."""
    return np.column_stack([METRICS[metric](labels, one.probabilities) for one in scored])


def ids_fingerprint(ids: Iterable[str]) -> str:
    """Name a set of ids, whatever their order: SHA-256 of the sorted ids as JSON, 64 hex digits."""
    return fingerprint(sorted(ids))


def nested_record(data: StackData) -> list[dict[str, Any]]:
    """Record on which rows the candidates were fitted for each outer fold.

    Returns
    -------
    list of dict
        ``fold``, ``fitted_on`` (a number of rows), ``ids_sha256``, and ``exact``: the learners
        whose logits on these rows come from models that saw no row of the fold. Where all rows are
        of one fold, ``part`` says which part of it is held out.
    """
    ids = np.array(data.ids, dtype=object)
    return [
        {
            **_held_out(data, number),
            "fitted_on": int(rows.sum()),
            "ids_sha256": ids_fingerprint(ids[rows].tolist()),
            "exact": list(data.nested_learners),
        }
        for number, rows, _ in outer_folds(data.outer, data.clusters, data.rules)
    ]


def _held_out(data: StackData, number: int) -> dict[str, int]:
    if data.parts is None:
        return {"fold": number}
    return {"fold": int(data.folds[0]), "part": number}


def score_tables(
    scored: Sequence[ScoredCandidate], data: StackData, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Score candidates and learners over all rows, each fold and each source.

    Returns
    -------
    dict
        ``candidates`` and ``learners``, as in ``candidates.json``; one draw of clusters for all.
    """
    learners = data.meta.learners
    bootstrap = {"resamples": resamples, "seed": seed}
    entries = loss_tables(
        [*(one.candidate.name for one in scored), *learners],
        _all_losses(scored, data, "log_loss"),
        data.clusters,
        data.folds,
        data.sources,
        replicates=_all_replicates(scored, data, seed, "log_loss"),
        **bootstrap,
    )
    accuracies = accuracy_estimates(
        _all_losses(scored, data, "accuracy"),
        data.clusters,
        replicates=_all_replicates(scored, data, seed, "accuracy"),
        **bootstrap,
    )
    entries = [
        entry | {"accuracy": found.to_json()}
        for entry, found in zip(entries, accuracies, strict=True)
    ]
    spread = seed_records(data)
    singles = [
        {**entry, **({"seeds": spread[entry["name"]]} if entry["name"] in spread else {})}
        for entry in entries[len(scored) :]
    ]
    about = [
        {
            "complexity": one.candidate.complexity,
            "description": describe_validated(one.candidate.where, one.model),
            "seconds": round(one.seconds, 3),
        }
        for one in scored
    ]
    candidates = [entry | more for entry, more in zip(entries, about, strict=False)]
    return {"candidates": candidates, "learners": singles}


def replicates_of(
    scored: Sequence[ScoredCandidate], metric: Metric = "log_loss"
) -> FloatArray | None:
    """Log loss, or error, of each row in each replicate, ``(r, n, n_candidates)``; None without."""
    found = [one.replicates[metric] for one in scored if one.replicates is not None]
    return np.stack(found, axis=2) if found else None


def _all_losses(scored: Sequence[ScoredCandidate], data: StackData, metric: Metric) -> FloatArray:
    """Put the losses of the learners beside those of the candidates."""
    singles = learner_losses(data.meta, data.labels, metric)
    return np.column_stack([losses_of(scored, data.labels, metric), singles])


def _all_replicates(
    scored: Sequence[ScoredCandidate], data: StackData, seed: int, metric: Metric
) -> FloatArray | None:
    """Put those of the learners beside those of the candidates."""
    candidates = replicates_of(scored, metric)
    if candidates is None:
        return None
    drawn = seed_replicates(data, seed)
    singles = [learner_losses(meta, data.labels, metric) for meta in drawn]
    return np.concatenate([candidates, np.stack(singles)], axis=2)


def write_predictions(
    directory: Path,
    data: StackData,
    rows: NDArray[np.bool_],
    parts: IntArray | None,
    scored: Sequence[ScoredCandidate],
    chosen: str,
) -> None:
    """Write the nested predictions of the chosen candidate, and of all; NaN where there is none.

    Parameters
    ----------
    directory
        Where the two files go.
    data
        All ``n`` rows that folds hold out, and the ids of the target's others.
    rows
        ``(n,)`` mask of those that all learners have predicted.
    parts
        The part of their fold that each of these was scored in; None where folds are.
    scored
        The candidates.
    chosen
        Name of the chosen one.
    """
    ids = [*data.ids, *data.unscored]
    predicted = np.flatnonzero(rows)
    fold = _at(predicted, data.folds[rows], len(ids))
    part = _at(predicted, parts, len(ids))
    frames = {}
    for one in scored:
        values = np.full((len(ids), 3), np.nan)
        values[predicted] = one.probabilities
        columns = dict(zip(CLASSES, values.T, strict=True))
        frame = pl.DataFrame({"id": ids, **columns, "fold": fold, "part": part}, OOF_SCHEMA)
        frames[one.candidate.name] = frame
    write_table(directory / OOF, frames[chosen])
    every = [f.select(pl.lit(name).alias("candidate"), pl.all()) for name, f in frames.items()]
    write_table(directory / OOF_CANDIDATES, pl.concat(every))


def _at(places: IntArray, values: IntArray | None, count: int) -> pl.Series:
    """Lay values at their places among ``count``; null elsewhere."""
    every = np.full(count, -1)
    if values is not None:
        every[places] = values
    return pl.Series(every).replace(-1, None)
