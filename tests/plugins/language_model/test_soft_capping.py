from __future__ import annotations

import importlib

import pytest

torch = pytest.importorskip("torch")
soft_capping = importlib.import_module("ensemble_plugins.language_model.model.soft_capping")


@pytest.mark.parametrize("softcap", [0.5, 3.0, 50.0])
def test_scores_are_capped_by_tanh(softcap: float) -> None:
    scores = torch.linspace(-200, 200, 4001, dtype=torch.float64)
    capped = soft_capping.capped(softcap)(scores, 0, 0, 0, 0)
    torch.testing.assert_close(capped, softcap * torch.tanh(scores / softcap))
    assert soft_capping.capped(None) is None


def test_gradients_are_those_of_tanh() -> None:
    scores = torch.linspace(-5, 5, 11, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_capping.capped(3.0)(x, 0, 0, 0, 0), scores)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_scores_may_be_mapped_over() -> None:
    scores = torch.randn(3, 4)
    mapped = torch.vmap(lambda x: soft_capping.capped(3.0)(x, 0, 0, 0, 0))(scores)
    torch.testing.assert_close(mapped, 3 * torch.tanh(scores / 3))
