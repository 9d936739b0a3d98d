"""Tensors of a checkpoint that its model does not read: what is left out must not be missed.

Heads of other tasks are left out of every checkpoint. A bias that the config does not tell of, or
the scale of quantized weights, is a part of a layer that computes something else without it.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from torch import nn

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model.heads import is_head

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from transformers import PreTrainedModel

_NUMBERED = re.compile(r"(.+?)\.(\d+)\.")


def check_unread(
    model: PreTrainedModel, head: Collection[str], unread: Iterable[str], *, where: str
) -> None:
    """Refuse parts of layers that are not read, and warn of layers that are not.

    Parameters
    ----------
    model, head
        A classifier, and the modules of its head.
    unread
        Names of tensors of the checkpoint, with or without the name of the backbone.
    where
        The model, for messages.

    Raises
    ------
    LearnerError
        A layer of the model has a tensor that it does not read.
    """
    names = {name for key in unread if not is_head(name := _full_name(model, key), head)}
    layers = {
        name
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    }
    if parts := sorted(name for name in names if name.rpartition(".")[0] in layers):
        raise LearnerError(
            f"{len(parts)} tensors of the weights are parts of layers that {type(model).__name__} "
            f"computes without them: {', '.join(parts[:3])}",
            where=where,
            hint="give a checkpoint whose config says what its weights are (biases, quantization)",
        )
    if beyond := sorted({*_beyond(model, names)}):
        warnings.warn(
            f"{where}: the weights have layers that the config does not tell of, and that are left "
            f"out: {', '.join(beyond[:3])} (hint: set num_hidden_layers in its config.json, unless "
            "that is what you want)",
            stacklevel=2,
        )


def _full_name(model: PreTrainedModel, key: str) -> str:
    """Name a tensor from the classifier on: checkpoints of the backbone leave that out."""
    at_hand = {name for name, _ in model.named_children()}
    return key if key.split(".")[0] in at_hand else f"{model.base_model_prefix}.{key}"


def _beyond(model: PreTrainedModel, names: Iterable[str]) -> Iterator[str]:
    """Give the layers of a list that is shorter in the model."""
    lists = {
        n: len(module) for n, module in model.named_modules() if isinstance(module, nn.ModuleList)
    }
    for name in names:
        found = _NUMBERED.match(name)
        if found and int(found[2]) >= lists.get(found[1], 1 << 30):
            yield found[0].rstrip(".")
