"""The last layer of a checkpoint's head: kept where its classes are those of battles, else new."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

from ensemble_plugins.language_model.model.base_weights import read_config
from ensemble_plugins.language_model.model.heads import is_head

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from torch import nn
    from transformers import PreTrainedModel

LABELS = ("model_a", "model_b", "tie")
"""What the classes are called in the config of a classifier of battles."""
N_CLASSES = len(LABELS)

_SPELLED = re.compile(
    r"(?:winner)?(?:model|response|assistant|answer)?(a|b|tie|draw)(?:is)?(?:wins?|better)?"
)
"""How others call them."""
_BETWEEN = re.compile(r"(?<=[a-z])[ _.-]+(?=[a-z])")
"""What is left out between their letters; anything else may turn what they mean around."""
_OF_KEPT = (
    "the model was trained to tell battles, and its head is kept: if any of yours, or their like, "
    "were among them, it knows what the folds hold out, and no score here tells (hint: give the "
    "model that it was trained from, unless you know that they were not)"
)
_TO_KEEP = (
    f" (hint: if these are the classes of battles, call them {', '.join(LABELS[:-1])} and "
    f"{LABELS[-1]} in id2label and label2id of its config.json, each by its number)"
)
_PLACES = {"a": 0, "b": 1, "tie": 2, "draw": 2}


def settle_outputs(
    model: PreTrainedModel, head: Collection[str], report: Mapping[str, Any], directory: Path
) -> str:
    """Put the outputs of a checkpoint's head in the order of the classes, or draw them anew.

    Parameters
    ----------
    model
        The classifier, as it was loaded.
    head
        Modules of its head.
    report
        What transformers says of its loading.
    directory
        Of the checkpoint.

    Returns
    -------
    str
        What a user is to be told of it before training; empty where there is nothing to tell.
    """
    config = read_config(directory)
    stored = _labels(config)
    misshapen = {key: shape for key, shape, _ in report["mismatched_keys"] if is_head(key, head)}
    outputs = dict(_outputs(model, head, new={*report["missing_keys"], *misshapen}))
    if not outputs and not misshapen:
        return ""
    if (order := None if misshapen or _apart(config) else _order(stored)) is None:
        _renew(model, outputs)
        return _of_new(next(iter(misshapen.values()), [N_CLASSES])[0], stored)
    for parameter in outputs.values():
        parameter.data = parameter.data[order].clone()
    return _OF_KEPT


def warn_of_head(caution: str, where: str) -> None:
    """Warn before training of what a checkpoint's head has learned.

    Parameters
    ----------
    caution
        As ``settle_outputs`` gives it.
    where
        The model, for the message.
    """
    if caution:
        warnings.warn(f"{where}: {caution}", stacklevel=2)


def _order(labels: Collection[str]) -> list[int] | None:
    """Say which output each class of battles has; None where labels are of something else."""
    plain = [_SPELLED.fullmatch(_BETWEEN.sub("", label.strip().lower())) for label in labels]
    places = [_PLACES[match[1]] for match in plain if match is not None]
    if sorted(places) != [*range(N_CLASSES)] or len(places) != len(labels):
        return None
    return [places.index(place) for place in range(N_CLASSES)]


def _labels(config: Mapping[str, Any]) -> list[str]:
    """Give labels in the order of their outputs; none where their numbers are not 0 and on.

    None as well where the config has another number for one of them in the other direction.
    """
    try:
        given, back = dict(config["id2label"]), dict(config.get("label2id") or {})
        named = {int(number): str(label) for number, label in given.items()}
        differing = [label for number, label in named.items() if back.get(label, number) != number]
    except (KeyError, TypeError, ValueError):
        return []
    if len(set(named.values())) == len(named) and differing:
        return []
    return [named[n] for n in range(len(given))] if sorted(named) == [*range(len(given))] else []


def _apart(config: Mapping[str, Any]) -> bool:
    """Say whether each output stands for itself: not one class of several."""
    return config.get("problem_type") not in (None, "single_label_classification")


def _of_new(outputs: int, labels: Collection[str]) -> str:
    named = f": {', '.join(labels)}" if len(labels) == outputs else ""
    given = "one number, as reward models do" if outputs == 1 else f"{outputs} classes{named}"
    told = f"the model was trained to give {given}; that layer of its head is new"
    return told + _TO_KEEP if outputs == N_CLASSES else told


def _outputs(
    model: PreTrainedModel, head: Collection[str], new: Collection[str]
) -> Iterator[tuple[str, nn.Parameter]]:
    """Give what the checkpoint has of the layer that gives a logit for each class."""
    for name, parameter in model.named_parameters():
        if name not in new and is_head(name, head) and len(parameter) == N_CLASSES:
            yield name, parameter


def _renew(model: PreTrainedModel, outputs: Mapping[str, nn.Parameter]) -> None:
    spread = getattr(model.config.get_text_config(), "initializer_range", 0.02)
    for parameter in outputs.values():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, spread)
        else:
            parameter.data.zero_()
