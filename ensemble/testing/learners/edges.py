"""Battles and training rows at the edge: odd texts, one row, no row, one class, a fit cut short."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.errors import EnsembleError
from ensemble.evaluation.losses import softmax
from ensemble.plugin.base import CLASSES
from ensemble.plugin.faults import plugin_errors
from ensemble.testing.checks import Check, Expecting, NotAskedError, with_line
from ensemble.testing.material import odd_texts, rebuilt
from ensemble.testing.trial import gap
from ensemble.testing.watch import restoring

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.plugin.base import FloatArray
    from ensemble.testing.trial import LearnerTrial

_TEXTS = "a turn may be null or empty, and as long as people write: fill_null, and divide by no 0"
_KNOWN = (EnsembleError, ValueError)
"""What a learner may raise to say that it cannot learn from so little."""


def odd_battles(trial: LearnerTrial) -> dict[str, Any]:
    """Predict battles that people have, each by itself and all together."""
    learner, battles = trial.learner, pl.concat(odd_texts().values())
    if trial.fast:
        try:
            trial.predict(learner, rebuilt(battles))
        except EnsembleError:
            pass  # which of them it was is told below
        else:
            return {"battles": len(battles)}
    parts = []
    for name, battle in odd_texts().items():
        with Expecting(f"{name} must be predicted", trial.where, _TEXTS):
            parts.append(trial.predict(learner, rebuilt(battle)))
    with Expecting("odd battles must be predicted in one batch", trial.where, _TEXTS):
        together = trial.predict(learner, rebuilt(battles))
    difference = gap(together, np.concatenate(parts))
    if difference > trial.tolerance:
        raise trial.fault(
            "predict_logits gives other logits to odd battles in one batch than to each alone: "
            f"they differ by up to {difference:.3g}",
            "give each battle logits of its own text alone; null turns must not move the others",
        )
    return {"battles": len(battles), "difference": difference}


def odd_training(trial: LearnerTrial) -> dict[str, Any]:
    """Learn from such battles among others."""
    odd = pl.concat(odd_texts().values())
    battles = pl.concat([trial.material.train, odd])
    labels = np.concatenate([trial.material.labels, np.eye(3)[np.arange(len(odd)) % 3]])
    given = trial.given(battles=battles, labels=labels, groups=np.arange(len(battles)))
    with Expecting("fit must take odd battles", trial.where, _TEXTS):
        trial.predict(trial.fit(given), trial.material.asked)
    return {"battles": len(odd)}


def no_row(trial: LearnerTrial) -> dict[str, Any]:
    """Predict no row at all."""
    hint = "give np.empty((0, 3), dtype=np.float32), or work on arrays, which may be empty"
    with Expecting("no row must give logits of shape (0, 3)", trial.where, hint):
        trial.predict(trial.learner, trial.material.asked.head(0))
    return {}


def one_row(trial: LearnerTrial) -> dict[str, Any]:
    """Learn from one row: logits, or an error that says why not."""
    given = trial.given(
        battles=trial.material.train.head(1),
        labels=trial.material.labels[:1],
        groups=np.zeros(1, dtype=np.int64),
    )
    return _works_or_says(trial, "one row", lambda: trial.fit(given))


def one_class(trial: LearnerTrial) -> dict[str, Any]:
    """Learn where one class is all there is: finite logits, or an error that says why not."""
    labels = np.tile([1.0, 0.0, 0.0], (len(trial.material.train), 1))
    given = trial.given(labels=labels)
    return _works_or_says(trial, "rows of one class", lambda: trial.fit(given))


def no_ties(trial: LearnerTrial) -> dict[str, Any]:
    """Learn labels of a task without ties: finite logits, where no row was ever a tie."""
    sides = np.arange(len(trial.material.train)) % 2
    labels = np.where(trial.material.labels[:, 2:] > 0, np.eye(3)[sides], trial.material.labels)
    given = trial.given(labels=labels)
    hint = "add a little to each class before a logarithm, such as (counts + 1)"
    with Expecting("a fit on labels without ties must give finite logits", trial.where, hint):
        trial.predict(trial.fit(given), trial.material.asked)
    return {}


def _works_or_says(trial: LearnerTrial, what: str, fit: Callable[[], Any]) -> dict[str, Any]:
    try:
        learner = fit()
    except EnsembleError as error:
        cause = error.__cause__ or error
        if isinstance(cause, _KNOWN) and str(cause):
            return {"refused": str(getattr(cause, "message", cause)).splitlines()[0][:80]}
        raise trial.fault(
            f"fit on {what} must give a model, or a ValueError that says why not: {error.message}",
            "raise ValueError where there is too little to learn from",
        ) from error
    hint = "add a little to each class before a logarithm, such as (counts + 1)"
    with Expecting(f"a fit on {what} must give finite logits", trial.where, hint):
        trial.predict(learner, trial.material.asked)
    return {}


def class_order(trial: LearnerTrial) -> dict[str, Any]:
    """Learn from rows that nearly all end the same way: that class must gain most."""
    _ = trial.logits
    ties, wins = (_mostly(trial, column) for column in (2, 0))
    moved = wins - ties
    if np.abs(moved).max() <= 1e-3:
        raise NotAskedError("the share of a class in training does not move its probability")
    # Who is indifferent to sides gives B as much as A, so that A need not gain most.
    if moved.argmin() != 2 or moved[0] < 0.01:
        gained = [CLASSES[int(column)] for column in (moved.argmax(), moved.argmin())]
        raise trial.fault(
            "the columns of the logits are not in the order of the classes: taught that nearly "
            f"all rows are won by A, it gives more to column {moved.argmax()}, {gained[0]}; taught "
            f"that nearly all are ties, to column {moved.argmin()}, {gained[1]}",
            f"the columns are {', '.join(CLASSES)}",
        )
    return {"A": float(moved[0]), "tie": float(-moved[2])}


def _mostly(trial: LearnerTrial, column: int) -> FloatArray:
    """Give the mean probabilities after a fit on rows that are nearly all of one class."""
    classes = np.full(len(trial.material.train), column)
    # Never B: where A and B stand in each other's columns, A's loses then.
    classes[::9] = 2 - column
    learner = trial.fit(trial.given(labels=np.eye(3)[classes]))
    found: FloatArray = softmax(trial.predict(learner, trial.material.asked)).mean(axis=0)
    return found


class _Interrupt:
    """A progress reporter in which somebody presses Ctrl-C."""

    def __init__(self, call: int) -> None:
        self.call, self.calls = call, 0

    def __call__(self, _done: float, _message: str = "", **_: Any) -> None:
        self.calls += 1
        if self.calls == self.call:
            raise KeyboardInterrupt


def interrupted(trial: LearnerTrial) -> dict[str, Any]:
    """Cut a fit short where it reports progress, and fit again with its checkpoints."""
    _ = trial.logits
    counted = _Interrupt(0)
    trial.fit(progress=counted)
    if not counted.calls:
        raise NotAskedError("it reports no progress, so that there is no place to cut it short")
    for call in sorted({1, (counted.calls + 1) // 2, counted.calls}):
        context = trial.context(progress=_Interrupt(call))
        _cut_short(trial, context)
        learner = trial.fit(checkpoint_directory=context.checkpoint_directory)
        trial.same(
            trial.predict(learner, trial.material.asked),
            f"after a fit that was interrupted at report {call} of {counted.calls} and resumed",
            "a checkpoint must hold all that goes on: weights, optimizer, order, random state; "
            "or begin anew",
            max(trial.tolerance, 1e-3),
        )
    return {"reports": counted.calls}


def _cut_short(trial: LearnerTrial, context: Any) -> None:
    given = trial.given()
    context = replace(context, offset=None)
    try:
        with restoring():
            trial.subject.make().fit(
                given.battles,
                given.labels,
                sample_weight=given.weight,
                groups=given.groups,
                context=context,
            )
    except KeyboardInterrupt:
        return
    except plugin_errors() as error:
        raise trial.fault(
            f"Ctrl-C in a fit becomes {type(error).__name__}: {error} ({with_line('', error)})",
            "catch Exception, never BaseException, and let KeyboardInterrupt pass",
        ) from error
    raise trial.fault(
        "fit swallows KeyboardInterrupt: Ctrl-C does not end it",
        "catch Exception, never BaseException or all",
    )


CHECKS = (
    Check("odd texts", odd_battles, fast=True),
    Check("odd texts in training", odd_training),
    Check("no row", no_row),
    Check("one row", one_row),
    Check("one class", one_class),
    Check("labels without ties", no_ties),
    Check("order of classes", class_order),
    Check("interrupted fit", interrupted),
)
