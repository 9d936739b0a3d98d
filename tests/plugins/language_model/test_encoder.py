from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import nn


torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
encoder = importlib.import_module("ensemble_plugins.language_model.model.encoder")
tiny_models = importlib.import_module("tests.plugins.language_model.tiny_models")

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

VARIANTS: dict[str, dict[str, Any]] = {
    "v3": {},
    "own projections": {"share_att_key": False},
    "content to position": {"pos_att_type": ["c2p"]},
    "position to content": {"pos_att_type": ["p2c"]},
    "a bucket for each distance": {"position_buckets": -1, "max_relative_positions": 20},
    "a kind that nobody computes": {"pos_att_type": ["c2p", "p2c", "p2p"]},
}


def make_model(variant: str) -> Any:
    torch.manual_seed(0)
    config = tiny_models.configs("deberta", 100)
    options = {"position_buckets": 8, "max_position_embeddings": 32} | VARIANTS[variant]
    options |= {"attention_probs_dropout_prob": 0.2, "hidden_dropout_prob": 0.2}
    for name, value in options.items():
        setattr(config, name, value)
    model = transformers.DebertaV2Model(config).double().eval()
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.3)
    return model


def states_and_gradients(model: nn.Module, length: int) -> dict[str, Any]:
    torch.manual_seed(1)
    ids = torch.randint(1, 100, (3, length))
    attended = torch.ones_like(ids)
    attended[0, length // 2 + 1 :] = 0
    model.zero_grad()
    states = model(input_ids=ids, attention_mask=attended).last_hidden_state
    states = states * attended[:, :, None]  # nobody reads what padding is turned into
    (states * torch.randn(states.shape, dtype=states.dtype)).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return found | {"states": states.detach()}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("length", [1, 2, 7, 70])  # 70: longer than the farthest bucket
def test_distances_are_worth_what_transformers_says(
    variant: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(variant)
    wanted = states_and_gradients(model, length)
    calls: list[int] = []
    by_diagonals = encoder._by_diagonals

    def count(*args: Any) -> Any:
        calls.append(1)
        return by_diagonals(*args)

    monkeypatch.setattr(encoder, "_by_diagonals", count)
    assert encoder.patch_forward(model) == model.config.num_hidden_layers
    found = states_and_gradients(model, length)
    kinds = set(model.config.pos_att_type) & {"c2p", "p2c"}
    assert len(calls) == model.config.num_hidden_layers * len(kinds)
    assert found.keys() == wanted.keys()
    assert "encoder.rel_embeddings.weight" in wanted
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


def test_dropout_is_that_of_transformers() -> None:
    model = make_model("v3").train()
    wanted = states_and_gradients(model, 20)
    assert encoder.patch_forward(model)
    found = states_and_gradients(model, 20)  # the seed is set anew: the same draws
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    model.eval()
    assert not torch.allclose(states_and_gradients(model, 20)["states"], wanted["states"])


def test_padding_may_come_first() -> None:
    model = make_model("v3")
    ids = torch.randint(1, 100, (2, 9))
    attended = torch.ones_like(ids)
    attended[0, :4] = 0
    wanted = model(input_ids=ids, attention_mask=attended).last_hidden_state
    encoder.patch_forward(model)
    found = model(input_ids=ids, attention_mask=attended).last_hidden_state
    torch.testing.assert_close(found[attended == 1], wanted[attended == 1], rtol=1e-5, atol=1e-6)


def test_other_encoders_are_left_alone() -> None:
    assert encoder.patch_forward(transformers.BertModel(tiny_models.configs("bert", 100))) == 0
