from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
inference = importlib.import_module("ensemble_plugins.language_model.model.inference")
parity = importlib.import_module("ensemble_plugins.language_model.model.parity")
precision = importlib.import_module("ensemble_plugins.language_model.model.precision")
settings_module = importlib.import_module("ensemble_plugins.language_model.settings")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"  # transformers' DeBERTa
)
torch.set_num_threads(1)  # threads that share cores with other tests wait for each other

FP8 = torch.float8_e4m3fn
RELATIVE_ERRORS = {torch.int8: 0.015, FP8: 0.05}
"""Of a product of normal numbers, by the norm: 0.9% and 3.8% were measured."""


def skip_without(dtype: Any) -> None:
    """Skip where this build of torch has no FP8 products on the CPU."""
    one = torch.ones(16, 16)
    try:
        precision.EightBitLinear(torch.nn.Linear(16, 16), dtype)(one)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"no such product on this CPU: {error}")


def values(draw: Any) -> Any:
    """Draw a matrix whose rows are of very different sizes; some are zero."""
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    spread = draw(st.lists(st.sampled_from([0.0, 1e-8, 1.0, 3e4]), min_size=rows, max_size=rows))
    drawn = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(rows, columns))
    return torch.from_numpy(drawn * np.array(spread)[:, None]).float()


@settings(deadline=None)
@given(st.data(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_int8_is_off_by_half_a_step_at_most(data: st.DataObject, dtype: Any) -> None:
    drawn = values(data.draw).to(dtype)
    quantized, scale = precision.quantize(drawn, torch.int8)
    assert (quantized.dtype, scale.dtype) == (torch.int8, torch.float32)
    assert scale.shape == (len(drawn), 1)
    gap = (quantized.float() * scale - drawn.float()).abs()
    assert (gap <= 0.5001 * scale).all()
    used = quantized.abs().amax(dim=1)
    assert (used[drawn.float().abs().amax(dim=1) > 1e-9] == 127).all(), "the whole range is used"


@settings(deadline=None)
@given(st.data(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_fp8_keeps_three_bits_of_each_value(data: st.DataObject, dtype: Any) -> None:
    drawn = values(data.draw).to(dtype)
    quantized, scale = precision.quantize(drawn, FP8)
    gap = (quantized.float() * scale - drawn.float()).abs()
    smallest = 2.0**-10 * scale
    assert (gap <= torch.maximum(drawn.float().abs() * 2.0**-4, smallest) * 1.0001).all()
    assert quantized.float().isfinite().all()


@pytest.mark.parametrize("dtype", [torch.int8, FP8])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_hidden(dtype: Any, bad: float) -> None:
    skip_without(dtype)
    layer = precision.EightBitLinear(torch.nn.Linear(16, 16), dtype)
    x = torch.ones(20, 16)
    x[3, 5] = bad
    out = layer(x)
    assert not out[3].isfinite().any()
    assert out[[0, 19]].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.int8, FP8])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 64), (3, 64), (2, 17, 64), (1, 200, 64)])
