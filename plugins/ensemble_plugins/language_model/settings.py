"""What the engine can be asked for, as plain data: model, training, prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tuning = Literal["lora", "full"]
Bits = Literal[4, 8, 16]
Schedule = Literal["cosine", "linear", "constant"]
Precision = Literal["native", "fp8", "int8"]
TrainPrecision = Literal["native", "fp8"]
Budget = int | Literal["auto"]


@dataclass(frozen=True)
class ModelSettings:
    """A pretrained model and what of it is trained.

    Parameters
    ----------
    model
        A hub id, or a directory.
    revision
        Commit, branch or tag of a hub id.
    tuning
        ``"lora"`` trains adapters and the head; ``"full"`` trains everything.
    bits
        Of the frozen weights: 16, or 8 or 4 with bitsandbytes (QLoRA).
    rank, alpha, dropout
        Of the adapters.
    modules
        Names of the linear layers with an adapter; ``("all-linear",)`` for all of them.
    soft_capping
        False computes without the bound on attention scores that Gemma-2 was trained with.
    train_precision
        ``"fp8"`` trains adapters over weights and activations in FP8; ``"native"`` over the
        weights as they are, as prediction does whatever this says.
    """

    model: str
    revision: str | None = None
    tuning: Tuning = "lora"
    bits: Bits = 16
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    modules: tuple[str, ...] = ("all-linear",)
    soft_capping: bool = True
    train_precision: TrainPrecision = "native"


@dataclass(frozen=True)
class TrainingSettings:
    """How the model is trained.

    Parameters
    ----------
    epochs
        Passes over the rows; with early stopping the most of them.
    batch_size
        Battles a step of the optimizer.
    swap_augmentation
        Whether a step sees each of its battles a second time with A and B exchanged.
    token_budget
        Most tokens computed at once; a step accumulates gradients over as many packs as it takes.
        ``"auto"`` is what the GPU has memory for, by the model's size; out of memory halves it.
    learning_rate, head_learning_rate
        Of adapters or backbone, and of the head.
    weight_decay
        Of AdamW, on matrices alone.
    warmup_ratio
        Share of the steps in which the rate rises.
    schedule
        How it falls after that.
    max_grad_norm
        Greatest norm of the gradient; 0 for no bound.
    early_stopping
        Whether training stops by rows that are split off for it, and keeps the best weights.
    patience
        Evaluations without a gain after which it stops.
    validation_fraction
        Share of the groups that early stopping looks at.
    evaluations
        How often an epoch is evaluated, for early stopping.
    distillation
        Share ``d`` of the teachers in the loss, in rows of which they speak:
        ``(1 - d) * cross-entropy + d * T² * KL + c * (1 - cosine)``.
    temperature
        ``T``: both sides' logits are divided by it.
    cosine
        ``c``: weight of the cosine between both sides' probabilities at that temperature.
    activation_checkpointing
        Whether activations are computed anew in the backward pass, to save memory.
    checkpoint_minutes
        How often the state is saved.
    """

    epochs: int = 1
    batch_size: int = 16
    swap_augmentation: bool = False
    token_budget: Budget = "auto"  # noqa: S105
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    schedule: Schedule = "cosine"
    max_grad_norm: float = 1.0
    early_stopping: bool = False
    patience: int = 1
    validation_fraction: float = 0.1
    evaluations: int = 1
    distillation: float = 0.0
    temperature: float = 1.0
    cosine: float = 0.0
    activation_checkpointing: bool = False
    checkpoint_minutes: float = 10.0


@dataclass(frozen=True)
class PredictionSettings:
    """How logits are computed.

    Parameters
    ----------
    token_budget
        Most tokens computed at once; out of memory halves it.
    precision
        ``"native"`` computes as trained; ``"fp8"`` and ``"int8"`` with 8-bit matrix products.
    """

    token_budget: int = 16896
    precision: Precision = "native"
