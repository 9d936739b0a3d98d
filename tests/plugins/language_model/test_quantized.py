"""Weights that are stored quantized: computed as their config says, or refused."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import FitContext, errors
from tests.plugins.language_model.quick_learners import make_learner
from tests.plugins.language_model.worded_battles import make_battles, make_labels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
safetensors = importlib.import_module("safetensors.torch")

PACKAGE = "ensemble_plugins.language_model"
errors_of_loading = importlib.import_module(f"{PACKAGE}.model.loading_errors")
loading = importlib.import_module(f"{PACKAGE}.model.loading")
parity = importlib.import_module(f"{PACKAGE}.model.parity")
quantized = importlib.import_module(f"{PACKAGE}.model.quantized")
settings = importlib.import_module(f"{PACKAGE}.settings")
families: Any = importlib.import_module("tests.plugins.language_model.tiny_families")

TRAIN = make_battles(6)
CONTEXT = FitContext(seed=2, device="cpu")
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}


def save(directory: Path, **changes: Any) -> Path:
    families.save("llama", directory)
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return directory


def learner(directory: Path, **options: Any) -> Any:
    return make_learner("causal-lora", directory, **options)


def fit(directory: Path, **options: Any) -> Any:
    return learner(directory, **options).fit(TRAIN, make_labels(TRAIN), context=CONTEXT)


def requantize(directory: Path, change: Callable[[Any], dict[str, Any]]) -> None:
    """Store each layer's weight as ``change`` gives it, by what follows the layer's name."""
    tensors = safetensors.load_file(directory / "model.safetensors")
    layers = [name.removesuffix(".weight") for name in tensors if "_proj.weight" in name]
    for layer in layers:
        found = change(tensors.pop(f"{layer}.weight"))
        tensors |= {f"{layer}.{leaf}": value.contiguous() for leaf, value in found.items()}
    safetensors.save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def as_fp8(weight: Any) -> dict[str, Any]:
    scale = weight.abs().max() / 448
    return {"weight": (weight / scale).to(torch.float8_e4m3fn), "weight_scale_inv": scale.float()}


def as_int8(weight: Any) -> dict[str, Any]:
    return {"weight": (weight * 127 / weight.abs().max()).round().to(torch.int8)}


@pytest.mark.parametrize(
    ("method", "packages"),
    [
        ("gptq", "pip install optimum gptqmodel, or "),
        ("awq", "pip install gptqmodel, or "),
        ("compressed-tensors", "pip install compressed-tensors, or "),
        ("unheard-of", r"\(unheard-of\): "),
    ],
)
def test_the_packages_for_quantized_weights_are_named(method: str, packages: str) -> None:
    stored = quantized.stored_quantization(
        transformers.LlamaConfig(quantization_config={"quant_method": method})
    )
    error = ImportError("something is not installed")
    told = errors_of_loading.unavailable(settings.ModelSettings("m"), error, stored)
    assert str(told).count(method) >= 1
    with pytest.raises(errors.LearnerError, match=f"{packages}give the full weights, which bits"):
        raise told


@pytest.mark.parametrize(
    ("how", "method"),
    [({"load_in_4bit": True}, "bitsandbytes"), ({"bits": 4}, "a method without a name")],
)
def test_weights_are_known_as_quantized_without_the_name_of_a_method(
    how: dict[str, Any], method: str
) -> None:
    config = transformers.LlamaConfig()
    config.quantization_config = how
    assert quantized.stored_quantization(config) == method
    assert quantized.stored_quantization(transformers.LlamaConfig()) is None


def test_the_package_for_bits_is_named() -> None:
    told = errors_of_loading.unavailable(settings.ModelSettings("m", bits=4), ImportError("no"))
    with pytest.raises(errors.LearnerError, match=r"'\.\[lm,quantized\]'"):
        raise told


def test_adapters_are_not_merged_into_weights_that_are_stored_quantized(tmp_path: Path) -> None:
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    made = learner(save(tmp_path, quantization_config=stored))
    assert not made._merges
    with pytest.raises(errors.LearnerError, match="quantized by bitsandbytes cannot be exported"):
        made.export(tmp_path / "x", TRAIN, np.zeros((6, 3)), about={})
    full = learner(tmp_path, tuning="full")
    with pytest.raises(errors.LearnerError, match=r"stored quantized \(bitsandbytes\) cannot be t"):
        full.fit(TRAIN, make_labels(TRAIN), context=CONTEXT)


@pytest.mark.parametrize("method", ["modelopt", "unheard-of", None])
def test_a_method_that_transformers_does_not_know_is_refused(
    method: str | None, tmp_path: Path
) -> None:
    """It would go on with the numbers as they are stored, as if they were the weights."""
    how = {} if method is None else {"quant_method": method}
    requantize(save(tmp_path, quantization_config=how), as_int8)
    refused = f"stored quantized by {method or 'a method without a name'}, which transformers does"
    with pytest.raises(errors.LearnerError, match=refused) as told:
        learner(tmp_path).preflight(TRAIN, context=CONTEXT)
    assert told.value.where == str(tmp_path)
    assert "give the full weights" in str(told.value.hint)


def test_integers_that_no_config_scales_are_refused(tmp_path: Path) -> None:
    requantize(save(tmp_path), as_int8)
    with pytest.raises(errors.LearnerError, match="21 weights are stored as integers, and its con"):
        fit(tmp_path)


def test_full_weights_may_name_no_quantization(tmp_path: Path) -> None:
    found = fit(save(tmp_path, quantization_config=None))
    assert found.facts_["merged"]


def test_scaled_fp8_is_computed_as_the_weights_that_it_stands_for(tmp_path: Path) -> None:
    options: dict[str, Any] = {"learning_rate": 1e-9, "head_learning_rate": 1e-9}
    full = fit(save(tmp_path / "full"), **options).predict_logits(TRAIN)
    requantize(save(tmp_path / "fp8", quantization_config=FP8), as_fp8)
    made = fit(tmp_path / "fp8", **options)
    logits = made.predict_logits(TRAIN)
    assert np.corrcoef(full.ravel(), logits.ravel())[0, 1] > 0.95
    assert not made.facts_["merged"]
    made.save(tmp_path)
    again = learner(tmp_path / "fp8").load(tmp_path).predict_logits(TRAIN)
    np.testing.assert_allclose(again, logits, atol=1e-6)


def test_what_is_stored_quantized_is_not_quantized_again(tmp_path: Path) -> None:
    made = learner(save(tmp_path, quantization_config=FP8), bits=4)
    with pytest.raises(errors.LearnerError, match=r"bits = 4 quanti(.|\n)*leave `bits` out"):
        made.preflight(TRAIN, context=CONTEXT)


def test_four_bits_learn_on_a_cpu_as_they_are_stored(tmp_path: Path) -> None:
    """bitsandbytes may lay weights out so that no gradient goes through them."""
    pytest.importorskip("bitsandbytes")
    save(tmp_path / "full")
    how = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    model = transformers.AutoModel.from_pretrained(tmp_path / "full", quantization_config=how)
    families.save("llama", tmp_path / "stored")
    model.save_pretrained(tmp_path / "stored")
    made = fit(tmp_path / "stored")
    assert made.facts_["drift_from_float32"] < 1e-5
    same = fit(tmp_path / "full", bits=4)
    np.testing.assert_allclose(
        made.predict_logits(TRAIN), same.predict_logits(TRAIN), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("family", ["bert", "xlmr", "modernbert", "llama"])
def test_a_head_is_trained_in_full_whatever_bits_are_below_it(
    family: str, bits: int, tmp_path: Path
) -> None:
    """Left to itself transformers spares a last layer without a bias alone."""
    pytest.importorskip("bitsandbytes")
    families.save(family, tmp_path)
    chosen = settings.ModelSettings(str(tmp_path), bits=bits, rank=4)
    made = loading.load_classifier(chosen, device=torch.device("cpu"), seed=3)
    head = made.head_parameters()
    assert head
    assert all(p.dtype is torch.float32 and type(p) is torch.nn.Parameter for p in head.values())
    below = [n for n, m in made.backbone.named_modules() if n.endswith("base_layer")]
    plain = {n for n in below if type(made.backbone.get_submodule(n)) is torch.nn.Linear}
    assert len(below) > len(plain)
    assert plain <= {"pooler.dense.base_layer"}


def test_an_encoder_learns_in_four_bits_and_its_soup_is_the_mean(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    families.save("bert", tmp_path / "model")
    logits = []
    for seed in (1, 2):
        made = make_learner("encoder", tmp_path / "model", bits=4, tuning="lora", init_seed=3)
        made.fit(TRAIN, make_labels(TRAIN), context=FitContext(seed=seed, device="cpu"))
        logits.append(made.predict_logits(TRAIN))
        (tmp_path / str(seed)).mkdir()
        made.save(tmp_path / str(seed))
    soup = make_learner("encoder", tmp_path / "model", bits=4, tuning="lora", init_seed=3)
    soup.average_models([tmp_path / "1", tmp_path / "2"])
    assert np.abs(logits[0] - logits[1]).max() > 1e-4
    np.testing.assert_allclose(soup.predict_logits(TRAIN), np.mean(logits, axis=0), atol=0.02)


def test_a_layout_without_gradients_is_not_asked_for() -> None:
    layer = torch.nn.Linear(2, 2)
    layer.support_avx512bf16_for_cpu = True
    quantized.keep_gradients(torch.nn.Sequential(layer))
    assert layer.support_avx512bf16_for_cpu is False


@pytest.mark.parametrize(("is_quantized", "hint"), [(True, "parity_tolerance"), (False, "report")])
def test_rounding_of_quantized_products_is_told_as_such(is_quantized: bool, hint: str) -> None:
    found = parity.Parity(0.2, 0.0, torch.float32, np.zeros((1, 3)), is_quantized=is_quantized)
    with pytest.raises(errors.LearnerError, match=rf"drift by 0\.2 (.|\n)*{hint}"):
        found.require(found.packed, "here")
