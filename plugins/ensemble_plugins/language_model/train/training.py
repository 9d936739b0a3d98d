"""Training: optimizer steps over shuffled battles, resumable at any of them.

The loop is the engine's own, since the state that transformers' Trainer and accelerate save is
pickled, and since a step here is a number of battles computed in as many packs as it takes.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model.devices import on_device
from ensemble_plugins.language_model.model.gradients import add_gradients
from ensemble_plugins.language_model.train.losses import row_losses
from ensemble_plugins.language_model.train.recorded import (
    Inputs,
    Recording,
    can_record,
    record_if_faster,
)
from ensemble_plugins.language_model.train.resume import Snapshots
from ensemble_plugins.language_model.train.state import TrainingState
from ensemble_plugins.language_model.train.steps import plan_parts
from ensemble_plugins.language_model.train.stopping import evaluation_steps, stopping_loss

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import TrainingSettings
    from ensemble_plugins.language_model.train.rows import LabeledRows
    from ensemble_plugins.language_model.train.state import Progress
    from ensemble_plugins.language_model.train.teams import ProcessGroup

    IntArray = NDArray[np.int64]

_SMALLEST_BUDGET = 512
_RECORDED_AFTER = 2
"""Steps of this process after which a pass may be recorded: all is compiled then."""
_TOLD_EVERY = 10
"""Steps between two readings of the loss: each waits for the GPU."""


class Training(TrainingState):
    """One stage of training of a classifier.

    Parameters
    ----------
    classifier
        What is trained, in place.
    rows
        What it learns from; rows for early stopping are held out by whole groups.
    settings
        How.
    seed
        Of the order of battles, of dropout, and of the choice of groups.
    snapshots
        Where the state is kept; None keeps none.
    progress
        ``progress(done, message)`` with ``done`` in [0, 1].
    team
        With whom the parts of a step are shared; None trains alone.

    Attributes
    ----------
    steps
        Battles of each optimizer step of all epochs, in the parts that are computed at once.
    token_budget
        Most tokens computed at once; out of memory halves it.

    Raises
    ------
    LearnerError
        No rows, distillation without a teacher's logits, or early stopping on a single group.
    """

    def __init__(
        self,
        classifier: Classifier,
        rows: LabeledRows,
        settings: TrainingSettings,
        *,
        seed: int,
        snapshots: Path | None = None,
        progress: Callable[..., None] | None = None,
        team: ProcessGroup | None = None,
    ) -> None:
        super().__init__(classifier, rows, settings, seed=seed, team=team)
        self.snapshots = Snapshots(self, snapshots) if snapshots else None
        self._tell = progress or (lambda _done, _message: None)
        self._recording: Recording | None = None
        self._until_recorded = (
            _RECORDED_AFTER if can_record(self.classifier, self.settings) else math.inf
        )

    def run(self) -> Progress:
        """Train to the end, from the last snapshot where there is one.

        Raises
        ------
        LearnerError
            The loss is not finite, or not even one battle fits into memory.
        """
        if self.snapshots:
            self.snapshots.restore()
        if self.settings.activation_checkpointing:
            self.classifier.base.gradient_checkpointing_enable({"use_reentrant": False})
        saved = time.monotonic()
        while not self.progress.done:
            self.classifier.model.train()
            loss = self._step(self.steps[self.progress.step])
            self._after_step(loss)
            if self.snapshots and self.team.number == 0 and self._is_due(saved):
                self.snapshots.save()
                saved = time.monotonic()
        self._restore_best()
        self.classifier.model.eval()
        return self.progress

    def _step(self, parts: list[IntArray]) -> torch.Tensor:
        """Accumulate the gradient of some battles, in every order, and move once."""
        # What is drawn depends on the step alone, so that no state of it has to be kept.
        drawn = np.random.SeedSequence([self.seed, self.progress.step, self.team.number])
        torch.manual_seed(int(drawn.generate_state(1)[0]))
        self._record_when_due(parts)
        loss = self._accumulate_in_memory(parts)
        self._add_up(loss)
        self.scaler.unscale_(self.optimizer)
        if self.settings.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.trained.values(), self.settings.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self._forget_gradient()
        return loss

    def _forget_gradient(self) -> None:
        # A recording adds to the gradients that were there when it was made.
        self.optimizer.zero_grad(set_to_none=self._recording is None)

    def _record_when_due(self, parts: list[IntArray]) -> None:
        """Record the pass over a pack, once, where that makes it faster."""
        self._until_recorded -= 1
        # A battle that is longer than the budget has a pack of another width.
        fitting = [p for p in self.team.share(parts) if self.lengths[p].sum() <= self.token_budget]
        if self._until_recorded < 0 and fitting:
            self._until_recorded = math.inf
            example = self._inputs(self.items.of_battles(fitting[0]), 1)
            self._recording = record_if_faster(self._backward, example)
            self._forget_gradient()

    def _add_up(self, loss: torch.Tensor) -> None:
        """Add up loss and gradients over the team; a process may have had no part in a step."""
        if self.team.size == 1:
            return
        for parameter in self.trained.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in self.trained.values() if p.grad is not None]
        self.team.all_reduce([loss, *gradients])

    def _accumulate_in_memory(self, parts: list[IntArray]) -> torch.Tensor:
        """Accumulate, from the start again with half the budget each time memory runs out."""
        while True:
            try:
                return self._accumulate(parts)
            except torch.OutOfMemoryError as error:
                if self.token_budget <= _SMALLEST_BUDGET:
                    raise LearnerError(
                        f"out of memory with packs of {self.token_budget} tokens",
                        hint="set activation_checkpointing = true, shorten the rows "
                        "(train_length), or load the weights in 8 or 4 bits",
                    ) from error
            # Not before here: until its handler ends, the error keeps the activations alive.
            self._recording, self._until_recorded = None, math.inf
            self._forget_gradient()
            torch.cuda.empty_cache()
            self.token_budget //= 2

    def _accumulate(self, parts: list[IntArray]) -> torch.Tensor:
        """Add up the gradient of the mean over all items of weight times loss."""
        count = sum(map(len, parts)) * self.items.orders
        parts = list(self.team.share(parts))
        if self.token_budget < self.planned_budget:  # something did not fit into memory
            parts = [
                small
                for part in parts
                for small in plan_parts(
                    self.lengths, part, self.token_budget, packed=self.classifier.packed
                )
            ]
        loss = torch.zeros((), device=self.classifier.device)
        self.scaler.scale(loss)  # it has no scale before that, and there may be no part
        for part in parts:
            inputs = self._inputs(self.items.of_battles(part), count)
            loss += self._pass(inputs)
        return loss

    def _pass(self, inputs: Inputs) -> torch.Tensor:
        if self._recording and self._recording.takes(inputs):
            return self._recording.replay(inputs)
        return self._backward(inputs)

    def _backward(self, inputs: Inputs) -> torch.Tensor:
        """Add up the gradient of a part's share of the loss, and give that share."""
        losses = row_losses(
            self.classifier.logits(inputs.batch),
            inputs.labels,
            inputs.teacher,
            offset=inputs.offset,
            share=self.settings.distillation,
            temperature=self.settings.temperature,
            cosine=self.settings.cosine,
        )
        share = (losses * inputs.weight).sum()
        self._add_gradient(self.scaler.scale(share))
        return share.detach()

    def _add_gradient(self, loss: torch.Tensor) -> None:
        if self.classifier.settings.tuning == "lora":
            add_gradients(loss, list(self.trained.values()))
        else:  # a second copy of all gradients would be as large as the model
            loss.backward()

    def _inputs(self, items: IntArray, count: int) -> Inputs:
        """Put some items of a step of ``count`` on the device."""
        # One shape for all packs: attention of a known width is half as dear again.
        fills = self.classifier.compiled and self.classifier.packed
        width, reads = (self.token_budget, self.most_items) if fills else (0, 0)
        batch = self.classifier.batch(self.items.tokens, items, width=width, reads=reads)
        missing = max(reads - len(items), 0)

        def tensor(values: NDArray[Any]) -> torch.Tensor:
            padding = [(0, missing), *[(0, 0)] * (values.ndim - 1)]
            return on_device(np.pad(values, padding).astype(np.float32), self.classifier.device)

        teacher, offset = (
            None if each is None else tensor(each[items])
            for each in (self.items.teacher, self.items.offset)
        )
        weight = tensor(self.items.weight[items] / count)
        return Inputs(batch, tensor(self.items.labels[items]), weight, teacher, offset)

    def _after_step(self, loss: torch.Tensor) -> None:
        self.progress.step += 1
        step = self.progress.step
        ended = step >= len(self.steps)
        if step % _TOLD_EVERY == 0 or ended:
            self._tell(step / len(self.steps), f"loss {self._checked(loss):.4f}")
        if self.settings.early_stopping and step in evaluation_steps(
            self.settings, len(self.steps)
        ):
            self._evaluate()
        self.progress.done = self.progress.done or ended

    def _checked(self, loss: torch.Tensor) -> float:
        value = loss.item()
        if not math.isfinite(value):
            raise LearnerError(
                f"the loss is {value} at step {self.progress.step}",
                hint="lower learning_rate or head_learning_rate, or raise warmup_ratio",
            )
        return value

    def _is_due(self, saved: float) -> bool:
        minutes = (time.monotonic() - saved) / 60
        return self.progress.done or minutes >= self.settings.checkpoint_minutes

    def _evaluate(self) -> None:
        """Score the rows that are held out; keep the weights where they are best."""
        progress, loss = self.progress, stopping_loss(self)
        progress.history.append((progress.step, loss))
        if progress.best is None or loss < progress.best:
            progress.best, progress.waited = loss, 0
            self.best_weights = {n: p.detach().cpu().clone() for n, p in self.trained.items()}
        else:
            progress.waited += 1
            progress.done = progress.waited >= self.settings.patience

    def _restore_best(self) -> None:
        for name, weights in self.best_weights.items():
            self.trained[name].data.copy_(weights)
