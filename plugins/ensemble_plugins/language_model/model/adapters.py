"""Trained weights on disk, as PEFT and transformers write them, and verified when read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from ensemble.errors import ArtifactError
from ensemble.storage.json_files import read_json, write_json
from ensemble_plugins.language_model.model.base_weights import identity
from ensemble_plugins.language_model.model.lora import ADAPTER

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble_plugins.language_model.model.classifier import Classifier

    Tensors = dict[str, torch.Tensor]

WEIGHTS, BASE = "adapter_model.safetensors", "base.json"
"""PEFT's own name for adapters and head, and what they stand on."""


def trained_state(classifier: Classifier) -> Tensors:
    """Take what was trained out of a model, on the CPU: adapters and head, or everything."""
    if classifier.settings.tuning == "full":
        state = classifier.base.state_dict()
    else:
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(classifier.model, adapter_name=ADAPTER)
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def write_state(classifier: Classifier, state: Tensors, directory: Path) -> None:
    """Write trained weights; ``PeftModel.from_pretrained`` reads adapters.

    The base weights are not copied: ``base.json`` names them by id, revision and hash.
    """
    save_file({n: t.contiguous() for n, t in state.items()}, directory / WEIGHTS)
    if classifier.settings.tuning == "lora":
        classifier.model.peft_config[ADAPTER].save_pretrained(str(directory))  # type: ignore[index,union-attr]
    write_json(directory / BASE, classifier.identity or identity(classifier.settings))


def read_state(classifier: Classifier, directory: Path) -> None:
    """Put trained weights back; every one of them must be there, and no other.

    Raises
    ------
    ArtifactError
        The base weights are others than those that were trained on, or a tensor is missing, has
        another shape, or is unknown.
    """
    at_hand = classifier.identity or identity(classifier.settings)
    trained_on = read_json(directory / BASE)
    for what, key in (("base weights are", "sha256"), ("tokenizer is", "tokenizer_sha256")):
        if at_hand[key] != trained_on[key]:
            raise ArtifactError(
                f"the {what} not what was trained on: {at_hand}, not {trained_on}",
                where=str(directory),
                hint="put those files back, or say in `model` (and `revision`) where they are: the "
                "same bytes are taken wherever they lie",
            )
    put_state(classifier, load_file(directory / WEIGHTS), where=str(directory / WEIGHTS))


def put_state(classifier: Classifier, state: Tensors, *, where: str) -> None:
    """Put trained weights into a model; every one of them must be there, and no other.

    Raises
    ------
    ArtifactError
        A tensor is missing, has another shape, is unknown, or does not reach the model.
    """
    _compare(state, trained_state(classifier), where)
    if classifier.settings.tuning == "full":
        classifier.base.load_state_dict(state)
        return
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(classifier.model, state, adapter_name=ADAPTER)
    found = trained_state(classifier)
    lost = [name for name, tensor in state.items() if not torch.equal(found[name], tensor)]
    if lost:
        raise ArtifactError(
            f"{len(lost)} tensors did not reach the model: {', '.join(lost[:3])}", where=where
        )


def _compare(stored: Tensors, expected: Tensors, where: str) -> None:
    faults = [f"{name} is missing" for name in sorted(expected.keys() - stored.keys())]
    faults += [f"{name} is unknown" for name in sorted(stored.keys() - expected.keys())]
    faults += [
        f"{name} has shape {tuple(stored[name].shape)}, not {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & stored.keys())
        if stored[name].shape != expected[name].shape
    ]
    if faults:
        raise ArtifactError(
            f"{len(faults)} tensors of the trained model do not fit: {'; '.join(faults[:3])}",
            where=where,
            hint="delete this fit's directory, then run `ensemble run CONFIG`: it is fitted anew",
        )
