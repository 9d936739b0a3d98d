"""What is private in torch and transformers and used here: each test names what has changed."""

from __future__ import annotations

import importlib
import inspect
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from transformers import PreTrainedModel

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
PACKAGE = "ensemble_plugins.language_model.model"
attention = importlib.import_module(f"{PACKAGE}.attention")
compiled = importlib.import_module(f"{PACKAGE}.compiled")
forward = importlib.import_module(f"{PACKAGE}.forward")
implementation = importlib.import_module(f"{PACKAGE}.implementation")
precision = importlib.import_module(f"{PACKAGE}.precision")
soft_capping = importlib.import_module(f"{PACKAGE}.soft_capping")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")


@pytest.fixture(autouse=True)
def compile_anew() -> None:
    """Forget what was compiled: beyond some variants of one function, PyTorch compiles no more."""
    torch.compiler.reset()


@contextmanager
def door(name: str, module: str) -> Iterator[None]:
    """Fail by the name of a private door and of the module that uses it, whatever goes wrong."""
    try:
        yield
    except Exception as error:
        pytest.fail(
            f"{name} is gone or means something else, in torch {torch.__version__} and "
            f"transformers {transformers.__version__}: model/{module} uses it and says what "
            f"for. {type(error).__name__}: {error}"
        )


class Doubled(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A module of our own: PyTorch does not compile a single one of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def add_one(_module: Any, x: Tensor) -> Tensor:
    return x + 1


def add_two(_module: Any, x: Tensor) -> Tensor:
    return x + 2


def computes(module: Any) -> float:
    """Say what a module makes of 0, called as it is and in compiled code."""
    zero = torch.zeros(())
    plain = float(module(zero))
    assert float(torch.compile(lambda x: module(x), backend="eager")(zero)) == plain
    return plain


def test_a_module_computes_the_forward_that_it_was_given() -> None:
    with door("forward", "forward.py"):
        module = Doubled()
        assert forward.replacement(module) is None
        forward.replace_forward(module, add_one)
        assert forward.replacement(module) is add_one
        assert computes(module) == 1
        with forward.plain_forwards([module]):
            assert computes(module) == 0
        with forward.replaced_forwards([module], add_two):
            assert computes(module) == 2
        assert computes(module) == 1
        forward.restore_forward(module)
        assert computes(module) == 0


def test_forwards_are_put_back_after_an_error() -> None:
    modules = [Doubled(), Doubled()]
    forward.replace_forward(modules[0], add_one)
    for changed in (forward.plain_forwards(modules), forward.replaced_forwards(modules, add_two)):
        with pytest.raises(RuntimeError, match="inside"), changed:
            raise RuntimeError("inside")
        assert [forward.replacement(module) for module in modules] == [add_one, None]


def test_a_compiled_module_can_be_called_as_if_it_were_not() -> None:
    run: list[str] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        def called(*inputs: Any) -> Any:
            run.append("compiled")
            return graph(*inputs)

        return called

    module = Doubled()
    module.compile(backend=backend)
    with door("_compiled_call_impl", "compiled.py"):
        with compiled.not_compiled([module]):
            module(torch.ones(2))
        assert run == [], "it was compiled all the same"
        module(torch.ones(2))
        assert run == ["compiled"], "it is not compiled any more"


@pytest.fixture(scope="module")
def decoder() -> PreTrainedModel:
    attention.register()
    model: PreTrainedModel = transformers.LlamaForSequenceClassification(tiny.configs("llama3", 20))
    model.eval()
    return model


@pytest.mark.parametrize("name", ["sdpa", "eager", attention.NAME])
def test_a_model_says_which_attention_was_set(name: str, decoder: PreTrainedModel) -> None:
    decoder.set_attn_implementation(name)
    with door("_attn_implementation", "implementation.py"):
        assert implementation.attention_of(decoder) == name
        with implementation.eager_attention(decoder):
            assert implementation.attention_of(decoder) == "eager"
            assert decoder(torch.ones(1, 3, dtype=torch.long)).logits.isfinite().all()
        assert implementation.attention_of(decoder) == name


def test_a_model_computes_the_attention_that_it_names(decoder: PreTrainedModel) -> None:
    decoder.set_attn_implementation(attention.NAME)
    with door("_attn_implementation", "implementation.py"):
        assert implementation.attention_of(decoder) == attention.NAME
        with pytest.raises(TypeError, match="row_mask"):
            decoder(torch.ones(1, 3, dtype=torch.long))


def test_int8_products_are_added_up_in_int32() -> None:
    torch.manual_seed(0)
    x, weight = (torch.randint(100, 128, (n, 2048), dtype=torch.int8) for n in (17, 16))
    with door("_int_mm", "precision.py"):
        found = precision._int_product(x, weight)
        assert found.dtype is torch.int32
        wanted = x.long() @ weight.long().T
        assert wanted.min() > 2**24, "more than float32 would add up rightly"
        assert torch.equal(found.long(), wanted)


def test_fp8_products_have_a_scale_for_each_row_and_column() -> None:
    torch.manual_seed(0)
    x, weight = (torch.randint(-2, 3, (n, 32)).float() for n in (32, 48))
    scale_x = 2.0 ** torch.randint(-3, 4, (32, 1))
    scale = 2.0 ** torch.randint(-3, 4, (1, 48))
    with door("_scaled_mm", "precision.py"):
        try:
            found = precision.scaled_product(
                x.to(torch.float8_e4m3fn), weight.to(torch.float8_e4m3fn), scale_x, scale
            )
        except NotImplementedError as error:
            pytest.skip(f"no such product on this CPU: {error}")
        assert found.dtype is torch.bfloat16
        wanted = x @ weight.T * scale_x * scale
        assert torch.equal(found.float(), wanted), "sums below 256, times powers of two: exact"


CXX = os.environ.get("CXX", "g++")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns of its own imports
@pytest.mark.skipif(not shutil.which(CXX), reason="compiling for the CPU takes a C++ compiler")
@pytest.mark.skipif(torch.cuda.is_available(), reason="test_gpu.py compiles the instruction itself")
def test_compiled_code_takes_the_lowering_that_is_registered() -> None:
    with door("_inductor", "soft_capping.py"):
        soft_capping.use_instruction(there=False)
        compute = torch.compile(soft_capping._tanh)
        x = torch.linspace(-3, 3, 64)
        compute(x)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            found = compute(x)
        torch.testing.assert_close(found, torch.tanh(x))
        called = {event.key for event in profile.key_averages()}
        assert "preference_ensemble::tanh" not in called, "the operation itself was called"


def test_the_compiler_still_has_an_operation_for_inline_assembly() -> None:
    with door("_inductor", "soft_capping.py"):
        handler = importlib.import_module("torch._inductor.ops_handler").OpsHandler
        inspect.signature(handler.inline_asm_elementwise).bind(None, "x", asm="")
