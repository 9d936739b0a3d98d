"""What teachers say, as one voice, and as labels of learners that learn from no logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from ensemble.errors import LearnerError
from ensemble.evaluation.ties import leave_out_tie

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.plugin.base import FitContext, FloatArray, LogitArray

TeacherMean = Literal["logits", "probabilities"]
MEANS: tuple[TeacherMean, ...] = ("logits", "probabilities")


class Teachers(NamedTuple):
    """Teachers, and how they are averaged.

    Parameters
    ----------
    names
        Of learners of the run.
    mean
        What is averaged: ``"logits"``, or ``"probabilities"``, whose logarithms then are logits.
    weights
        One for each teacher, above 0; none counts all alike.
    """

    names: tuple[str, ...]
    mean: TeacherMean = "logits"
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], mean: TeacherMean, weights: Sequence[float]) -> Teachers:
        """Take parameters of a learner.

        Raises
        ------
        ValueError
            There is no such mean, or weights are not one for each teacher, each above 0.
        """
        if mean not in MEANS:
            raise ValueError(f"teacher_mean must be one of {', '.join(MEANS)}, got {mean!r}")
        if weights and len(weights) != len(names):
            raise ValueError(
                f"teacher_weights must be one for each of {len(names)} teachers, got {len(weights)}"
            )
        if not all(0 < weight < np.inf for weight in weights):
            raise ValueError(f"teacher_weights must be finite and above 0, got {list(weights)}")
        return cls(tuple(names), mean, tuple(weights))

    def logits(self, said: Mapping[str, LogitArray], *, ties: bool = True) -> LogitArray | None:
        """Average what all say: ``(n, 3)``, NaN in rows of which one says nothing; None of none.

        Parameters
        ----------
        said
            Logits ``(n, 3)`` by name, as ``context.teachers``.
        ties
            Whether the task has ties. If not, the tie's logit is minus infinity.

        Raises
        ------
        LearnerError
            A teacher is not among them.
        """
        if not self.names:
            return None
        if missing := [name for name in self.names if name not in said]:
            raise LearnerError(f"there are no logits of the teachers {', '.join(missing)}")
        every = np.stack([leave_out_tie(said[name], ties=ties) for name in self.names])
        every = every.astype(np.float64)
        weights = np.array(self.weights or [1.0] * len(self.names))
        share = (weights / weights.sum())[:, None, None]
        if self.mean == "logits":
            mean = (every * share).sum(axis=0)
        else:
            with np.errstate(invalid="ignore"):  # rows of NaN stay so
                mean = logsumexp(log_softmax(every, axis=2) + np.log(share), axis=0)
        return np.asarray(mean, dtype=np.float32)


class LearnsSoftLabels:
    """A learner that takes labels alone, and so learns from teachers by way of soft ones.

    Parameters
    ----------
    teachers
        Names of learners of the run that this one learns from, beside the labels.
    distillation
        Share of the teachers in soft labels, in [0, 1], where there are teachers. Their temperature
        is 1, and there is no cosine: see `docs/language_models.md`.
    teacher_mean
        What is averaged of several teachers: ``"logits"`` or ``"probabilities"``.
    teacher_weights
        Weight of each teacher in that mean; empty counts all alike.
    """

    teachers: Sequence[str]
    distillation: float
    teacher_mean: TeacherMean
    teacher_weights: Sequence[float]

    def _check_teachers(self) -> None:
        """Refuse a share, a mean or weights that there are not; see ``Teachers.of``."""
        check_share(self.distillation)
        self._teachers()

    def _taught(self, labels: FloatArray, context: FitContext) -> FloatArray:
        """Mix labels with what teachers say."""
        said = self._teachers().logits(context.teachers, ties=context.ties)
        return soft_labels(labels, said, self.distillation)

    def _teachers(self) -> Teachers:
        return Teachers.of(self.teachers, self.teacher_mean, self.teacher_weights)


def soft_labels(labels: FloatArray, teacher: LogitArray | None, share: float) -> FloatArray:
    """Mix labels with a teacher's probabilities: ``(n, 3)`` distributions.

    Cross-entropy with these is ``(1 - share)`` times that with the label and ``share`` times that
    with the teacher: distillation at a temperature of 1. Another temperature would need the
    learner's own logits divided by it too, and so would a cosine: learners that take labels alone
    have neither.

    Parameters
    ----------
    labels
        ``(n, 3)`` distributions.
    teacher
        ``(n, 3)`` logits; rows of NaN keep their labels. None keeps all.
    share
        Of the teacher, in [0, 1].
    """
    if teacher is None or not share:
        return labels
    spoken = ~np.isnan(teacher).any(axis=1)
    mixed = labels.copy()
    said = softmax(teacher[spoken].astype(np.float64), axis=1)
    mixed[spoken] = (1 - share) * labels[spoken] + share * said
    return mixed


def check_share(share: float) -> None:
    """Refuse a share of the teachers that is none.

    Raises
    ------
    ValueError
        It is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"distillation must be in [0, 1], got {share}")
