"""Training: optimizer steps over shuffled battles, resumable at any of them.

The loop is the engine's own, since the state that transformers' Trainer and accelerate save is
pickled, and since a step here is a number of battles computed in as many packs as it takes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ensemble.plugin.base import SWAP
from plugins.both_orders import deal_groups
from plugins.language_model.attention import on_device
from plugins.language_model.batches import plan_stream
from plugins.language_model.inference import compute_logits
from plugins.language_model.losses import row_losses
from plugins.language_model.model import is_head
from plugins.language_model.resume import Snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from plugins.language_model.model import Classifier
    from plugins.language_model.settings import TrainingSettings
    from plugins.language_model.tokens import Tokens

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

_SMALLEST_BUDGET = 512
_TOLD_EVERY = 10
"""Steps between two readings of the loss: each waits for the GPU."""


@dataclass(frozen=True)
class LabelledRows:
    """Battles to learn from.

    Parameters
    ----------
    orders
        Token ids of ``n`` battles as they are, and if wanted with A and B exchanged.
    labels
        ``(n, 3)`` distributions.
    weight
        ``(n,)`` positive weights.
    groups
        ``(n,)`` groups that early stopping keeps whole.
    teacher
        ``(n, 3)`` logits to distil from, or None.
    """

    orders: tuple[Tokens, ...]
    labels: FloatArray
    weight: FloatArray
    groups: IntArray
    teacher: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: IntArray) -> LabelledRows:
        """Keep some battles."""
        return LabelledRows(
            tuple(tokens.take(rows) for tokens in self.orders),
            self.labels[rows],
            self.weight[rows],
            self.groups[rows],
            None if self.teacher is None else self.teacher[rows],
        )


@dataclass(frozen=True)
class Items:
    """What is computed: every battle in each of its orders.

    Parameters
    ----------
    tokens
        ``orders * n`` rows: all battles in the first order, then all in the second.
    labels, weight, teacher
        Of each row, its classes exchanged where its sides are.
    orders
        1 or 2.
    """

    tokens: Tokens
    labels: FloatArray
    weight: FloatArray
    teacher: NDArray[np.float32] | None
    orders: int

    @classmethod
    def of(cls, rows: LabelledRows) -> Items:
        """Lay the orders of battles one below the other."""
        orders = len(rows.orders)
        both = slice(0, orders)
        teacher = rows.teacher
        return cls(
            type(rows.orders[0]).concatenate(rows.orders),
            np.concatenate([rows.labels, rows.labels[:, list(SWAP)]][both]),
            np.tile(rows.weight, orders),
            None if teacher is None else np.concatenate([teacher, teacher[:, list(SWAP)]][both]),
            orders,
        )

    @property
    def battle_lengths(self) -> IntArray:
        """Tokens of each battle, in all its orders: ``(n,)``."""
        return np.asarray(self.tokens.lengths.reshape(self.orders, -1).sum(axis=0), dtype=np.int64)

    def of_battles(self, battles: IntArray) -> IntArray:
        """Give the items of some battles."""
        count = len(self.tokens) // self.orders
        return np.concatenate([battles + order * count for order in range(self.orders)])


@dataclass
class Progress:
    """Where training is; all of it is saved with a snapshot.

    Parameters
    ----------
    step
        Optimizer steps done.
    best
        Lowest log loss of early stopping.
    waited
        Evaluations since then.
    done
        Whether training has ended.
    history
        ``(step, log loss)`` of each evaluation.
    """

    step: int = 0
    best: float = math.inf
    waited: int = 0
    done: bool = False
    history: list[tuple[int, float]] = field(default_factory=list)


class Training:
    """One stage of training of a classifier.

    Parameters
    ----------
    classifier
        What is trained, in place.
    rows
        What it learns from; rows for early stopping are carved out by whole groups.
    settings
        How.
    seed
        Of the order of battles, of dropout, and of the choice of groups.
    snapshots
        Where the state is kept; None keeps none.
    progress
        ``progress(done, message)`` with ``done`` in [0, 1].
    """

    def __init__(
        self,
        classifier: Classifier,
        rows: LabelledRows,
        settings: TrainingSettings,
        *,
        seed: int,
        snapshots: Path | None = None,
        progress: Callable[..., None] | None = None,
    ) -> None:
        self.classifier, self.settings, self.seed = classifier, settings, seed
        self.rows, self.stop_rows = _carved(rows, settings, seed)
        self.items = Items.of(self.rows)
        self.steps = [step for epoch in range(settings.epochs) for step in self._plan_epoch(epoch)]
        self.trained = {
            name: parameter
            for name, parameter in classifier.model.named_parameters()
            if parameter.requires_grad
        }
        self.optimizer = make_optimizer(self.trained, settings, classifier.device)
        self.scheduler = self._make_scheduler()
        self.scaler = torch.amp.GradScaler(
            classifier.device.type, enabled=classifier.dtype is torch.float16
        )
        self.token_budget = settings.token_budget
        self.progress = Progress()
        self.best_weights: dict[str, torch.Tensor] = {}
        self.snapshots = Snapshots(self, snapshots) if snapshots else None
        self._tell = progress or (lambda _done, _message: None)

    def run(self) -> Progress:
        """Train to the end, from the last snapshot where there is one."""
        torch.manual_seed(self.seed)
        if self.snapshots:
            self.snapshots.restore()
        if self.settings.activation_checkpointing:
            self.classifier.base.gradient_checkpointing_enable({"use_reentrant": False})
        saved = time.monotonic()
        while not self.progress.done:
            self.classifier.model.train()
            loss = self._step(self.steps[self.progress.step])
            self._after_step(loss)
            if self.snapshots and self._is_due(saved):
                self.snapshots.save()
                saved = time.monotonic()
        self._restore_best()
        self.classifier.model.eval()
        return self.progress

    def _after_step(self, loss: torch.Tensor) -> None:
        self.progress.step += 1
        step = self.progress.step
        if step % _TOLD_EVERY == 0:
            self._tell(step / len(self.steps), f"loss {loss.item():.4f}")
        if self.settings.patience and step in self._evaluation_steps():
            self._evaluate()
        self.progress.done = self.progress.done or step >= len(self.steps)

    def _is_due(self, saved: float) -> bool:
        minutes = (time.monotonic() - saved) / 60
        return self.progress.done or minutes >= self.settings.checkpoint_minutes

    def _plan_epoch(self, epoch: int) -> list[list[IntArray]]:
        """Divide the battles into steps, each a list of what is computed at once.

        Packs are filled with battles as they come in the epoch's order, and a step takes as many
        packs as hold about ``batch_size`` battles; steps of padded batches hold exactly as many.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        size = self.settings.batch_size
        if not self.classifier.packed:
            parts = [order[start : start + size] for start in range(0, len(order), size)]
            return [self._parts_of(battles) for battles in parts]
        packs = plan_stream(self.items.battle_lengths, order, self.settings.token_budget)
        ends = np.cumsum([len(pack) for pack in packs])
        steps: list[list[IntArray]] = [[] for _ in range(math.ceil(len(order) / size))]
        for pack, end in zip(packs, ends.tolist(), strict=True):
            steps[(end - 1) // size].append(pack)
        return [step for step in steps if step]

    def _parts_of(self, battles: IntArray) -> list[IntArray]:
        """Divide some battles into what fits into the budget."""
        lengths = self.items.battle_lengths[battles]
        return [battles[part] for part in self.classifier.plan(lengths, self.token_budget)]

    def _step(self, parts: list[IntArray]) -> torch.Tensor:
        """Accumulate the gradient of some battles, in every order, and move once."""
        while True:
            try:
                loss = self._accumulate(parts)
                break
            except torch.OutOfMemoryError:
                self.optimizer.zero_grad()
                torch.cuda.empty_cache()
                if self.token_budget <= _SMALLEST_BUDGET:
                    raise
                self.token_budget //= 2
        self.scaler.unscale_(self.optimizer)
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.trained.values(), self.settings.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return loss

    def _accumulate(self, parts: list[IntArray]) -> torch.Tensor:
        if self.token_budget < self.settings.token_budget:  # something did not fit into memory
            parts = [small for part in parts for small in self._parts_of(part)]
        total = sum(float(self.items.weight[part].sum()) for part in parts) * self.items.orders
        loss = torch.zeros((), device=self.classifier.device)
        for part in parts:
            share = self._loss(self.items.of_battles(part)) / total
            self.scaler.scale(share).backward()
            loss += share.detach()
        return loss

    def _loss(self, items: IntArray) -> torch.Tensor:
        """Give the weighted sum of some items' losses."""
        # One width for all packs: attention of a known width is half as dear again.
        width = self.token_budget if self.classifier.compiled else 0
        logits = self.classifier.logits(
            self.classifier.batch(self.items.tokens, items, width=width)
        )
        teacher = self.items.teacher
        losses = row_losses(
            logits,
            self._tensor(self.items.labels[items]),
            None if teacher is None else self._tensor(teacher[items]),
            share=self.settings.distillation,
            temperature=self.settings.temperature,
        )
        return (losses * self._tensor(self.items.weight[items])).sum()

    def _tensor(self, values: NDArray[Any]) -> torch.Tensor:
        return on_device(values.astype(np.float32), self.classifier.device)

    def _evaluation_steps(self) -> set[int]:
        parts = self.settings.epochs * self.settings.evaluations
        return {round((part + 1) * len(self.steps) / parts) for part in range(parts)}

    def _evaluate(self) -> None:
        """Score the rows that were carved out; keep the weights where they are best."""
        assert self.stop_rows is not None  # noqa: S101 - carved where patience is set
        logits = compute_logits(self.classifier, self.stop_rows.orders[0], self.token_budget)
        losses = row_losses(torch.from_numpy(logits), torch.from_numpy(self.stop_rows.labels))
        weight = torch.from_numpy(self.stop_rows.weight)
        loss = float((losses * weight).sum() / weight.sum())
        self.progress.history.append((self.progress.step, loss))
        if loss < self.progress.best:
            self.progress.best, self.progress.waited = loss, 0
            self.best_weights = {n: p.detach().cpu().clone() for n, p in self.trained.items()}
        else:
            self.progress.waited += 1
            self.progress.done = self.progress.waited >= self.settings.patience

    def _restore_best(self) -> None:
        for name, weights in self.best_weights.items():
            self.trained[name].data.copy_(weights)

    def _make_scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        from transformers import get_scheduler

        name = self.settings.schedule
        scheduler: torch.optim.lr_scheduler.LRScheduler = get_scheduler(
            "constant_with_warmup" if name == "constant" else name,
            self.optimizer,
            num_warmup_steps=math.ceil(self.settings.warmup * len(self.steps)),
            num_training_steps=len(self.steps),
        )
        return scheduler


def make_optimizer(
    trained: dict[str, torch.nn.Parameter], settings: TrainingSettings, device: torch.device
) -> torch.optim.AdamW:
    """Make AdamW with a rate of its own for the head, and decay of matrices alone."""
    groups = [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for rate, decay, parameters in _parameter_groups(trained, settings)
    ]
    return torch.optim.AdamW(groups, fused=device.type == "cuda")


def _parameter_groups(
    trained: dict[str, torch.nn.Parameter], settings: TrainingSettings
) -> Iterator[tuple[float, float, list[torch.nn.Parameter]]]:
    for head in (False, True):
        for matrix in (False, True):
            chosen = [
                parameter
                for name, parameter in trained.items()
                if is_head(name) is head and (parameter.ndim > 1) is matrix
            ]
            if chosen:
                rate = settings.head_learning_rate if head else settings.learning_rate
                yield rate, settings.weight_decay if matrix else 0.0, chosen


def _carved(
    rows: LabelledRows, settings: TrainingSettings, seed: int
) -> tuple[LabelledRows, LabelledRows | None]:
    """Part the rows that early stopping looks at from those that are learned, by whole groups."""
    if not settings.patience:
        return rows, None
    stops = deal_groups(rows.groups, round(1 / settings.stop_share), seed) == 0
    return rows.take(np.flatnonzero(~stops)), rows.take(np.flatnonzero(stops))
