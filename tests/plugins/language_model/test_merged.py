"""Adapters added to the weights of small layers: the same training as by products of rank r."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
loading = importlib.import_module("ensemble_plugins.language_model.model.loading")
lora = importlib.import_module("ensemble_plugins.language_model.model.lora")
merged = importlib.import_module("ensemble_plugins.language_model.model.merged")
settings = importlib.import_module("ensemble_plugins.language_model.settings")
families = importlib.import_module("tests.plugins.language_model.tiny_families")
models = importlib.import_module("tests.plugins.language_model.tiny_models")
tiny = importlib.import_module("tests.plugins.language_model.tiny_training")
training = importlib.import_module("ensemble_plugins.language_model.train.training")


@pytest.fixture(autouse=True)
def _on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merged, "DEVICE", "cpu")


@pytest.fixture(scope="module", params=["llama", "gemma3", "qwen2", "phi3", "olmo2"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a decoder: of the layers that the engine computes, or of others."""
    directory: Path = families.save(request.param, tmp_path_factory.mktemp("checkpoint"))
    return directory


def load(directory: Path, monkeypatch: pytest.MonkeyPatch, largest: int, **options: Any) -> Any:
    """Load a model whose adapters have moved; with ``largest`` 0 by products of rank r."""
    with monkeypatch.context() as patch:
        patch.setattr(merged, "LARGEST", largest)
        made = tiny.load(directory, **options)
    torch.manual_seed(5)
    for name, parameter in made.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0.0, 0.1)
    return made


def one_step(made: Any) -> Any:
    return training.Training(made, tiny.labeled_rows(), tiny.settings(), seed=1)


def both_gradients(directory: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Any]:
    """Give the gradients of one step by sums, and by products apart."""
    found = []
    for largest in (merged.LARGEST, 0):
        made = load(directory, monkeypatch, largest, **options)
        made.model.train()
        found.append(tiny.gradients(one_step(made), [np.arange(8), np.arange(8, 18)]))
    return found


def adapted(made: Any) -> list[Any]:
    return [module for module, _ in lora.plain_adapters(made.model)]


def test_gradients_are_those_of_the_products_apart(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, wanted = both_gradients(saved, monkeypatch)
    assert found.keys() == wanted.keys()
    assert any("lora_A" in name for name in found)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-5)


