"""Linear layers in 8 bits: the engine's and torchao's, beside bfloat16, on one GPU.

    python benchmarks/eight_bit.py --tokens 16896
    python benchmarks/eight_bit.py --training        # forward and backward, with adapters

Layers of the sizes of Gemma-2-9B, compiled, with random weights. Shown are matrix rates and the
relative error of the products; in training, of the gradients of inputs. Weights are frozen there,
with adapters of rank 16 beside them, whose operations are not counted. Needs torch and torchao.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.functional import linear

from ensemble_plugins.language_model.model.fp8_training import keep_fp8_weights
from ensemble_plugins.language_model.model.lora import ADAPTER, plain_adapters, project
from ensemble_plugins.language_model.model.precision import EightBitLinear

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE = torch.device("cuda")
SHAPES = {"q": (3584, 4096), "up": (3584, 14336), "down": (14336, 3584)}
"""Inputs and outputs of linear layers of Gemma-2-9B."""
ROUNDS, REPEATS = 5, 20
RANK = 16


def torchao_layer(layer: nn.Linear, config: object) -> nn.Module:
    """Quantize a copy of a layer as torchao does."""
    from torchao.quantization import quantize_  # type: ignore[import-not-found, unused-ignore]

    holder = nn.Sequential(copy.deepcopy(layer))
    quantize_(holder, config)
    return holder


def kinds() -> dict[str, Callable[[nn.Linear], nn.Module]]:
    """Give what is compared, by name."""
    from torchao.quantization import (  # type: ignore[import-not-found, unused-ignore]
        Float8DynamicActivationFloat8WeightConfig,
        Int8DynamicActivationInt8WeightConfig,
        PerRow,
    )

    fp8 = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
    int8 = Int8DynamicActivationInt8WeightConfig()
    return {
        "bfloat16": lambda layer: layer,
        "fp8, engine": lambda layer: EightBitLinear(layer, torch.float8_e4m3fn),
        "fp8, torchao": lambda layer: torchao_layer(layer, fp8),
        "int8, engine": lambda layer: EightBitLinear(layer, torch.int8),
        "int8, torchao": lambda layer: torchao_layer(layer, int8),
    }


def seconds(call: Callable[[], object]) -> float:
    """Time one call: the median of some rounds."""
    for _ in range(3):
        call()
    times = []
    for _ in range(ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()  # type: ignore[no-untyped-call, unused-ignore]
        for _ in range(REPEATS):
            call()
        end.record()  # type: ignore[no-untyped-call, unused-ignore]
        torch.cuda.synchronize()
        times.append(float(begin.elapsed_time(end)) / 1000 / REPEATS)
    return statistics.median(times)


def measure(inputs: int, outputs: int, tokens: int) -> dict[str, dict[str, Any]]:
    """Measure all kinds of one layer."""
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs, bias=False, device=DEVICE, dtype=torch.bfloat16)
    x = torch.randn(tokens, inputs, device=DEVICE, dtype=torch.bfloat16)
    exact = x.float() @ layer.weight.float().T
    found: dict[str, dict[str, Any]] = {}
    with torch.inference_mode():
        for name, make in kinds().items():
            try:
                torch.compiler.reset()  # a class of layers is compiled for a few shapes only
                model = torch.compile(make(layer))
                out = model(x)
                took = seconds(partial(model, x))
            except Exception as error:  # what torchao does not do here is a result too
                found[name] = {"error": f"{type(error).__name__}: {error}"[:200]}
                continue
            rate = 2 * tokens * inputs * outputs / took / 1e12
            gap = float((out.float() - exact).norm() / exact.norm())
            found[name] = {"teraflops": round(rate, 1), "relative error": round(gap, 5)}
    return found


class Adapted(nn.Module):
    """A frozen layer of another library, and plain adapters with given weights beside it."""

    def __init__(self, layer: nn.Module, a: torch.Tensor, b: torch.Tensor) -> None:
        super().__init__()
        self.layer, self.a, self.b = layer, nn.Parameter(a.clone()), nn.Parameter(b.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add both."""
        out: torch.Tensor = self.layer(x)
        return out + linear(linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))


