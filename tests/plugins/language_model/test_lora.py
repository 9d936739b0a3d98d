from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
lora = importlib.import_module("ensemble_plugins.language_model.model.lora")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")

INPUTS, HIDDEN, RANK = 24, 16, 4


def branches(bias: bool) -> Any:
    """Make three layers that take one input, of different sizes."""
    sizes = {"first": HIDDEN, "second": 8, "third": HIDDEN}
    return torch.nn.ModuleDict(
        {name: torch.nn.Linear(INPUTS, outputs, bias=bias) for name, outputs in sizes.items()}
    )


def make_model(*, bias: bool = False, dtype: Any = None, **options: Any) -> Any:
    """Give layers with adapters that have moved, as the engine keeps them: float32 on frozen."""
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=RANK, lora_alpha=8, target_modules=["first", "second", "third"], **options
    )
    model = peft.get_peft_model(branches(bias), config, adapter_name=lora.ADAPTER)
    model.to(dtype or torch.float32)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape) * 0.3
    return model


def layers_of(model: nn.Module, names: list[str]) -> list[Any]:
    return [model.get_submodule(f"base_model.model.{name}") for name in names]


def adapters_of(layers: list[Any]) -> list[Any]:
    kinds = ("lora_A", "lora_B")
    return [getattr(layer, kind)[lora.ADAPTER].weight for layer in layers for kind in kinds]


def gradients(outs: list[Any], x: Tensor, layers: list[Any]) -> list[Any]:
    """Give the gradients of x, and of A and B of every layer, for one drawn upstream gradient."""
    torch.manual_seed(1)
    loss = sum((out * torch.randn(out.shape, dtype=out.dtype)).sum() for out in outs)
    return list(torch.autograd.grad(loss, [x, *adapters_of(layers)]))


def relative(found: Any, wanted: Any) -> float:
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("names", [["first"], ["first", "third"], ["first", "second", "third"]])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 1.5e-2)])
def test_project_is_pefts_forward(
    names: list[str], bias: bool, dtype: str, tolerance: float
) -> None:
    model = make_model(bias=bias, dtype=getattr(torch, dtype))
    layers = layers_of(model, names)
    x = torch.randn(2, 7, INPUTS).to(getattr(torch, dtype)).requires_grad_()
    wanted = [type(layer).forward(layer, x) for layer in layers]
    found = lora.project(x, layers)
    for out, reference in zip(found, wanted, strict=True):
        assert (out.shape, out.dtype) == (reference.shape, reference.dtype)
        assert relative(out, reference) < tolerance
    pairs = zip(gradients(found, x, layers), gradients(wanted, x, layers), strict=True)
    for gradient, reference in pairs:
        assert (gradient.shape, gradient.dtype) == (reference.shape, reference.dtype)
        assert relative(gradient, reference) < tolerance


def test_gradients_are_those_of_finite_differences() -> None:
    model = make_model().double()
    layers = layers_of(model, ["first", "second"])
    inputs = (torch.randn(3, INPUTS, dtype=torch.float64, requires_grad=True), *adapters_of(layers))
    assert torch.autograd.gradcheck(lambda x, *_: tuple(lora.project(x, layers)), inputs)


def test_the_operator_keeps_to_its_schema() -> None:
    x, weight = torch.randn(5, INPUTS, requires_grad=True), torch.randn(HIDDEN, INPUTS)
    a = torch.randn(RANK, INPUTS, requires_grad=True)
    b = torch.randn(HIDDEN, RANK, requires_grad=True)
    torch.library.opcheck(lora._adapted, (x, [weight], a, [b]))


def test_fused_layers_give_what_they_gave() -> None:
    model = make_model(bias=True)
    x = torch.randn(6, INPUTS, requires_grad=True)
    layers = layers_of(model, ["first", "second", "third"])
    before = [layer(x) for layer in layers]
    wanted = gradients(before, x, layers)
    lora.fuse_adapters(model)
    assert all(vars(layer)["forward"].__func__ is lora._forward for layer in layers)
    after = [layer(x) for layer in layers]
    for out, reference in zip(after, before, strict=True):
        torch.testing.assert_close(out, reference, rtol=1e-5, atol=1e-5)
    for gradient, reference in zip(gradients(after, x, layers), wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}]
)
def test_other_kinds_of_adapters_keep_pefts_forward(options: dict[str, Any]) -> None:
    model = make_model(bias=True, **options)
    lora.fuse_adapters(model)
    (layer,) = layers_of(model, ["first"])
    assert not lora.is_plain_adapter(layer)
    assert "forward" not in vars(layer)
    x = torch.randn(6, INPUTS)
    model.train()
    torch.manual_seed(2)
    (found,) = lora.project(x, [layer])
    torch.manual_seed(2)
    torch.testing.assert_close(found, type(layer).forward(layer, x), rtol=0, atol=0)


def test_dropout_is_at_work_in_training() -> None:
    model = make_model(lora_dropout=0.5).train()
    lora.fuse_adapters(model)
    (layer,) = layers_of(model, ["first"])
    x = torch.randn(6, INPUTS)
    assert relative(layer(x), layer(x)) > 1e-3
    model.eval()
    torch.testing.assert_close(layer(x), layer(x), rtol=0, atol=0)


def test_layers_of_which_one_is_not_plain_are_computed_one_by_one() -> None:
    layers = layers_of(make_model(bias=True), ["first"])
    plain = torch.nn.Linear(INPUTS, 3)
    x = torch.randn(2, 6, INPUTS)
    found = lora.project(x, [layers[0], plain])
    torch.testing.assert_close(found[0], layers[0](x), rtol=0, atol=0)
    torch.testing.assert_close(found[1], plain(x), rtol=0, atol=0)


@pytest.mark.parametrize("family", ["gemma2", "llama3", "qwen2"])
def test_merged_models_give_the_same_logits(family: str, tmp_path: Path) -> None:
    inference = importlib.import_module("ensemble_plugins.language_model.model.inference")
    settings = importlib.import_module("ensemble_plugins.language_model.settings")
    classifier = tiny.classifier(family, tmp_path, moved=0.3)
    tokens = tiny.random_tokens([5, 40, 1, 17])
    before = inference.compute_logits(classifier, tokens, 64)
    classifier.prepare(settings.PredictionSettings(), merge=True)
    assert not any("lora_" in name for name, _ in classifier.model.named_parameters())
    after = inference.compute_logits(classifier, tokens, 64)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)

    without = tiny.classifier(family, tmp_path, moved=0.0)
    assert np.abs(inference.compute_logits(without, tokens, 64) - before).max() > 1e-2
