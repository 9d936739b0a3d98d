"""Nested cross-validation: how a way to combine does on folds that it was not fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ensemble.battles.training_cut import cut_from_training
from ensemble.errors import FoldError
from ensemble.plugin.base import FitContext
from ensemble.stacking.calls import fit_validated, predict_validated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from ensemble.plugin.base import FloatArray, IntArray, MetaFeatures, MetaLearner


class NestingRules(NamedTuple):
    """Which rows an outer fold is fitted on, by what the folds are.

    Parameters
    ----------
    is_ordered
        Folds are blocks of time: a fold is fitted on earlier ones alone, without the clusters that
        it holds. The first is fitted on nothing, and is not scored.
    split_clusters
        Folds are the user's own and may split clusters.
    """

    is_ordered: bool = False
    split_clusters: bool = False


ANY_FOLDS = NestingRules()
"""A fold is fitted on all others, and no cluster lies in two."""


class OuterFold(NamedTuple):
    """One outer fold: its number, and the masks ``(n,)`` of the rows on either side."""

    number: int
    fitted_on: NDArray[np.bool_]
    held_out: NDArray[np.bool_]


def outer_folds(
    folds: IntArray,
    clusters: IntArray,
    rules: NestingRules = ANY_FOLDS,
) -> Iterator[OuterFold]:
    """Divide rows by the fold ``(n,)`` that each is held out in, one fold after the other."""
    for fold in np.unique(folds)[int(rules.is_ordered) :]:
        held_out = folds == fold
        fitted_on = ~held_out
        if rules.is_ordered:
            fitted_on = (folds < fold) & ~cut_from_training(clusters, held_out)
        yield OuterFold(int(fold), fitted_on, held_out)


def scored_rows(folds: IntArray, rules: NestingRules) -> NDArray[np.bool_]:
    """Mark the rows ``(n,)`` that some outer fold scores."""
    return np.asarray(folds > folds.min() if rules.is_ordered else np.ones(len(folds), dtype=bool))


def cross_validate(
    candidates: Mapping[str, Callable[[], MetaLearner]],
    meta: MetaFeatures,
    labels: FloatArray,
    folds: IntArray,
    clusters: IntArray,
    *,
    seed: int,
    threads: int,
    rules: NestingRules = ANY_FOLDS,
    fitting: Callable[[int], MetaFeatures] | None = None,
    observe: Callable[[OuterFold, MetaLearner], None] | None = None,
) -> dict[str, FloatArray]:
    """Predict each fold by candidates that were fitted on the other folds alone.

    Parameters
    ----------
    candidates
        Name to a function that makes an unfitted instance.
    meta
        OOF logits and features of ``n`` battles.
    labels
        ``(n, 3)`` distributions.
    folds
        ``(n,)`` the fold that each battle is held out in.
    clusters
        ``(n,)`` clusters; each lies within one fold.
    seed
        Every candidate gets a seed of its own in every fold.
    threads
        CPU threads for a fit.
    rules
        Which rows an outer fold is fitted on.
    fitting
        Gives for an outer fold what candidates are fitted on, ``n`` rows in the order of ``meta``:
        logits of models that saw no row of the fold. None takes ``meta``, whose rows are predicted
        in any case.
    observe
        Told of each outer fold and the model that was fitted for it.

    Returns
    -------
    dict
        Name to ``(n, 3)`` probabilities; NaN where no outer fold scores a row.

    Raises
    ------
    FoldError
        A cluster lies in two folds, or there is only one fold.
    LearnerError
        A candidate raised, or its probabilities break the contract.
    """
    check_folds(folds, clusters, rules)
    predictions = {name: np.full((len(meta), 3), np.nan) for name in candidates}
    for outer in outer_folds(folds, clusters, rules):
        fold, rows, held_out = outer
        learned = (meta if fitting is None else fitting(fold)).take(rows)
        for name, make in candidates.items():
            context = FitContext(seed=_seed_of(seed, name, fold), threads=threads)
            where = f'candidate "{name}", outer fold {fold}'
            model = fit_validated(where, make, learned, labels[rows], clusters[rows], context)
            predictions[name][held_out] = predict_validated(model, meta.take(held_out), where)
            if observe is not None:
                observe(outer, model)
    return predictions


def check_folds(
    folds: IntArray,
    clusters: IntArray,
    rules: NestingRules = ANY_FOLDS,
) -> None:
    """Refuse folds that share a cluster, but where the rules allow for it, or a single fold.

    Raises
    ------
    FoldError
        With the clusters that lie in several folds; or the first of two blocks of time leaves no
        row to fit on.
    """
    if len(np.unique(folds)) < 2:
        raise FoldError(
            "nested cross-validation needs predictions of at least two folds",
            hint="fit more folds of every learner, then run the stack stage again",
        )
    if any(rules):
        _refuse_unfitted(folds, clusters, rules)
        return
    pairs = np.unique(np.column_stack([clusters, folds]), axis=0)
    split = np.unique(pairs[1:, 0][pairs[1:, 0] == pairs[:-1, 0]])
    if len(split):
        shown = ", ".join(map(str, split[:5]))
        raise FoldError(
            f"{len(split)} clusters lie in more than one fold: {shown}",
            hint="make the fold plan anew: a cluster must stand on one side of every split",
        )


def _refuse_unfitted(folds: IntArray, clusters: IntArray, rules: NestingRules) -> None:
    for fold, rows, _ in outer_folds(folds, clusters, rules):
        if not rows.any():
            raise FoldError(
                f"all earlier rows share a cluster with fold {fold}: nothing is left to fit on",
                hint="set n_splits lower",
            )


def _seed_of(seed: int, name: str, fold: int) -> int:
    """Derive a seed from the run's, the same whatever other candidates there are."""
    sequence = np.random.SeedSequence([seed, fold, *name.encode()])
    return int(sequence.generate_state(1)[0])
