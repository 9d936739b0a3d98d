"""The optimizer and its schedule: rates of their own for head and backbone, decay of matrices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ensemble_plugins.language_model.model.heads import is_head

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ensemble_plugins.language_model.settings import TrainingSettings

    Parameters = dict[str, torch.nn.Parameter]


def make_optimizer(
    trained: Parameters, head: Collection[str], settings: TrainingSettings, device: torch.device
) -> torch.optim.AdamW:
    """Make AdamW with a rate of its own for the head, and decay of matrices alone."""
    groups = [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for rate, decay, parameters in _parameter_groups(trained, head, settings)
    ]
    return torch.optim.AdamW(groups, fused=device.type == "cuda")


def make_scheduler(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Make the schedule: the rate rises from 0, and falls to 0 at the end or not at all."""
    from transformers import get_scheduler

    name = settings.schedule
    scheduler: torch.optim.lr_scheduler.LRScheduler = get_scheduler(
        "constant_with_warmup" if name == "constant" else name,
        optimizer,
        num_warmup_steps=math.ceil(settings.warmup_ratio * steps),
        num_training_steps=steps,
    )
    return scheduler


def _parameter_groups(
    trained: Parameters, head: Collection[str], settings: TrainingSettings
) -> Iterator[tuple[float, float, list[torch.nn.Parameter]]]:
    for of_head in (False, True):
        for matrix in (False, True):
            chosen = [
                parameter
                for name, parameter in trained.items()
                if is_head(name, head) is of_head and (parameter.ndim > 1) is matrix
            ]
            if chosen:
                rate = settings.head_learning_rate if of_head else settings.learning_rate
                yield rate, settings.weight_decay if matrix else 0.0, chosen
