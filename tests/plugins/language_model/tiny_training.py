"""Small trainings of tiny models, for tests: rows that can be learned, and weights to compare."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ensemble.plugin.base import SWAP
from ensemble_plugins.language_model.model.classifier import Classifier
from ensemble_plugins.language_model.model.inference import compute_logits
from ensemble_plugins.language_model.model.loading import load_classifier
from ensemble_plugins.language_model.settings import ModelSettings, TrainingSettings
from ensemble_plugins.language_model.text.tokens import Tokens
from ensemble_plugins.language_model.train.losses import row_losses
from ensemble_plugins.language_model.train.rows import LabeledRows
from ensemble_plugins.language_model.train.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Weights = dict[str, torch.Tensor]

tiny_models: Any = importlib.import_module("tests.plugins.language_model.tiny_models")
torch.set_num_threads(1)  # several wait for one another longer than such models take

_MARKERS = (201, 202, 203)


class Killed(BaseException):
    """What a kill is here: nothing catches it."""


def settings(**changes: Any) -> TrainingSettings:
    """Make settings for a few quick steps."""
    chosen: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 6,
        "token_budget": 60,
        "learning_rate": 1e-2,
        "head_learning_rate": 1e-2,
        "warmup_ratio": 0.0,
        "checkpoint_minutes": 0.0,
    }
    return TrainingSettings(**chosen | changes)


def load(directory: Path, **options: Any) -> Classifier:
    """Load a tiny checkpoint, always with the same head and adapters."""
    chosen = ModelSettings(str(directory), **{"rank": 4, "alpha": 8.0} | options)
    return load_classifier(chosen, device=torch.device("cpu"), seed=3)


def labeled_rows(
    count: int = 18,
    *,
    orders: int = 1,
    seed: int = 0,
    lengths: tuple[int, int] = (4, 13),
    **changes: Any,
) -> LabeledRows:
    """Draw rows whose last token but one tells the label, and soft labels that are nearly hard."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(3, size=count)
    drawn = [rng.integers(10, 190, size) for size in rng.integers(*lengths, size=count)]
    many = tuple(
        Tokens.from_rows([_marked(*row) for row in zip(drawn, told, strict=True)])
        for told in (classes, np.array(SWAP)[classes])[:orders]
    )
    chosen: dict[str, Any] = {
        "labels": np.eye(3)[classes] * 0.94 + 0.02,
        "weight": rng.uniform(0.5, 2.0, count),
        "groups": np.arange(count, dtype=np.int64),
    }
    return LabeledRows(many, **chosen | changes)


def _marked(ids: np.ndarray[Any, Any], label: int) -> np.ndarray[Any, Any]:
    return np.concatenate([ids, [_MARKERS[label], 200]]).astype(np.int32)


def weights(classifier: Classifier, *, trained: bool = True) -> Weights:
    """Copy the weights that are trained, or those that are frozen."""
    return {
        name: parameter.detach().clone()
        for name, parameter in classifier.model.named_parameters()
        if parameter.requires_grad is trained
    }


def same(first: Weights, second: Weights) -> bool:
    """Say whether weights are equal bit by bit."""
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def mean_loss(classifier: Classifier, rows: LabeledRows) -> float:
    """Give the mean loss of rows in their first order."""
    logits = compute_logits(classifier, rows.orders[0], 1000)
    return float(row_losses(torch.from_numpy(logits), torch.from_numpy(rows.labels)).mean())


def gradients(training: Training, parts: list[Any]) -> Weights:
    """Accumulate the gradient of some parts, and take it away."""
    training._accumulate_in_memory(parts)
    found = {n: p.grad.clone() for n, p in training.trained.items() if p.grad is not None}
    training.optimizer.zero_grad()
    return found


def before_each_batch(classifier: Classifier, action: Callable[[Any], None]) -> None:
    """Call something with the row numbers of each batch before it is made."""
    make: Any = classifier.batch

    def batch(tokens: Tokens, rows: Any, **options: Any) -> Any:
        action(rows)
        return make(tokens, rows, **options)

    classifier.batch = batch  # type: ignore[method-assign]


def kill_at(classifier: Classifier, number: int) -> None:
    """Kill training before its batch of this number, counted from 1."""
    left = [number]

    def count(_rows: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    before_each_batch(classifier, count)
