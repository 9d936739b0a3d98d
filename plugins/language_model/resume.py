"""Snapshots of training: weights, optimizer, schedule, random state and place, without pickle.

A snapshot is a directory that is written whole or not at all; the one before is replaced by it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ensemble.artifacts import atomic_directory, fingerprint, read_json, read_manifest, write_json
from ensemble.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

    from plugins.language_model.training import LabelledRows, Training

    Tensors = dict[str, torch.Tensor]

_STATE, _TENSORS = "state.json", "state.safetensors"


class Snapshots:
    """Saves and restores one training.

    Parameters
    ----------
    training
        The training.
    directory
        Where its snapshot is kept.
    """

    def __init__(self, training: Training, directory: Path) -> None:
        self.training = training
        self.directory = directory
        self.key = fingerprint(
            {
                "settings": asdict(training.settings),
                "model": asdict(training.classifier.settings),
                "seed": training.seed,
                "rows": _digest(training.rows),
            }
        )

    def save(self) -> None:
        """Write the state as it is between two steps."""
        training = self.training
        tensors = {f"weight/{n}": p.detach() for n, p in training.trained.items()}
        tensors |= {f"best/{n}": p for n, p in training.best_weights.items()}
        tensors |= _optimizer_tensors(training)
        tensors |= _random_state()
        state = {
            "progress": asdict(training.progress),
            "scheduler": training.scheduler.state_dict(),
            "scaler": training.scaler.state_dict(),
        }
        with atomic_directory(self.directory, {"key": self.key}) as place:
            save_file({n: t.contiguous().cpu() for n, t in tensors.items()}, place / _TENSORS)
            write_json(place / _STATE, state)

    def restore(self) -> bool:
        """Go on from the snapshot; False where there is none of this very training."""
        from plugins.language_model.training import Progress

        try:
            manifest = read_manifest(self.directory)
        except ArtifactError:
            return False
        if manifest.get("key") != self.key:
            return False
        state = read_json(self.directory / _STATE)
        tensors = load_file(self.directory / _TENSORS)
        training = self.training
        for name, parameter in training.trained.items():
            parameter.data.copy_(tensors[f"weight/{name}"])
        training.best_weights = _under("best/", tensors)
        _restore_optimizer(training, tensors)
        training.scheduler.load_state_dict(state["scheduler"])
        training.scaler.load_state_dict(state["scaler"])
        history = [tuple(item) for item in state["progress"].pop("history")]
        training.progress = Progress(**state["progress"], history=history)
        _restore_random_state(tensors)
        return True


def _digest(rows: LabelledRows) -> str:
    """Name the rows by content: tokens, labels, weights, teacher."""
    arrays: list[Any] = [rows.labels, rows.weight]
    arrays += [part for tokens in rows.orders for part in (tokens.ids, tokens.offsets)]
    arrays += [] if rows.teacher is None else [rows.teacher]
    return fingerprint([_hash(array) for array in arrays])


def _hash(array: np.ndarray[Any, Any]) -> str:
    from hashlib import sha256

    return sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _optimizer_tensors(training: Training) -> Tensors:
    return {
        f"optimizer/{kind}/{name}": value
        for name, parameter in training.trained.items()
        for kind, value in training.optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(training: Training, tensors: Tensors) -> None:
    kept = _under("optimizer/", tensors)
    for name, parameter in training.trained.items():
        state = {}
        for key, value in kept.items():
            kind, _, owner = key.partition("/")
            if owner == name:
                # Fused AdamW wants its step count beside the parameter, the plain one on the CPU.
                fused = training.classifier.device.type == "cuda"
                state[kind] = value if kind == "step" and not fused else value.to(parameter.device)
        if state:
            training.optimizer.state[parameter] = state


def _random_state() -> Tensors:
    states = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {
            f"random/cuda-{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())
        }
    return states


def _restore_random_state(tensors: Tensors) -> None:
    states = _under("random/", tensors)
    torch.set_rng_state(states.pop("cpu"))
    for name, state in states.items():
        device = int(name.removeprefix("cuda-"))
        if device < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, device)
