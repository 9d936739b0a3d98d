"""Snapshots of training: weights, optimizer, schedule and place, without pickle.

Each snapshot is a directory that is written whole or not at all, beside the one before, which is
removed after that: whenever training is killed, one of them is there.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ensemble.errors import ArtifactError
from ensemble.storage.atomic import remove
from ensemble.storage.directories import atomic_directory, read_manifest
from ensemble.storage.hashing import fingerprint
from ensemble.storage.json_files import read_json, write_json
from ensemble_plugins.language_model.model.base_weights import identity
from ensemble_plugins.language_model.train.state import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble_plugins.language_model.train.rows import LabeledRows
    from ensemble_plugins.language_model.train.state import TrainingState

    Tensors = dict[str, torch.Tensor]

_STATE, _TENSORS = "state.json", "state.safetensors"


class Snapshots:
    """Saves and restores one training.

    Parameters
    ----------
    training
        The training, before its first step.
    directory
        Where its snapshots are kept; nothing else may be there.

    Attributes
    ----------
    key : str
        Names the training by all that its end depends on: settings, base weights, the trained
        weights that it starts from, seed and rows. A snapshot of another one is never resumed.
    """

    def __init__(self, training: TrainingState, directory: Path) -> None:
        self.training = training
        self.directory = directory
        self.key = fingerprint(
            {
                "settings": asdict(training.settings),
                "model": asdict(training.classifier.settings),
                "base": identity(training.classifier.settings)["sha256"],
                "start": {name: _hash(each) for name, each in training.trained.items()},
                "seed": training.seed,
                "rows": _digest(training.rows),
                "stop_rows": training.stop_rows and _digest(training.stop_rows),
            }
        )

    def save(self) -> None:
        """Write the state as it is between two steps."""
        training = self.training
        tensors = {f"weight/{n}": p.detach() for n, p in training.trained.items()}
        tensors |= {f"best/{n}": p for n, p in training.best_weights.items()}
        tensors |= _optimizer_tensors(training)
        state = {
            "progress": asdict(training.progress),
            "scheduler": training.scheduler.state_dict(),
            "scaler": training.scaler.state_dict(),
            "token_budget": training.token_budget,
        }
        written = self.directory / f"step-{training.progress.step:08d}"
        with atomic_directory(written, {"key": self.key}) as place:
            save_file({n: t.contiguous().cpu() for n, t in tensors.items()}, place / _TENSORS)
            write_json(place / _STATE, state)
        for path in self.directory.iterdir():  # older ones, and what a kill left half-written
            if path != written:
                remove(path)

    def restore(self) -> bool:
        """Go on from the snapshot; False where there is none of this very training."""
        for place in sorted(self.directory.glob("step-*"), reverse=True):
            if self._is_ours(place):
                _restore(self.training, read_json(place / _STATE), load_file(place / _TENSORS))
                return True
        return False

    def _is_ours(self, place: Path) -> bool:
        """Say whether a snapshot is whole, and of this training."""
        try:
            return read_manifest(place).get("key") == self.key
        except ArtifactError:
            return False


def _restore(training: TrainingState, state: dict[str, Any], tensors: Tensors) -> None:
    for name, parameter in training.trained.items():
        parameter.data.copy_(tensors[f"weight/{name}"])
    training.best_weights = _under("best/", tensors)
    _restore_optimizer(training, tensors)
    _restore_scheduler(training, state["scheduler"])
    training.scaler.load_state_dict(state["scaler"])
    training.token_budget = state["token_budget"]
    history = [(step, loss) for step, loss in state["progress"].pop("history")]
    training.progress = Progress(**state["progress"], history=history)


def _digest(rows: LabeledRows) -> str:
    """Name the rows by content: tokens, labels, weights, teacher, offset."""
    arrays: list[Any] = [rows.labels, rows.weight, rows.teacher, rows.offset]
    arrays += [part for tokens in rows.orders for part in (tokens.ids, tokens.offsets)]
    return fingerprint([None if array is None else _hash(array) for array in arrays])


def _hash(values: np.ndarray[Any, Any] | torch.Tensor) -> str:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _optimizer_tensors(training: TrainingState) -> Tensors:
    return {
        f"optimizer/{kind}/{name}": value
        for name, parameter in training.trained.items()
        for kind, value in training.optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(training: TrainingState, tensors: Tensors) -> None:
    # Fused AdamW wants its step count beside the parameter, the plain one on the CPU.
    fused = training.classifier.device.type == "cuda"
    for key, value in _under("optimizer/", tensors).items():
        kind, _, name = key.partition("/")
        parameter = training.trained[name]
        beside = kind != "step" or fused
        state = training.optimizer.state[parameter]
        state[kind] = value.to(parameter.device) if beside else value


def _restore_scheduler(training: TrainingState, state: dict[str, Any]) -> None:
    training.scheduler.load_state_dict(state)
    # The rates of the next step are kept by the optimizer, and a scheduler does not put them there.
    rates = training.scheduler.get_last_lr()
    for group, rate in zip(training.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
