"""Training over frozen weights in FP8, beside training over the weights themselves."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

lora = importlib.import_module("ensemble_plugins.language_model.model.lora")
fp8 = importlib.import_module("ensemble_plugins.language_model.model.fp8_training")
settings = importlib.import_module("ensemble_plugins.language_model.settings")
classifiers = importlib.import_module("ensemble_plugins.language_model.model.classifier")
parameters = importlib.import_module("ensemble_plugins.language_model.parameters")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")
training = importlib.import_module("tests.plugins.language_model.tiny_training")

INPUTS, RANK = 64, 4
SIZES = {"first": 48, "second": 32}


def layers(**options: Any) -> tuple[Any, list[Any]]:
    """Make two layers that take one input, with adapters that have moved."""
    torch.manual_seed(0)
    plain = torch.nn.ModuleDict(
        {name: torch.nn.Linear(INPUTS, size, bias=False) for name, size in SIZES.items()}
    )
    config = peft.LoraConfig(r=RANK, lora_alpha=8, target_modules=list(SIZES), **options)
    model = peft.get_peft_model(plain, config, adapter_name=lora.ADAPTER)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape) * 0.2
    return model, [model.get_submodule(f"base_model.model.{name}") for name in SIZES]


def outputs_and_gradients(x: Any, made: list[Any]) -> tuple[list[Any], list[Any]]:
    torch.manual_seed(1)
    outs = lora.project(x, made)
    loss = sum((out * torch.randn(out.shape)).sum() for out in outs)
    trained = [getattr(m, k)[lora.ADAPTER].weight for m in made for k in ("lora_A", "lora_B")]
    return outs, list(torch.autograd.grad(loss, [x, *trained]))


def relative(found: Any, wanted: Any) -> float:
    found, wanted = found.detach(), wanted.detach()
    return float((found - wanted).norm() / wanted.norm())


def test_outputs_and_gradients_are_those_of_the_weights_but_for_eight_bits() -> None:
    model, made = layers()
    x = torch.randn(40, INPUTS, requires_grad=True)
    wanted = outputs_and_gradients(x, made)
    assert fp8.keep_fp8_weights(lora.plain_adapters(model)) == 2
    found = outputs_and_gradients(x, made)
    for group, reference in zip(found, wanted, strict=True):
        for one, other in zip(group, reference, strict=True):
            assert one.shape == other.shape
            assert relative(one, other) < 0.06
    assert relative(found[0][0], wanted[0][0]) > 1e-3
    assert relative(found[1][0], wanted[1][0]) > 1e-3
    # Adapters are computed as ever: the same x and the same gradients of outputs.
    for one, other in zip(found[1][1:], wanted[1][1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_row_of_another_size_changes_no_other() -> None:
    model, made = layers()
    fp8.keep_fp8_weights(lora.plain_adapters(model))
    x = torch.randn(8, INPUTS)
    larger = x.clone()
    larger[3] *= 1e4
    kept = [0, 1, 2, 4, 5, 6, 7]
    for one, other in zip(lora.project(x, made), lora.project(larger, made), strict=True):
        torch.testing.assert_close(one[kept], other[kept], rtol=0, atol=0)


def test_prediction_is_computed_with_the_weights_themselves() -> None:
    model, made = layers()
    x = torch.randn(8, INPUTS)
    wanted = lora.project(x, made)
    fp8.keep_fp8_weights(lora.plain_adapters(model))
    names = model.state_dict().keys()
    assert not any("fp8" in name for name in names)
    model.eval()
    for one, other in zip(lora.project(x, made), wanted, strict=True):
        assert torch.equal(one, other)


def test_odd_sizes_are_left_out() -> None:
    plain = torch.nn.ModuleDict({"odd": torch.nn.Linear(24, 16), "even": torch.nn.Linear(32, 16)})
    config = peft.LoraConfig(r=2, target_modules=["odd", "even"])
    model = peft.get_peft_model(plain, config, adapter_name=lora.ADAPTER)
    assert fp8.keep_fp8_weights(lora.plain_adapters(model)) == 1


def test_the_shapes_that_the_compiler_is_told_are_right() -> None:
    model, made = layers()
    fp8.keep_fp8_weights(lora.plain_adapters(model))
    x = torch.randn(16, INPUTS, requires_grad=True)
    wanted = outputs_and_gradients(x, made)
    torch.manual_seed(1)
    outs = torch.compile(lora.project, backend="aot_eager")(x, made)
    loss = sum((out * torch.randn(out.shape)).sum() for out in outs)
    (gradient,) = torch.autograd.grad(loss, [x])
    for out, reference in zip([*outs, gradient], [*wanted[0], wanted[1][0]], strict=True):
        torch.testing.assert_close(out, reference, rtol=1e-3, atol=1e-3)


def test_a_decoder_learns_as_well(tmp_path: Path) -> None:
    checkpoint, losses = tiny.save_checkpoint("llama3", tmp_path), {}
    rows = training.labeled_rows(48)
    for precision in ("native", "fp8"):
        classifier = training.load(checkpoint, train_precision=precision)
        before = training.mean_loss(classifier, rows)
        chosen = training.settings(epochs=8)
        training.Training(classifier, rows, chosen, seed=1).run()
        losses[precision] = training.mean_loss(classifier, rows)
        assert losses[precision] < before - 0.3
    assert losses["fp8"] != losses["native"]
    assert losses["fp8"] == pytest.approx(losses["native"], abs=0.1)


def test_the_check_tells_the_drift_in_training_and_forgives_it(tmp_path: Path) -> None:
    checkpoint, tokens = tiny.save_checkpoint("llama3", tmp_path), tiny.random_tokens([5, 9, 30])
    checks = importlib.import_module("ensemble_plugins.language_model.model.checks")
    found = {
        precision: checks.check_model(
            settings.ModelSettings(str(checkpoint), train_precision=precision),
            tokens,
            settings.PredictionSettings(),
            merge=True,
            device=torch.device("cpu"),
            pad_id=0,
        )
        for precision in ("native", "fp8")
    }
    assert found["fp8"]["drift_in_training"] > 10 * found["native"]["drift_in_training"]
    assert found["fp8"]["drift_in_prediction"] < 1e-4


@pytest.mark.parametrize(
    ("family", "options", "reason"),
    [("bert", {}, "its rows are padded"), ("llama3", {"dropout": 0.1}, "no plain adapter")],
)
def test_a_model_without_such_products_is_refused(
    family: str, options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    checkpoint = tiny.save_checkpoint(family, tmp_path)
    with pytest.raises(LearnerError, match=reason):
        training.load(checkpoint, train_precision="fp8", **options)


@pytest.mark.parametrize("options", [{"tuning": "full"}, {"bits": 4}])
def test_weights_that_are_not_frozen_in_16_bits_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='train_precision = "fp8" computes frozen weights'):
        parameters.Parameters(model="m", train_precision="fp8", **options)
