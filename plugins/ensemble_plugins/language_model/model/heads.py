"""What a sequence classifier has beside the pretrained model: its head, whatever it is called.

transformers names heads as it likes (``score``, ``classifier``, ``head``, ``pre_classifier``,
``sequence_summary`` and more). What they have in common is their place: beside the backbone, which
the class itself names. All of it is trained and stored.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model.labels import N_CLASSES
from ensemble_plugins.language_model.model.loading_errors import unbuildable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from transformers import PreTrainedConfig, PreTrainedModel

_PEFT = "base_model.model."
"""What PEFT puts before the names of a model's modules."""
_POOLER = "pooler"


def empty_classifier(config: PreTrainedConfig) -> PreTrainedModel:
    """Build a classifier without weights, to look at how it is made.

    Raises
    ------
    LearnerError
        The config does not make one; says why.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
                config, dtype=torch.float32
            )
    except Exception as error:
        raise unbuildable(config, error) from error
    return model


def find_backbone(model: PreTrainedModel) -> nn.Module:
    """Give the pretrained model below a classifier's head.

    Raises
    ------
    LearnerError
        The class keeps no such model under the name that it says.
    """
    backbone = getattr(model, model.base_model_prefix, None)
    if not isinstance(backbone, nn.Module):
        raise _unknown(model)
    return backbone


def find_head(model: PreTrainedModel, missing: Collection[str] = ()) -> tuple[str, ...]:
    """Name the modules of a classifier's head.

    Parameters
    ----------
    model
        The classifier.
    missing
        Names of the tensors that its checkpoint lacks. A pooler of the backbone is of the head
        where the checkpoint has nothing of it: models that were trained on masked words alone come
        without.

    Returns
    -------
    tuple of str
        Modules beside the backbone that have weights, and perhaps the pooler.

    Raises
    ------
    LearnerError
        There is none: the class keeps its head somewhere else.
    """
    backbone = find_backbone(model)
    head = [
        name
        for name, child in model.named_children()
        if child is not backbone and next(child.parameters(), None) is not None
    ]
    if not head:
        raise _unknown(model)
    pooler = getattr(backbone, _POOLER, None)
    if isinstance(pooler, nn.Module):
        name = f"{model.base_model_prefix}.{_POOLER}"
        needed = [f"{name}.{part}" for part, _ in pooler.named_parameters()]
        head += [name] if needed and set(needed) <= set(missing) else []
    return tuple(head)


def possible_head(config: PreTrainedConfig) -> list[str]:
    """Name the modules that may be of a classifier's head, whatever its checkpoint has of them.

    Raises
    ------
    LearnerError
        As in ``find_head``.
    """
    model = empty_classifier(config)
    return [*find_head(model), f"{model.base_model_prefix}.{_POOLER}"]


def find_outputs(config: PreTrainedConfig) -> frozenset[str]:
    """Name the parameters that have a row for each class: those whose shape changes with them.

    A size alone does not tell: a layer within the head may be as wide as there are classes.
    """
    shapes = []
    for classes in (N_CLASSES, N_CLASSES + 1):
        other = copy.deepcopy(config)
        other.num_labels = classes
        parameters = empty_classifier(other).named_parameters()
        shapes.append({name: parameter.shape for name, parameter in parameters})
    return frozenset(name for name, shape in shapes[0].items() if shapes[1].get(name) != shape)


def is_head(name: str, head: Iterable[str]) -> bool:
    """Say whether a parameter or a module is of the head, by its full name, PEFT's too."""
    plain = f"{name.removeprefix(_PEFT)}."
    return any(plain.startswith(f"{module}.") for module in head)


def saved_names(head: Iterable[str]) -> list[str]:
    """Name the head for PEFT, which takes every module whose name ends so: in full."""
    return [_PEFT + name for name in head]


def adapted_names(
    model: PreTrainedModel, head: Collection[str], modules: Collection[str]
) -> list[str]:
    """Name the layers that get adapters: never one of the head, which is trained itself.

    Parameters
    ----------
    model
        The classifier.
    head
        As ``find_head`` gives it.
    modules
        Names, or ends of names, of layers; ``all-linear`` for all linear ones.

    Raises
    ------
    LearnerError
        No layer is called so; says which linear layers there are.
    """
    linear = [name for name in _linear_names(model) if not is_head(name, head)]
    if tuple(modules) == ("all-linear",):
        wanted, named = linear, "linear"
    else:
        names = (name for name, _ in model.named_modules() if not is_head(name, head))
        wanted = [name for name in names if _ends_with(name, modules)]
        named = " or ".join(map(repr, modules))
    if not wanted:
        kinds = sorted({name.rpartition(".")[2] for name in linear})
        raise LearnerError(
            f"{type(model).__name__} has no {named} layer below its head that could take adapters",
            hint=f"set `modules` to some of {', '.join(kinds)}"
            if kinds
            else 'set tuning = "full", which needs no adapters',
        )
    return wanted


def _linear_names(model: nn.Module) -> list[str]:
    from transformers.pytorch_utils import Conv1D

    return [
        name
        for name, module in model.named_modules()
        # A router of experts may be a linear layer that gives a tuple.
        if isinstance(module, (nn.Linear, Conv1D)) and not type(module).__name__.endswith("Router")
    ]


def _ends_with(name: str, ends: Collection[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)


def _unknown(model: PreTrainedModel) -> LearnerError:
    return LearnerError(
        f"{type(model).__name__} keeps no head beside its backbone "
        f"({model.base_model_prefix!r}), so that it cannot be told what is to be trained",
        hint="use another architecture: see docs/language_models.md",
    )
