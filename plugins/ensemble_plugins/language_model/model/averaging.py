"""The exact mean of trained models: what they add to the base weights, averaged.

An adapter adds ``s B A`` to a layer's weights. The mean of n of these is not the product of the
means of B and A, but a single adapter of n times the rank: the A one below the other, the B side by
side and divided by n. What is trained without adapters (a head; everything, with full tuning) is
averaged as it is.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from ensemble.errors import ArtifactError, LearnerError
from ensemble.storage.json_files import read_json
from ensemble_plugins.language_model.model.adapters import BASE, WEIGHTS
from ensemble_plugins.language_model.model.base_weights import ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_STACKED = {"lora_A": 0, "lora_B": 1, "lora_embedding_A": 0, "lora_embedding_B": 1}
"""Where the parts of an adapter have its rank."""
_DIVIDED = {"lora_B", "lora_embedding_B"}
_FACTS_ALIKE = ("merged", "precision", "template", "privileged")


def average_states(directories: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Average what models have trained: adapters of n times the rank, means of all else.

    Parameters
    ----------
    directories
        As ``adapters.write_state`` fills them; one tensor of each is in memory at a time.

    Raises
    ------
    ArtifactError
        They stand on other base weights than the first, or hold other tensors, or such of other
        shapes.
    LearnerError
        A tensor is of an adapter that nobody here knows to average; or adapters count otherwise
        than those of the first.
    """
    _check_bases(directories)
    _check_scales(directories)
    with ExitStack() as stack:
        files = [
            stack.enter_context(safe_open(directory / WEIGHTS, framework="pt"))
            for directory in directories
        ]
        names = [sorted(file.keys()) for file in files]
        for own, directory in zip(names, directories, strict=True):
            if own != names[0]:
                raise ArtifactError("the models have other tensors", where=str(directory))
        for file, directory in zip(files, directories, strict=True):
            _check_shapes(file, files[0], directory)
        return {
            name: _average(name, [file.get_tensor(name) for file in files]) for name in names[0]
        }


def _check_shapes(file: Any, first: Any, directory: Path) -> None:
    for name in sorted(file.keys()):
        shape, other = (one.get_slice(name).get_shape() for one in (file, first))
        if shape != other:
            raise ArtifactError(
                f"{name} has shape {tuple(shape)}, not {tuple(other)} as in the first model",
                where=str(directory),
                hint="fit all folds with the same settings",
            )


def _average(name: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    part = _part(name)
    if part is None:
        return _mean(name, tensors)
    stacked = torch.cat(list(tensors), dim=_STACKED[part])
    return stacked / len(tensors) if part in _DIVIDED else stacked


def _part(name: str) -> str | None:
    """Say which part of an adapter a tensor is; None of none."""
    parts = [part for part in name.split(".") if part.startswith("lora_")]
    if not parts:
        return None
    if len(parts) > 1 or parts[0] not in _STACKED:
        raise LearnerError(
            f"the mean of adapters with a {parts[0]} is no adapter",
            hint='set models = "folds" or "refit"',
        )
    return parts[0]


def _mean(name: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    first = tensors[0]
    if first.is_floating_point():
        total = torch.stack([tensor.double() for tensor in tensors]).mean(dim=0)
        return total.to(first.dtype)
    if not all(torch.equal(first, tensor) for tensor in tensors):
        raise LearnerError(f"{name} is no number that has a mean, and differs between the models")
    return first.clone()


def _check_bases(directories: Sequence[Path]) -> None:
    hashes = ("sha256", "tokenizer_sha256")
    bases = [read_json(directory / BASE) for directory in directories]
    for base, directory in zip(bases, directories, strict=True):
        if any(base[name] != bases[0][name] for name in hashes):
            raise ArtifactError(
                f"the models stand on other base weights: {base}, and {bases[0]}",
                where=str(directory),
                hint="fit all folds on the same files",
            )


def _check_scales(directories: Sequence[Path]) -> None:
    """Refuse adapters of another ``s`` than the first: their weights alone do not tell it."""
    scales = [_scale(directory) for directory in directories]
    for scale, directory in zip(scales, directories, strict=True):
        if scale != scales[0]:
            raise LearnerError(
                f"adapters that count {scale} times cannot be averaged with those that count "
                f"{scales[0]} times",
                where=str(directory),
                hint="fit all folds with the same rank and alpha",
            )


def _scale(directory: Path) -> float | None:
    """Give alpha over rank, which ``LoraConfig`` stores; None without adapters."""
    path = directory / ADAPTERS
    if not path.exists():
        return None
    stored = read_json(path)
    return float(stored["lora_alpha"]) / float(stored["r"])


def common_facts(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give what models have in common, and ``averaged``: how many they are the mean of.

    Raises
    ------
    LearnerError
        They were trained for other prompts, or are made ready for prediction in other ways.
    """
    first = facts[0]
    alike = {k: v for k, v in first.items() if all(one.get(k) == v for one in facts)}
    for name in _FACTS_ALIKE:
        if name not in alike:
            raise LearnerError(
                f"models of another {name} cannot be averaged",
                hint='fit all folds with the same versions, or set models = "folds"',
            )
    return alike | {"averaged": sum(one.get("averaged", 1) for one in facts)}