def test_products_are_near_to_those_of_the_layer(
    dtype: Any, bias: bool, shape: tuple[int, ...]
) -> None:
    skip_without(dtype)
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 48, bias=bias)
    x = torch.randn(shape) * torch.logspace(-3, 3, shape[-2] if len(shape) > 2 else 1)[:, None]
    with torch.no_grad():
        wanted = layer(x) if not bias else layer(x) - layer.bias
        found = precision.EightBitLinear(layer, dtype)(x)
    assert (found.shape, found.dtype) == ((*shape[:-1], 48), x.dtype)
    found = found - layer.bias.detach() if bias else found
    gap = (found - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    assert gap.median() < RELATIVE_ERRORS[dtype]
    assert gap.max() < 3 * RELATIVE_ERRORS[dtype], "a small row does not suffer from a large one"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_dtype_of_activations_is_kept(dtype: Any) -> None:
    layer = precision.EightBitLinear(torch.nn.Linear(16, 32).to(dtype), torch.int8)
    assert layer(torch.randn(2, 16, dtype=dtype)).dtype is dtype


def nested() -> Any:
    """Make layers of even and odd sizes, and heads inside."""
    linear = torch.nn.Linear
    return torch.nn.ModuleDict(
        {
            "even": linear(32, 16),
            "odd_inputs": linear(24, 16),
            "odd_outputs": linear(16, 3),
            "block": torch.nn.Sequential(linear(16, 16), torch.nn.LayerNorm(16)),
            "pooler": torch.nn.ModuleDict({"dense": linear(16, 16)}),
            "score": linear(16, 16),
        }
    )


def eight_bit_names(model: nn.Module) -> set[str]:
    return {
        name
        for name, module in model.named_modules()
        if isinstance(module, precision.EightBitLinear)
    }


def test_layers_of_even_sizes_are_replaced_and_heads_are_not() -> None:
    model = nested()
    assert precision.use_eight_bits(model, "int8") == 2
    assert eight_bit_names(model) == {"even", "block.0"}
    with pytest.raises(errors.LearnerError, match="no layer can be computed"):
        precision.use_eight_bits(model, "int8")


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize(
    ("family", "linears"), [("gemma2", 7), ("llama3", 7), ("qwen2", 7), ("deberta", 6), ("bert", 6)]
)
def test_all_layers_of_a_model_are_replaced(
    family: str, linears: int, merge: bool, tmp_path: Path
) -> None:
    classifier = tiny.classifier(family, tmp_path)
    prediction = settings_module.PredictionSettings(precision="int8")
    classifier.prepare(prediction, merge=merge)
    names = eight_bit_names(classifier.base)
    assert len(names) == 3 * linears
    assert not any("lora_" in name for name in names)
    assert not any(part in name for name in names for part in ("pooler", "score", "classifier"))


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse what CUDA refuses."""
    product: Callable[..., Any] = torch._int_mm

    def refuse(x: Tensor, weight: Any) -> Any:
        assert x.shape[0] > 16, "self.size(0) needs to be greater than 16"
        assert not x.shape[1] % 8
        assert not weight.shape[1] % 8
        return product(x, weight)

    monkeypatch.setattr(torch, "_int_mm", refuse)


@pytest.mark.usefixtures("as_on_cuda")
@pytest.mark.parametrize("rows", [1, 2, 16, 17, 31, 32, 33])
def test_few_rows_can_be_multiplied(rows: int) -> None:
    layer = precision.EightBitLinear(torch.nn.Linear(16, 32), torch.int8)
    x = torch.randn(40, 16)
    assert (layer(x[:rows]) == layer(x)[:rows]).all()


@pytest.mark.usefixtures("as_on_cuda")
@pytest.mark.parametrize("family", ["gemma2", "llama3", "deberta", "bert"])
@pytest.mark.parametrize("merge", [True, False])
def test_a_single_short_row_can_be_predicted(family: str, merge: bool, tmp_path: Path) -> None:
    classifier, tokens = tiny.classifier(family, tmp_path), tiny.random_tokens([1])
    reference = parity.reference_logits(classifier, tokens)
    classifier.prepare(settings_module.PredictionSettings(precision="int8"), merge=merge)
    found = inference.compute_logits(classifier, tokens, 1)
    assert 0 < np.abs(found - reference).max() < 0.05


@pytest.mark.parametrize(("kind", "bound"), [("int8", 0.02), ("fp8", 0.15)])
@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("family", ["gemma2", "llama3", "qwen2", "bert"])
def test_the_drift_of_a_model_is_small(
    family: str, merge: bool, kind: str, bound: float, tmp_path: Path
) -> None:
    skip_without(torch.int8 if kind == "int8" else FP8)
    classifier, tokens = tiny.classifier(family, tmp_path), tiny.random_tokens([5, 40, 1, 64])
    reference = parity.reference_logits(classifier, tokens)
    classifier.prepare(settings_module.PredictionSettings(precision=kind), merge=merge)
    assert 1e-4 < parity.drift(classifier, tokens, reference) < bound


def test_a_gpu_without_fp8_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    with pytest.raises(errors.LearnerError, match="this GPU computes no FP8: A100") as error:
        precision._dtype("fp8", torch.device("cuda"))
    assert error.value.hint == 'set precision = "int8" or "native", and train_precision = "native"'
    assert precision._dtype("int8", torch.device("cuda")) is torch.int8
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    assert precision._dtype("fp8", torch.device("cuda")) is FP8


def test_a_model_that_would_stay_as_it_is_is_refused() -> None:
    odd = torch.nn.Sequential(torch.nn.Linear(15, 32))
    with pytest.raises(
        errors.LearnerError, match='no layer can be computed with precision = "int8"'
    ):
        precision.use_eight_bits(odd, "int8")