class Engine(nn.Module):
    """The engine's way with a layer."""

    def __init__(self, layer: nn.Linear, a: torch.Tensor, b: torch.Tensor, *, fp8: bool) -> None:
        super().__init__()
        config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["0"])
        self.model = get_peft_model(nn.Sequential(layer), config, adapter_name=ADAPTER)
        adapted = plain_adapters(self.model)
        made: Any = adapted[0][0]
        made.lora_A[ADAPTER].weight.data.copy_(a)
        made.lora_B[ADAPTER].weight.data.copy_(b)
        if fp8:
            keep_fp8_weights(adapted)
        self.made = made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute it as models do."""
        return project(x, [self.made])[0]


def torchao_trained(layer: nn.Linear, recipe: str) -> nn.Module:
    """Give a copy of a layer that torchao computes in FP8, forward and backward."""
    from torchao.float8 import (  # type: ignore[import-not-found, unused-ignore]
        Float8LinearConfig,
        convert_to_float8_training,
    )

    config = Float8LinearConfig.from_recipe_name(recipe)
    made: nn.Module = convert_to_float8_training(
        nn.Sequential(copy.deepcopy(layer)), config=config
    ).requires_grad_(requires_grad=False)
    return made


def trained(layer: nn.Linear) -> dict[str, Callable[[], nn.Module]]:
    """Give what is compared in training, by name."""
    a, b = (
        torch.randn(size, device=DEVICE) / 100
        for size in ((RANK, layer.in_features), (layer.out_features, RANK))
    )
    return {
        "bfloat16, engine": lambda: Engine(layer, a, b, fp8=False),
        "fp8, engine": lambda: Engine(layer, a, b, fp8=True),
        "bfloat16": lambda: Adapted(layer, a, b),
        "fp8 by rows, torchao": lambda: Adapted(torchao_trained(layer, "rowwise"), a, b),
        "fp8 by tensors, torchao": lambda: Adapted(torchao_trained(layer, "tensorwise"), a, b),
    }


def measure_training(inputs: int, outputs: int, tokens: int) -> dict[str, dict[str, Any]]:
    """Measure both passes of all kinds of one layer."""
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs, bias=False, device=DEVICE, dtype=torch.bfloat16)
    layer.requires_grad_(requires_grad=False)
    x = torch.randn(tokens, inputs, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
    grad = torch.randn(tokens, outputs, device=DEVICE, dtype=torch.bfloat16)
    exact: torch.Tensor | None = None
    found: dict[str, dict[str, Any]] = {}
    for name, make in trained(layer).items():
        try:
            torch.compiler.reset()
            model = make()
            adapters = [each for each in model.parameters() if each.requires_grad]
            compiled = torch.compile(model)
            step = partial(_both_passes, compiled, x, adapters, grad)
            given = step()[0].float()
            took = seconds(step)
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}"[:200]}
            continue
        exact = given if exact is None else exact
        rate = 4 * tokens * inputs * outputs / took / 1e12
        gap = float((given - exact).norm() / exact.norm())
        found[name] = {"teraflops": round(rate, 1), "from bfloat16": round(gap, 5)}
    return found


def _both_passes(
    model: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    adapters: list[nn.Parameter],
    grad: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(model(x), (x, *adapters), grad)


def main() -> None:
    """Print the table of the module's docstring as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=16_896)
    parser.add_argument("--training", action="store_true")
    options = parser.parse_args()
    of_layer = measure_training if options.training else measure
    for name, (inputs, outputs) in SHAPES.items():
        print(json.dumps({name: of_layer(inputs, outputs, options.tokens)}))


if __name__ == "__main__":
    main()
