"""Early stopping: when it looks, and what it sees of the rows that are held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ensemble_plugins.language_model.model.inference import compute_logits
from ensemble_plugins.language_model.train.losses import row_losses

if TYPE_CHECKING:
    from ensemble_plugins.language_model.settings import TrainingSettings
    from ensemble_plugins.language_model.text.tokens import Tokens
    from ensemble_plugins.language_model.train.state import TrainingState


def evaluation_steps(settings: TrainingSettings, steps: int) -> set[int]:
    """Give the numbers of steps after which early stopping looks, evenly over all epochs."""
    parts = settings.epochs * settings.evaluations
    return {round((part + 1) * steps / parts) for part in range(parts)}


def stopping_loss(training: TrainingState) -> float:
    """Give the weighted mean log loss of the rows that early stopping looks at."""
    rows = training.stop_rows
    assert rows is not None  # noqa: S101 - split off for early stopping
    offset = None if rows.offset is None else torch.from_numpy(rows.offset)
    logits = _logits(training, rows.orders[0])
    losses = row_losses(logits, torch.from_numpy(rows.labels), offset=offset)
    weight = torch.from_numpy(rows.weight)
    return float((losses * weight).sum() / weight.sum())


def _logits(training: TrainingState, tokens: Tokens) -> torch.Tensor:
    """Compute logits ``(n, 3)`` with the whole team, on the CPU."""
    mine = np.array(training.team.share(range(len(tokens))), dtype=np.int64)
    logits = torch.zeros(len(tokens), 3, device=training.classifier.device)
    found = compute_logits(training.classifier, tokens.take(mine), training.token_budget)
    logits[torch.from_numpy(mine)] = torch.from_numpy(found).to(logits)
    training.team.all_reduce([logits])
    return logits.cpu()
