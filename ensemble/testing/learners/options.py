"""What a fit may be given beside battles and hard labels: weights, soft labels, groups and more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.plugin.contract import teachers_of
from ensemble.plugin.parameters import constructor_parameters
from ensemble.testing.checks import CautionError, Check, Expecting, NotAskedError
from ensemble.testing.trial import gap

if TYPE_CHECKING:
    from ensemble.testing.trial import LearnerTrial

_FACTOR = 8.0
"""A power of two: scaling by it rounds nothing."""


def _predicted(trial: LearnerTrial, learner: Any) -> Any:
    return trial.predict(learner, trial.material.asked)


def weights(trial: LearnerTrial) -> dict[str, Any]:
    """Fit without weights, with scaled ones, and with weights that differ."""
    logits = trial.logits
    with Expecting(
        "sample_weight = None must mean that all rows count the same",
        trial.where,
        "treat None as np.ones(len(battles))",
    ):
        none = _predicted(trial, trial.fit(trial.given(weight=None)))
    if gap(none, logits) > max(trial.tolerance, 1e-3):
        raise trial.fault(
            "sample_weight = None gives other logits than weights of 1: they differ by up to "
            f"{gap(none, logits):.3g}",
            "treat None as np.ones(len(battles))",
        )
    weight = np.where(trial.material.labels[:, 0] > 0.5, 20.0, 1.0)
    heavy = _predicted(trial, trial.fit(trial.given(weight=weight)))
    if gap(heavy, logits) <= 1e-6:
        raise CautionError(
            "sample_weight changes nothing: a source's weight and reweight will not either; use it"
        )
    ones = np.full(len(weight), _FACTOR)
    scaled = gap(_predicted(trial, trial.fit(trial.given(weight=ones))), logits)
    if scaled > max(trial.tolerance, 1e-2):
        raise CautionError(
            f"weights that are all {_FACTOR:g} give other logits than weights of 1, by up to "
            f"{scaled:.3g}: only their ratios should matter; divide them by their mean",
            {"scaled": scaled},
        )
    return {"weights change logits by": gap(heavy, logits), "scaled": scaled}


def soft_labels(trial: LearnerTrial) -> dict[str, Any]:
    """Fit on distributions, and see whether more than their largest class is used."""
    hint = "labels are (n, 3) distributions: weight each class of a row by its share"
    found = []
    with Expecting("fit must take soft labels", trial.where, hint):
        for shares in ([0.6, 0.4, 0.0], [0.6, 0.0, 0.4]):
            labels = np.tile(shares, (len(trial.material.train), 1))
            labels[::3] = labels[::3, ::-1]
            found.append(_predicted(trial, trial.fit(trial.given(labels=labels))))
    if gap(*found) <= 1e-6:
        raise CautionError(
            "of soft labels only the largest class is used, so that pseudo-labels and ties of "
            f"several votes lose what they say; {hint}"
        )
    return {"difference": gap(*found)}


def groups(trial: LearnerTrial) -> dict[str, Any]:
    """Fit without groups."""
    with Expecting(
        "groups = None must be taken", trial.where, "treat None as np.arange(len(battles))"
    ):
        found = _predicted(trial, trial.fit(trial.given(groups=None)))
    return {"difference": gap(found, trial.logits)}


def bare_context(trial: LearnerTrial) -> dict[str, Any]:
    """Fit without directories for checkpoints and cache, as from a notebook."""
    with Expecting(
        "a context without directories must be taken",
        trial.where,
        "where context.checkpoint_directory or context.cache_directory is None, keep nothing",
    ):
        learner = trial.fit(checkpoint_directory=None, cache_directory=None)
        return trial.same(
            _predicted(trial, learner),
            "without directories for checkpoints and cache",
            "directories may only save time",
            trial.tolerance,
        )


def offset(trial: LearnerTrial) -> dict[str, Any]:
    """Fit with logits to add in training, where the class says that it does."""
    if not trial.subject.kind.takes_offset:  # type: ignore[attr-defined]
        raise NotAskedError("takes_offset is False")
    added = np.tile([1.5, -1.5, -1.0], (len(trial.material.train), 1))
    with Expecting("context.offset must be taken", trial.where, "add it to the logits in fit"):
        found = _predicted(trial, trial.fit(offset=added))
    if gap(found, trial.logits) <= 1e-6:
        raise trial.fault(
            "the class says takes_offset = True, and context.offset changes nothing",
            "add context.offset to the logits in training, or take takes_offset away",
        )
    return {"difference": gap(found, trial.logits)}


def eval_mask(trial: LearnerTrial) -> dict[str, Any]:
    """Fit with rows that early stopping may not look at."""
    mask = np.arange(len(trial.material.train)) % 4 != 3
    with Expecting("context.eval_mask must be taken", trial.where, "or leave it alone"):
        found = _predicted(trial, trial.fit(eval_mask=mask))
    return {"difference": gap(found, trial.logits)}


def teachers(trial: LearnerTrial) -> dict[str, Any]:
    """Fit with teachers, where the learner has them as a parameter."""
    made = trial.subject.make()
    names = teachers_of(made, trial.where)
    subject = trial.subject
    if not names:
        if "teachers" not in constructor_parameters(type(made)):
            raise NotAskedError("it has no parameter teachers")
        subject, names = subject.with_parameters(teachers=["teacher"]), ("teacher",)
    found = []
    with Expecting(
        "context.teachers must be taken",
        trial.where,
        "it has the logits by name; rows of NaN have their labels alone",
    ):
        for seed in (0, 1):
            rng = np.random.default_rng(seed)
            logits = rng.normal(size=(len(trial.material.train), 3)).astype(np.float32) * 3
            logits[::4] = np.nan  # rows of which no teacher speaks
            learner = trial.fit(subject=subject, teachers=dict.fromkeys(names, logits))
            found.append(_predicted(trial, learner))
    if gap(*found) <= 1e-6:
        raise CautionError(
            "other logits of its teachers change nothing: learn from context.teachers, or take "
            "the parameter teachers away"
        )
    return {"difference": gap(*found)}


def pretrain(trial: LearnerTrial) -> dict[str, Any]:
    """Pre-train, then fit; twice the same."""
    if not hasattr(trial.subject.kind, "pretrain"):
        raise NotAskedError("it has no pretrain")
    found = []
    with Expecting(
        "pretrain must be followed by fit", trial.where, "pretrain has the signature of fit"
    ):
        for _ in range(2):
            learner = trial.subject.make()
            before = trial.given_others(trial.material.other_labels)
            trial.learn(learner, "pretrain", before, teachers={})
            found.append(_predicted(trial, trial.learn(learner, "fit", trial.given())))
    if gap(*found) > trial.tolerance:
        raise trial.fault(
            "the same pre-training and fit give other logits the second time: they differ by up "
            f"to {gap(*found):.3g}",
            "draw from np.random.default_rng(context.seed) alone, and keep nothing on the class",
        )
    return {"pretraining changes logits by": gap(found[0], trial.logits)}


CHECKS = (
    Check("sample weights", weights),
    Check("soft labels", soft_labels),
    Check("groups", groups),
    Check("no directories", bare_context),
    Check("offset", offset),
    Check("eval mask", eval_mask),
    Check("teachers", teachers),
    Check("pretrain", pretrain),
)