def test_training_ends_in_the_same_weights(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, wanted = (load(saved, monkeypatch, largest) for largest in (merged.LARGEST, 0))
    for made in (found, wanted):
        one_step(made).run()
    after = tiny.weights(wanted)
    for name, weights in tiny.weights(found).items():
        torch.testing.assert_close(weights, after[name], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("modules", [("q_proj", "v_proj"), ("o_proj",), ("gate_proj", "k_proj")])
def test_some_layers_alone_have_adapters(
    modules: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = families.save("llama", tmp_path)
    found, wanted = both_gradients(directory, monkeypatch, modules=modules)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-5)


def test_a_sum_is_the_weight_that_merging_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load(families.save("llama", tmp_path), monkeypatch, merged.LARGEST)
    with made._merged.added():
        for module in adapted(made):
            base = module.get_base_layer().weight
            wanted = base + module.get_delta_weight(lora.ADAPTER)
            torch.testing.assert_close(merged.merged_weight(module), wanted, rtol=1e-5, atol=1e-6)
            assert merged.merged_weight(module).requires_grad


def test_sums_are_there_for_a_pass_of_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load(families.save("llama", tmp_path), monkeypatch, merged.LARGEST)
    seen = []
    layer, first = made.backbone.layers[0], adapted(made)[0]
    layer.register_forward_pre_hook(lambda *_: seen.append(merged.merged_weight(first) is not None))
    batch = made.batch(models.random_tokens([5, 9]), np.arange(2))
    made.model.eval()
    made.logits(batch)
    made.model.train()
    made.logits(batch)
    assert seen == [False, True]
    assert all(merged.merged_weight(module) is None for module in adapted(made))
    layer.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.logits(batch)
    assert all(merged.merged_weight(module) is None for module in adapted(made))


def test_a_model_with_a_large_layer_or_too_many_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = families.save("llama", tmp_path)
    sizes = [base.weight.numel() for _, base in lora.plain_adapters(tiny.load(directory).model)]
    made = load(directory, monkeypatch, max(sizes))
    assert made._merged.layers
    assert made.merged_bytes == 4 * sum(4 * size for size in sizes)  # of float32
    made = load(directory, monkeypatch, max(sizes) - 1)
    assert not made._merged.layers
    assert made.merged_bytes == 0
    monkeypatch.setattr(merged, "MOST", sum(sizes))
    assert load(directory, monkeypatch, max(sizes))._merged.layers
    monkeypatch.setattr(merged, "MOST", sum(sizes) - 1)
    assert not load(directory, monkeypatch, max(sizes))._merged.layers


def test_a_cpu_is_faster_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = families.save("llama", tmp_path)
    monkeypatch.undo()
    assert not tiny.load(directory)._merged.layers


@pytest.mark.parametrize("options", [{"tuning": "full"}, {"dropout": 0.1}])
def test_what_has_no_plain_adapters_has_none(options: dict[str, Any], tmp_path: Path) -> None:
    assert not tiny.load(families.save("llama", tmp_path), **options)._merged.layers


def test_checkpointed_activations_are_computed_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load(families.save("llama", tmp_path), monkeypatch, merged.LARGEST)
    before = tiny.weights(made)
    chosen = tiny.settings(activation_checkpointing=True)
    training.Training(made, tiny.labeled_rows(), chosen, seed=1).run()
    assert not tiny.same(before, tiny.weights(made))


@pytest.mark.parametrize("moved", [3e-4, 1e-2, 0.1])
def test_rounded_sums_cost_about_one_rounding_more_than_products(moved: float) -> None:
    """bfloat16 beside float32: outputs and gradients of adapters that have moved little, or far."""
    torch.manual_seed(0)
    weight = (torch.randn(96, 64) / 8).bfloat16()
    a, b = torch.randn(8, 64) / 8, torch.randn(96, 8) * moved
    x, upstream = torch.randn(512, 64).bfloat16(), torch.randn(512, 96).bfloat16()

    def computed(dtype: Any, *, together: bool) -> list[Any]:
        plain = torch.nn.ModuleDict({"layer": torch.nn.Linear(64, 96, bias=False)})
        plain["layer"].weight.data = weight.to(dtype)
        config = peft.LoraConfig(r=8, lora_alpha=24, target_modules=["layer"])
        model = peft.get_peft_model(plain, config, adapter_name=lora.ADAPTER)
        trained = []
        for name, drawn in (("lora_A", a), ("lora_B", b)):
            (parameter,) = (p for n, p in model.named_parameters() if name in n)
            parameter.data = drawn.clone()
            trained.append(parameter)
        layers = lora.plain_adapters(model)
        sums = merged.MergedAdapters(layers if together else [], lora.ADAPTER)
        with sums.added():
            (out,) = lora.project(x.to(dtype), [layers[0][0]])
        return [out.detach(), *torch.autograd.grad((out * upstream.to(dtype)).sum(), trained)]

    exact = computed(torch.float32, together=False)
    for found, wanted, right in zip(
        computed(torch.bfloat16, together=True),
        computed(torch.bfloat16, together=False),
        exact,
        strict=True,
    ):
        assert float((found.float() - right).norm()) < 1.6 * float((wanted.float() - right).norm())
    plain = x.float() @ weight.float().T
    gained = computed(torch.bfloat16, together=True)[0].float() - plain
    assert float((gained - (exact[0] - plain)).norm() / (exact[0] - plain).norm()) < 0.004 / moved
