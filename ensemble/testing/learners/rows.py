"""Logits of a battle: the same wherever it stands and whatever its id; its sides exchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.swap import swap_battles, swap_classes
from ensemble.testing.checks import CautionError, Check
from ensemble.testing.material import exchanged_ids, rebuilt, renamed
from ensemble.testing.trial import gap

if TYPE_CHECKING:
    from ensemble.testing.trial import LearnerTrial

_ALONE, _ALONE_FAST = 5, 2
_BATCH = (
    "give each battle logits of its own text alone: no mean, rank, sort or length over the rows "
    "that are predicted; for a small drift that is known and accepted, raise batch_tolerance"
)
_IDS = (
    "learn from texts and labels that fit is given, and predict from texts: an id may neither be "
    "looked up nor hashed, and nothing may be remembered under it"
)


def again(trial: LearnerTrial) -> dict[str, Any]:
    """Predict the same rows again."""
    other = trial.predict(trial.learner, trial.material.asked)
    return trial.same(
        other,
        "the second time it is asked",
        "predict_logits must leave the learner as it is, and draw nothing",
        trial.tolerance,
    )


def order(trial: LearnerTrial) -> dict[str, Any]:
    """Predict all rows in a random order, and in reverse."""
    asked, found = trial.material.asked, {}
    places = np.random.default_rng(0).permutation(len(asked))
    for rows in (places,) if trial.fast else (places, np.arange(len(asked))[::-1]):
        values = trial.predict(trial.learner, asked[rows])
        found = trial.same(values[np.argsort(rows)], "in another order", _BATCH, trial.tolerance)
    return found


def alone(trial: LearnerTrial) -> dict[str, Any]:
    """Predict a few battles each by itself."""
    asked = trial.material.asked
    count = _ALONE_FAST if trial.fast else _ALONE
    rows = np.unique(np.linspace(0, len(asked) - 1, count).astype(int))
    other = trial.logits.copy()
    other[rows] = np.concatenate([trial.predict(trial.learner, asked[[row]]) for row in rows])
    return trial.same(other, "to a battle alone", _BATCH, trial.tolerance)


def batches(trial: LearnerTrial) -> dict[str, Any]:
    """Predict a half of the rows, each of them twice, from a frame in several pieces."""
    asked = trial.material.asked
    half = np.arange(0, len(asked), 2)
    batch = pl.concat([asked[half], asked[half]], rechunk=False)
    twice = trial.predict(trial.learner, batch)
    found = {}
    for part in (twice[: len(half)], twice[len(half) :]):
        other = trial.logits.copy()
        other[half] = part
        found = trial.same(other, "in another batch", _BATCH, trial.tolerance)
    return found


def fresh_ids(trial: LearnerTrial) -> dict[str, Any]:
    """Predict the same texts under other ids."""
    asked, learner = trial.material.asked, trial.learner
    found: dict[str, Any] = {}
    for what, rows in (
        ("for the same texts under other ids", renamed(asked)),
        ("for the same texts under the ids of other battles", exchanged_ids(asked)),
    ):
        found = trial.same(trial.predict(learner, rows), what, _IDS)
    return found


def fresh_ids_in_training(trial: LearnerTrial) -> dict[str, Any]:
    """Learn from the same texts under other ids."""
    if trial.all_same:
        return {"difference": 0.0}
    given = trial.given(battles=renamed(trial.material.train, keep_order=True))
    other = trial.predict(trial.fit(given), trial.material.asked)
    return trial.same(other, "after a fit on the same texts under other ids", _IDS, trial.tolerance)


def other_labels(trial: LearnerTrial) -> dict[str, Any]:
    """Change the labels of rows that are not learned from, wherever they can be read."""
    if trial.all_same:
        return {"difference": 0.0}
    material = trial.material
    _ = trial.logits
    trial.write_battles(material.relabeled())
    try:
        trial.fit(trial.given_others(material.other_labels[:, [2, 0, 1]]))
        other = trial.predict(trial.fit(), material.asked)
    finally:
        trial.write_battles(material.rows)
    return trial.same(
        other,
        "where only labels of rows that fit is not given have changed",
        "learn from the rows of this fit alone: read no file of the run, and keep nothing of "
        "another fit on the class, in the module or in context.cache_directory",
        trial.tolerance,
    )


def exchange(trial: LearnerTrial) -> dict[str, Any]:
    """Measure what exchanging A and B changes, beside exchanging their logits."""
    swapped = trial.predict(trial.learner, rebuilt(swap_battles(trial.material.asked)))
    difference = gap(swap_classes(swapped), trial.logits)
    promised = bool(getattr(trial.subject.kind, "symmetric", False))
    if promised and difference > trial.tolerance:
        raise trial.fault(
            "the class says symmetric = True, and exchanging A and B changes the logits beside "
            f"exchanging them by up to {difference:.3g}",
            "average the logits of both orders, or take symmetric = True away",
        )
    return {"difference": difference, "promised": promised}


def tolerance(trial: LearnerTrial) -> dict[str, Any]:
    """Say where a learner asks for more room than others."""
    if trial.tolerance <= 0.1:
        return {"batch_tolerance": trial.tolerance}
    raise CautionError(
        f"batch_tolerance is {trial.tolerance:g}: logits that depend on the batch by less are not "
        "found; lower it",
        {"batch_tolerance": trial.tolerance},
    )


FRESH_IDS = Check("other ids", fresh_ids, fast=True)
CHECKS = (
    Check("same rows again", again, fast=True),
    Check("order of rows", order, fast=True),
    Check("one row alone", alone, fast=True),
    Check("other batches", batches, fast=True),
    Check("batch tolerance", tolerance, fast=True),
    FRESH_IDS,
    Check("other ids in training", fresh_ids_in_training, fast=True),
    Check("labels of other rows", other_labels, fast=True),
    Check("exchange of A and B", exchange, fast=True),
)
