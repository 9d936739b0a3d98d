"""The last layer of a checkpoint's head: kept where its classes are those of battles, else new."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model.base_weights import read_config
from ensemble_plugins.language_model.model.heads import find_outputs, is_head
from ensemble_plugins.language_model.model.labels import LABELS, N_CLASSES, read_labels

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from torch import nn
    from transformers import PreTrainedModel

    from ensemble_plugins.language_model.model.labels import Labels

_SEEN = (
    "if any of yours, or their like, were among the battles that it learned from, it knows what "
    "the folds hold out, and no score here tells (hint: give the model that it was trained from, "
    "unless you know that they were not)"
)
_DROPPED = "the model was trained to tell battles, and its head is dropped after the first stage"
_TO_KEEP = (
    f" (hint: if these are the classes of battles, call them {', '.join(LABELS[:-1])} and "
    f"{LABELS[-1]} in id2label and label2id of its config.json, each by its number)"
)


class Caution(NamedTuple):
    """What a user is to know of a checkpoint's head.

    Parameters
    ----------
    text
        In words; empty where there is nothing to tell.
    learned_battles
        Whether its labels say that the model has been trained to tell battles before.
    is_kept
        Whether all of the head is the checkpoint's.
    """

    text: str = ""
    learned_battles: bool = False
    is_kept: bool = False


def settle_outputs(
    model: PreTrainedModel, head: Collection[str], report: Mapping[str, Any], directory: Path
) -> Caution:
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
    Caution
        What a user is to be told of it before training.

    Raises
    ------
    LearnerError
        None of the head's layers changes with the number of classes.
    """
    shapes = {key: shape for key, shape, _ in report["mismatched_keys"] if is_head(key, head)}
    missing = {key for key in report["missing_keys"] if is_head(key, head)}
    parts = {name: part for name, part in model.named_parameters() if is_head(name, head)}
    if not shapes and missing >= parts.keys():
        return Caution()
    outputs = {name: parts[name] for name in find_outputs(model.config) if name in parts}
    if not outputs:
        raise LearnerError(
            f"{type(model).__name__} has no layer whose size is the number of classes: nobody can "
            "tell which outputs of the checkpoint's head are which",
            where=str(directory),
            hint="give the model that it was trained from",
        )
    lost = shapes.keys() | missing
    if missing >= outputs.keys():
        return Caution(f"{_why_apart(lost)}, which is new") if shapes else Caution()
    wide = next((shapes[name][0] for name in sorted(outputs) if name in shapes), N_CLASSES)
    labels = read_labels(read_config(directory))
    why = labels.why_not or _why_apart(lost if wide == N_CLASSES else lost - outputs.keys())
    if wide == N_CLASSES and labels.order is not None and not why:
        for parameter in outputs.values():
            parameter.data = parameter.data[labels.order].clone()
        return Caution(_of_kept(labels), learned_battles=True, is_kept=True)
    _renew(model, [part for name, part in outputs.items() if name not in lost])
    return Caution(_of_new(wide, labels, why), labels.learned_battles)


def warn_of_head(caution: Caution, where: str) -> None:
    """Warn before training of what a checkpoint's head has learned.

    Parameters
    ----------
    caution
        As ``settle_outputs`` gives it.
    where
        The model, for the message.
    """
    if caution.text:
        warnings.warn(f"{where}: {caution.text}", stacklevel=2)


def drop_head(caution: Caution) -> Caution:
    """Say of a head that was kept, and is new now, that it was dropped."""
    if not caution.is_kept:
        return caution
    return Caution(f"{_DROPPED}: {_SEEN}", learned_battles=True)


def _why_apart(keys: Collection[str]) -> str:
    """Say which part of a head is not the checkpoint's; empty where all of it is."""
    return f"of its head the checkpoint has no {min(keys)} of this shape" if keys else ""


def _of_kept(labels: Labels) -> str:
    moved = labels.order != [*range(N_CLASSES)]
    order = f", its outputs ({', '.join(labels.names)}) in the order of the classes" * moved
    return f"the model was trained to tell battles, and its head is kept{order}: {_SEEN}"


def _of_new(outputs: int, labels: Labels, why: str) -> str:
    named = f": {', '.join(labels.names)}" if len(labels.names) == outputs else ""
    given = "one number, as reward models do" if outputs == 1 else f"{outputs} classes{named}"
    told = f"the model was trained to give {given}; that layer of its head is new"
    told += f", since {why}" if why else ""
    if labels.learned_battles:
        return f"{told}. Its labels are those of battles: {_SEEN}"
    return told + _TO_KEEP if outputs == N_CLASSES else told


def _renew(model: PreTrainedModel, outputs: Iterable[nn.Parameter]) -> None:
    spread = getattr(model.config.get_text_config(), "initializer_range", 0.02)
    for parameter in outputs:
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, spread)
        else:
            parameter.data.zero_()
