"""How many tokens of a training pass a GPU has memory for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import TrainingSettings

TILES = 8448
"""Tokens whose products fill an H100 or H200 (132 multiprocessors) with whole tiles: up to 3%
faster. Enough where memory does not matter, or nothing is known of what a pass takes."""

_KEPT = 1.7
"""Numbers that a pass keeps for its backward half, for each output of a linear layer: 1.56 of
Llama-3-8B and 1.65 of Gemma-2-9B were measured, the layers compiled."""

_USABLE = 0.9
"""Share of the free memory. Too high an estimate costs time alone: out of memory halves it."""

_OPTIMIZER_BYTES = 12
"""Gradient and two moments of a trained number."""


def token_budget(classifier: Classifier, settings: TrainingSettings) -> int:
    """Give the most tokens that are computed at once, by the settings or by the free memory.

    Parameters
    ----------
    classifier
        The model, on its device. Attention of padded batches takes memory by the square of the
        lengths, of which nothing is estimated.
    settings
        How it is trained.
    """
    if isinstance(settings.token_budget, int):
        return settings.token_budget
    if classifier.device.type != "cuda" or not classifier.packed:
        return TILES
    trained = sum(p.numel() for p in classifier.model.parameters() if p.requires_grad)
    free = free_bytes(classifier.device) - trained * _OPTIMIZER_BYTES
    checkpointed = settings.activation_checkpointing
    if not checkpointed:  # layers that are computed again have no sums
        free -= classifier.merged_bytes
    return fitting_tokens(classifier.backbone, free, checkpointed=checkpointed)


def fitting_tokens(backbone: nn.Module, free: int, *, checkpointed: bool) -> int:
    """Give the tokens of a pass through a decoder that fit into some bytes: whole tiles, or fewer.

    Parameters
    ----------
    backbone
        The decoder.
    free
        Bytes.
    checkpointed
        Whether the activations of one layer alone are kept at a time.
    """
    layers = len(backbone.layers)  # type: ignore[arg-type]
    linear = [
        module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in name
    ]
    kept = _KEPT * sum(module.out_features for module in linear)
    if checkpointed:
        kept = kept / layers + layers * linear[0].in_features
    fitting = int(max(free, 0) * _USABLE / (2 * kept))
    return fitting // TILES * TILES if fitting >= TILES else max(fitting // 128 * 128, 128)


def free_bytes(device: torch.device) -> int:
    """Give the bytes of a GPU that are free, or kept by PyTorch and not used."""
    free, _total = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
