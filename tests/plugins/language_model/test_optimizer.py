from __future__ import annotations

import importlib
import math
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch

from ensemble_plugins.language_model.model.gradients import add_gradients
from ensemble_plugins.language_model.train.optimizer import make_optimizer, make_scheduler

tiny = importlib.import_module("tests.plugins.language_model.tiny_training")

CPU = torch.device("cpu")
HEAD = ("classifier", "pooler")


def _parameters() -> dict[str, torch.nn.Parameter]:
    shapes = {
        "model.layers.0.mlp.up_proj.lora_A.default.weight": (4, 8),
        "model.layers.0.input_layernorm.weight": (8,),
        "model.score_norm.weight": (8, 8),
        "classifier.modules_to_save.default.weight": (3, 8),
        "classifier.modules_to_save.default.bias": (3,),
        "pooler.dense.weight": (8, 8),
    }
    return {name: torch.nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}


def _moves(**changes: Any) -> dict[str, float]:
    """Step with equal gradients everywhere: AdamW's first step is its rate, and the decay."""
    trained = _parameters()
    chosen = tiny.settings(learning_rate=0.01, head_learning_rate=0.002, **changes)
    optimizer = make_optimizer(trained, HEAD, chosen, CPU)
    for parameter in trained.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {name: 1.0 - float(each.detach().mean()) for name, each in trained.items()}


def test_head_and_backbone_move_at_their_own_rates() -> None:
    moves = list(_moves(weight_decay=0.0).values())
    assert moves == pytest.approx([0.01, 0.01, 0.01, 0.002, 0.002, 0.002], rel=1e-3)


def test_matrices_decay_and_vectors_do_not() -> None:
    moves = list(_moves(weight_decay=0.5).values())
    decayed = [0.015, 0.01, 0.015, 0.003, 0.002, 0.003]
    assert moves == pytest.approx(decayed, rel=1e-3)


def test_no_parameter_is_left_out() -> None:
    trained = _parameters()
    optimizer = make_optimizer(trained, HEAD, tiny.settings(), CPU)
    kept = [each for group in optimizer.param_groups for each in group["params"]]
    assert sorted(map(id, kept)) == sorted(map(id, trained.values()))


def _shares(steps: int, **changes: Any) -> list[float]:
    chosen = tiny.settings(learning_rate=0.5, head_learning_rate=0.25, **changes)
    optimizer = make_optimizer(_parameters(), HEAD, chosen, CPU)
    scheduler = make_scheduler(optimizer, chosen, steps)
    found = []
    for _ in range(steps):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([rates[0], rates[0], rates[0] / 2, rates[0] / 2])
        found.append(rates[0] / 0.5)
        optimizer.step()
        scheduler.step()
    return found


FALL = [1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("constant", [0.0, 0.5, *[1.0] * 6]),
        ("linear", [0.0, 0.5, *FALL]),
        ("cosine", [0.0, 0.5, *(0.5 * (1 + math.cos(math.pi * (1 - x))) for x in FALL)]),
    ],
)
def test_the_rate_rises_and_falls_as_the_schedule_says(schedule: str, wanted: list[float]) -> None:
    assert _shares(8, schedule=schedule, warmup_ratio=0.25) == pytest.approx(wanted)


def test_without_warmup_the_first_step_has_the_whole_rate() -> None:
    assert _shares(3, schedule="constant", warmup_ratio=0.0) == [1.0, 1.0, 1.0]
    assert _shares(4, schedule="linear", warmup_ratio=0.0) == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_gradients_add_up_as_backward_adds_them() -> None:
    used, other, unused = (torch.nn.Parameter(torch.randn(4)) for _ in range(3))
    ((used * other).sum() + (used**2).sum()).backward()
    wanted = [used.grad, other.grad]
    used.grad = other.grad = None
    add_gradients((used * other).sum(), [used, other, unused])
    add_gradients((used**2).sum(), [used, other, unused])
    for parameter, gradient in zip((used, other), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert unused.grad is None  # nothing decays that no loss depends on
