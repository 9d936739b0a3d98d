"""Tensors of a checkpoint that its model does not read: what is left out must not be missed.

Heads of other tasks are left out of every checkpoint. A bias that the config does not declare, or
the scale of quantized weights, is a part of a layer that computes something else without it.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from safetensors import safe_open
from torch import nn

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model.heads import is_head

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel

_NUMBERED = re.compile(r"(.+?)\.(\d+)\.")
_HARMLESS = {"_weight", "k_scale", "v_scale", "kv_scale", "output_scale"}
"""What the pre-training of DeBERTa-v3 has left behind; and scales of a cache that is never used."""


def check_unread(
    model: PreTrainedModel,
    head: Collection[str],
    unread: Iterable[str],
    files: Sequence[Path],
    *,
    where: str,
) -> None:
    """Refuse parts of layers that are not read and change something, and warn of layers.

    Parameters
    ----------
    model, head
        A classifier, and the modules of its head.
    unread
        Names of tensors of the checkpoint, with or without the name of the backbone.
    files
        The checkpoint's weights.
    where
        The model, for messages.

    Raises
    ------
    LearnerError
        A layer of the model has a tensor that it does not read.
    """
    names = {name: key for key in unread if not is_head(name := _full_name(model, key), head)}
    layers = {
        name
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    }
    parts = {name: key for name, key in names.items() if name.rpartition(".")[0] in layers}
    if missed := sorted(name for name, key in parts.items() if _changes(key, files)):
        raise LearnerError(
            f"{len(missed)} tensors of the weights are parts of layers that {type(model).__name__} "
            f"computes without them: {', '.join(missed[:3])}",
            where=where,
            hint="give a checkpoint whose config declares all of its weights (biases, "
            "quantization)",
        )
    if beyond := sorted({*_beyond(model, names)}):
        warnings.warn(
            f"{where}: the weights have more layers than the config declares, and the others are "
            f"left out: {', '.join(beyond[:3])} (hint: set num_hidden_layers in its config.json, "
            "unless that is what you want)",
            stacklevel=2,
        )


def _changes(key: str, files: Sequence[Path]) -> bool:
    """Say whether a part of a layer computes anything: no bias of zeros, no scale of ones."""
    leaf = key.rpartition(".")[2]
    if leaf in _HARMLESS:
        return False
    if leaf != "bias" and "scale" not in leaf:
        return True
    tensor = _read(key, files)
    return tensor is None or bool(tensor.float().ne(float(leaf != "bias")).any())


def _read(key: str, files: Sequence[Path]) -> Tensor | None:
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                if key in opened.keys():  # noqa: SIM118 - it is no mapping
                    tensor: Tensor = opened.get_tensor(key)
                    return tensor
    return None


def _full_name(model: PreTrainedModel, key: str) -> str:
    """Name a tensor from the classifier on: checkpoints of the backbone leave that out."""
    children = {name for name, _ in model.named_children()}
    return key if key.split(".")[0] in children else f"{model.base_model_prefix}.{key}"


def _beyond(model: PreTrainedModel, names: Iterable[str]) -> Iterator[str]:
    """Give the layers of a list that is shorter in the model; not those of another kind.

    Layers that predict several tokens stand at the end of such a list, and are no layers of it.
    """
    lists = {name: part for name, part in model.named_modules() if isinstance(part, nn.ModuleList)}
    numbered = [(name, found) for name in names if (found := _NUMBERED.match(name))]
    extra: dict[str, set[str]] = {}
    for name, found in numbered:
        if found[1] in lists and int(found[2]) >= len(lists[found[1]]):
            extra.setdefault(found[0].rstrip("."), set()).add(name.removeprefix(found[0]))
    for layer, own in extra.items():
        known = lists[layer.rpartition(".")[0]]
        if own <= {name for one in known for name, _ in one.named_parameters()}:
            yield layer
