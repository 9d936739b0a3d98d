"""The state of a training: all that its steps read and change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.train.memory import token_budget
from ensemble_plugins.language_model.train.optimizer import make_optimizer, make_scheduler
from ensemble_plugins.language_model.train.rows import Items, LabeledRows, holdout_split
from ensemble_plugins.language_model.train.steps import plan_steps, useful_budget
from ensemble_plugins.language_model.train.teams import ProcessGroup

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import TrainingSettings

    IntArray = NDArray[np.int64]


@dataclass
class Progress:
    """Where training is; all of it is saved with a snapshot.

    Parameters
    ----------
    step
        Optimizer steps done.
    best
        Lowest log loss of early stopping; None before the first evaluation.
    waited
        Evaluations since then.
    done
        Whether training has ended.
    history
        ``(step, log loss)`` of each evaluation.
    """

    step: int = 0
    best: float | None = None
    waited: int = 0
    done: bool = False
    history: list[tuple[int, float]] = field(default_factory=list)


class TrainingState:
    """What a training is at any of its steps; the parameters are those of ``Training``."""

    def __init__(
        self,
        classifier: Classifier,
        rows: LabeledRows,
        settings: TrainingSettings,
        *,
        seed: int,
        team: ProcessGroup | None = None,
    ) -> None:
        _check(rows, settings)
        self.classifier, self.settings, self.seed = classifier, settings, seed
        self.team = team or ProcessGroup()
        self.rows, self.stop_rows = holdout_split(rows, settings, seed)
        self.items = Items.of(self.rows)
        self.lengths = self.items.battle_lengths(classifier.multiple)
        self.planned_budget = useful_budget(
            self.lengths, settings.batch_size, token_budget(classifier, settings)
        )
        self.token_budget = self.planned_budget
        self.steps = [step for epoch in range(settings.epochs) for step in self._plan_epoch(epoch)]
        self.most_items = self.items.orders * max(len(part) for step in self.steps for part in step)
        parameters = classifier.model.named_parameters()
        self.trained = {name: each for name, each in parameters if each.requires_grad}
        self.optimizer = make_optimizer(self.trained, classifier.head, settings, classifier.device)
        self.scheduler = make_scheduler(self.optimizer, settings, len(self.steps))
        self.scaler = torch.amp.GradScaler(
            classifier.device.type, enabled=classifier.dtype is torch.float16
        )
        self.progress = Progress()
        self.best_weights: dict[str, torch.Tensor] = {}

    def _plan_epoch(self, epoch: int) -> list[list[IntArray]]:
        return plan_steps(
            self.lengths,
            np.random.default_rng([self.seed, epoch]).permutation(len(self.rows)),
            batch_size=self.settings.batch_size,
            budget=self.token_budget,
            packed=self.classifier.packed,
        )


def _check(rows: LabeledRows, settings: TrainingSettings) -> None:
    if not len(rows):
        raise LearnerError("there are no battles to learn from")
    if (settings.distillation or settings.cosine) and rows.teacher is None:
        raise LearnerError(
            "distillation needs the teacher's logits, and the rows have none",
            hint="name learners as teachers, or set distillation = 0",
        )
