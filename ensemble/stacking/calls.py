"""Calls into a meta-learner, which may be anyone's code: what goes wrong names it.

It is given copies: what it does to its arrays in place touches neither another candidate nor the
labels that all are scored with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import LearnerError
from ensemble.evaluation.ties import renormalized
from ensemble.plugin.base import MetaLearner
from ensemble.plugin.faults import call_plugin
from ensemble.storage.hashing import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, MetaFeatures

_SUM_TOLERANCE = 1e-6

_RELOADED = 16
"""Rows that a model predicts once more after it has been saved and loaded."""

_RELOAD_TOLERANCE = 1e-6
"""How far its probabilities may then be off: text files may round the last digits of a float."""


def fit_validated(
    where: str,
    make: Callable[[], MetaLearner],
    meta: MetaFeatures,
    labels: FloatArray,
    clusters: IntArray,
    context: FitContext,
) -> MetaLearner:
    """Make and fit one candidate.

    Raises
    ------
    LearnerError
        It raised (the first error is the cause), or ``fit`` does not return a meta-learner.
    """
    fitted = call_plugin(
        "fit",
        where,
        lambda: make().fit(
            _copied(meta),
            labels.copy(),
            groups=clusters.copy(),
            context=context,
        ),
    )
    return _meta_learner(fitted, "fit", where)


def predict_validated(model: MetaLearner, meta: MetaFeatures, where: str) -> FloatArray:
    """Predict ``(n, 3)`` float64, every row a distribution; without ties the tie's share is 0.

    Parameters
    ----------
    model
        A fitted meta-learner.
    meta
        Logits and features of ``n`` battles.
    where
        The model's name and whatever else tells where it is used, for errors.

    Raises
    ------
    LearnerError
        It raised, or the probabilities break the contract; says how.
    """
    found: FloatArray = call_plugin(
        "predict_proba",
        where,
        lambda: np.array(model.predict_proba(_copied(meta)), dtype=np.float64),
    )
    if found.shape != (len(meta), 3):
        raise _broken(where, f"shape {found.shape} instead of {(len(meta), 3)}")
    infinite = ~np.isfinite(found).all(axis=1)
    if infinite.any():
        raise _broken(where, f"{int(infinite.sum())} rows are not finite")
    off = (found < 0).any(axis=1) | (np.abs(found.sum(axis=1) - 1) > _SUM_TOLERANCE)
    if off.any():
        raise _broken(where, f"{int(off.sum())} rows are not distributions")
    return found if meta.ties else renormalized(found)


def describe_validated(where: str, model: MetaLearner) -> dict[str, Any]:
    """Ask what was learned, and check that it can be written as JSON.

    Raises
    ------
    LearnerError
        It raised, or gave something else than finite JSON.
    """

    def describe() -> dict[str, Any]:
        description = model.describe()
        canonical_json(description)
        return description

    description: dict[str, Any] = call_plugin("describe", where, describe)
    return description


def save_validated(
    where: str,
    make: Callable[[], MetaLearner],
    model: MetaLearner,
    directory: Path,
    meta: MetaFeatures,
) -> None:
    """Save a model in a new directory, and see whether it comes back as it was.

    Parameters
    ----------
    where
        Names the candidate, for errors.
    make
        Makes an unfitted instance, to load into.
    model
        The fitted model.
    directory
        Where it goes; made here.
    meta
        Rows to predict: a few of them are compared.

    Raises
    ------
    LearnerError
        It raised (a full disk stays an ``OSError``), or the model that was loaded predicts
        otherwise: the predictions for the test set would not be those that were scored.
    """
    directory.mkdir(parents=True)
    call_plugin("save", where, lambda: model.save(directory))
    loaded = load_validated(where, make, directory)
    some = meta.take(np.unique(np.linspace(0, len(meta) - 1, _RELOADED).astype(int)))
    before, after = (predict_validated(one, some, where) for one in (model, loaded))
    gap = float(np.abs(before - after).max())
    if gap > _RELOAD_TOLERANCE:
        raise LearnerError(
            "a candidate of the stack gives other probabilities after it was saved and loaded: "
            f"they differ by up to {gap:.3g}",
            where=where,
            hint="save must write all that predict_proba uses, and load must read it back",
        )


def load_validated(where: str, make: Callable[[], MetaLearner], directory: Path) -> MetaLearner:
    """Make a meta-learner and let it read what ``save`` wrote.

    Raises
    ------
    LearnerError
        It raised, or ``load`` does not return a meta-learner.
    """
    return _meta_learner(call_plugin("load", where, lambda: make().load(directory)), "load", where)


def _copied(meta: MetaFeatures) -> MetaFeatures:
    return replace(
        meta,
        logits=meta.logits.copy(),
        features=meta.features.copy(),
        feature_swap=meta.feature_swap.copy(),
        feature_sign=meta.feature_sign.copy(),
    )


def _meta_learner(result: object, verb: str, where: str) -> MetaLearner:
    if not isinstance(result, MetaLearner):
        raise LearnerError(
            f"{verb} returned {type(result).__name__}, not the meta-learner",
            where=where,
            hint=f"end {verb} with `return self`",
        )
    return result


def _broken(where: str, what: str) -> LearnerError:
    return LearnerError(
        f"a candidate of the stack gave wrong probabilities: {what}",
        where=where,
        hint="predict_proba must give (n, 3) numbers, none negative, each row summing to 1",
    )
