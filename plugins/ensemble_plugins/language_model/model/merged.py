"""Adapters of small layers, added to the weights that they adapt for each pass of training.

Such a layer is one product, forward and backward, and the gradient of the sum is taken back to the
adapters of all layers of a shape at once: ``dB = dW A.T`` and ``dA = B.T dW``. Beside a layer's own
product those of rank r, as ``lora`` has them, read and write its activations several times more,
which takes longer than the third large product, of the gradient, as long as layers are small.

A sum is rounded to the dtype of the weight, as the sums that predict are. Adapters stay float32.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

LARGEST = 2_000_000
"""Weights of the largest layer of a model that is computed so.

On an H200 it is faster with 0.9 million (SmolLM2-135M, 14%) and 1.3 million (Gemma-3-270M, 8%).
Layers of 17 million would take a fifth longer: the third product grows with inputs times outputs,
what is saved with their sum."""

MOST = 500_000_000
"""Weights of all layers of such a model: they are kept once more, and so are the sums of a pass.
Beyond it are models of many small experts."""

DEVICE = "cuda"
"""Where it is faster. A CPU waits for products rather than for memory: the third one costs more
there than is saved."""

_NAME = "merged_weight"


class MergedAdapters:
    """The sums of some layers' weights and adapters.

    Parameters
    ----------
    layers
        LoRA layers with one adapter, each with the linear layer that it adapts. Where one is
        larger than ``LARGEST``, or all together than ``MOST``, or on another device than
        ``DEVICE``, all are left to ``lora``.
    adapter
        The name of the adapter.

    Attributes
    ----------
    layers
        Those that have sums: all, or none.
    bytes
        What a pass keeps for them: copies, sums, gradients, and these put together.
    """

    def __init__(self, layers: Sequence[tuple[nn.Module, nn.Linear]], adapter: str) -> None:
        self.adapter = adapter
        sizes = [base.weight.numel() for _, base in layers]
        small = max(sizes, default=0) <= LARGEST and sum(sizes) <= MOST
        there = all(base.weight.device.type == DEVICE for _, base in layers)
        self.layers = list(layers) if small and there else []
        self.bytes = 4 * sum(base.weight.nbytes for _, base in self.layers)

    @cached_property
    def _stacks(self) -> list[tuple[list[Any], torch.Tensor]]:
        """Modules of one kind, and a copy of their weights; there from the first pass on."""
        alike = groupby(sorted(self.layers, key=self._kind), key=self._kind)
        with torch.inference_mode(mode=False):
            return [_stack(list(group)) for _, group in alike]

    @contextmanager
    def added(self) -> Iterator[None]:
        """Compute layers with their sums as of now, differentiable in the adapters, for a while."""
        try:
            for modules, weights in self._stacks:
                for module, merged in zip(modules, self._sums(modules, weights), strict=True):
                    setattr(module, _NAME, merged)
            yield
        finally:
            for modules, _ in self._stacks:
                for module in modules:
                    vars(module).pop(_NAME, None)

    def _kind(self, layer: tuple[Any, nn.Linear]) -> tuple[Any, ...]:
        module, base = layer
        return (
            str(base.weight.dtype),
            *base.weight.shape,
            module.r[self.adapter],
            module.scaling[self.adapter],
        )

    def _sums(self, modules: list[Any], weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        a, b = (
            torch.stack([part[self.adapter].weight for part in parts]).to(weights.dtype)
            for parts in ([m.lora_A for m in modules], [m.lora_B for m in modules])
        )
        return torch.baddbmm(weights, b, a, alpha=modules[0].scaling[self.adapter]).unbind()


def _stack(layers: list[tuple[Any, nn.Linear]]) -> tuple[list[Any], torch.Tensor]:
    """Give modules, and their weights in one tensor: ``(layers, outputs, inputs)``."""
    modules = [module for module, _ in layers]
    return modules, torch.stack([base.weight.detach() for _, base in layers])


def merged_weight(module: nn.Module) -> torch.Tensor | None:
    """Give the sum that a layer is computed with now, where it is."""
    return getattr(module, _NAME, None)
