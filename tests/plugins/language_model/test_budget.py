"""How many tokens are computed at once where nobody says."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
memory = importlib.import_module("ensemble_plugins.language_model.train.memory")
settings = importlib.import_module("ensemble_plugins.language_model.settings")

GIB = 2**30


def decoder(layers: int, sizes: list[tuple[int, int]], *, adapted: bool = False) -> Any:
    """Make a decoder without numbers; with adapters their layers are linear ones as well."""
    with torch.device("meta"):
        made = [
            torch.nn.ModuleDict(
                {f"part{i}": torch.nn.Linear(*size) for i, size in enumerate(sizes)}
            )
            for _ in range(layers)
        ]
        if adapted:
            for layer in made:
                layer["adapter"] = torch.nn.ModuleDict({"lora_B": torch.nn.Linear(16, 4096)})
    return torch.nn.ModuleDict({"layers": torch.nn.ModuleList(made)}).requires_grad_(False)


def with_layers(made: Any) -> Any:
    made.layers = made["layers"]
    return made


GEMMA_2_9B = [(3584, 4096), (3584, 2048), (3584, 2048), (4096, 3584)]
GEMMA_2_9B += [(3584, 14336), (3584, 14336), (14336, 3584)]
LLAMA_3_8B = [(4096, 4096), (4096, 1024), (4096, 1024), (4096, 4096)]
LLAMA_3_8B += [(4096, 14336), (4096, 14336), (14336, 4096)]


@pytest.mark.parametrize(
    ("layers", "sizes", "measured"), [(42, GEMMA_2_9B, 47.9), (32, LLAMA_3_8B, 33.8)]
)
def test_what_was_measured_of_large_models_fits_and_little_less_does_not(
    layers: int, sizes: list[tuple[int, int]], measured: float
) -> None:
    backbone = with_layers(decoder(layers, sizes))
    room = measured * GIB / memory._USABLE
    assert memory.fitting_tokens(backbone, int(1.12 * room), checkpointed=False) == memory.TILES
    assert memory.fitting_tokens(backbone, int(0.9 * room), checkpointed=False) < memory.TILES


def test_adapters_are_not_counted() -> None:
    plain, adapted = (with_layers(decoder(2, LLAMA_3_8B, adapted=a)) for a in (False, True))
    found = [memory.fitting_tokens(each, 40 * GIB, checkpointed=False) for each in (plain, adapted)]
    assert found[0] == found[1] > memory.TILES


def test_checkpoints_leave_room_for_more() -> None:
    backbone = with_layers(decoder(42, GEMMA_2_9B))
    few, many = (memory.fitting_tokens(backbone, 60 * GIB, checkpointed=c) for c in (False, True))
    assert many > 8 * few
    assert few % memory.TILES == many % memory.TILES == 0


@pytest.mark.parametrize("free", [-GIB, 0, GIB, 7 * GIB])
def test_without_room_the_least_is_tried(free: int) -> None:
    found = memory.fitting_tokens(with_layers(decoder(42, GEMMA_2_9B)), free, checkpointed=False)
    assert 128 <= found < memory.TILES
    assert found % 128 == 0


@pytest.mark.parametrize("checkpointed", [False, True])
def test_sums_of_weights_and_adapters_are_counted(
    checkpointed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _device: 40 * GIB)
    backbone = with_layers(decoder(32, LLAMA_3_8B))
    model = torch.nn.Linear(10, 10)
    room = []
    for kept in (0, 20 * GIB):
        classifier = SimpleNamespace(
            device=torch.device("cuda"),
            packed=True,
            model=model,
            backbone=backbone,
            merged_bytes=kept,
        )
        chosen = settings.TrainingSettings(activation_checkpointing=checkpointed)
        room.append(memory.token_budget(classifier, chosen))
    assert (room[0] == room[1]) is checkpointed
    assert room[1] <= room[0]


@pytest.mark.parametrize(("device", "packed"), [("cpu", True), ("cuda", False)])
def test_a_budget_is_estimated_for_packs_on_a_gpu_alone(device: str, packed: bool) -> None:
    classifier = SimpleNamespace(device=torch.device(device), packed=packed)
    assert memory.token_budget(classifier, settings.TrainingSettings()) == memory.TILES
    assert memory.token_budget(classifier, settings.TrainingSettings(token_budget=77)) == 77
