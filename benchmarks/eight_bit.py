"""Linear layers in 8 bits: the engine's and torchao's, beside bfloat16, on one GPU.

    python benchmarks/eight_bit.py --tokens 16896

Layers of the sizes of Gemma-2-9B, compiled, with random weights. Shown are matrix rates and the
relative error of the products. Needs torch and torchao.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ensemble_plugins.language_model.model.precision import EightBitLinear

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE = torch.device("cuda")
SHAPES = {"q": (3584, 4096), "up": (3584, 14336), "down": (14336, 3584)}
"""Inputs and outputs of linear layers of Gemma-2-9B."""
ROUNDS, REPEATS = 5, 20


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


def main() -> None:
    """Print the table of the module's docstring as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=16_896)
    tokens = parser.parse_args().tokens
    for name, (inputs, outputs) in SHAPES.items():
        print(json.dumps({name: measure(inputs, outputs, tokens)}))


if __name__ == "__main__":
    main()
