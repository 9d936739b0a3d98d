"""The bound on attention scores that Gemma-2 was trained with, for FlexAttention on a GPU.

``cap * tanh(score / cap)`` is computed for every pair of tokens, three times in training. The GPU
has an instruction for the hyperbolic tangent, with an error of 2^-11 of the value, an eighth of
what rounding to bfloat16 may lose; PyTorch computes it by a polynomial and a division.

PyTorch's compiler has no public way to that instruction that can be differentiated. Its own
examples of FlexAttention register a lowering, as is done here, by the private
``torch._inductor.lowering`` and ``torch._inductor.virtualized``. Should those go, packs fail on a
GPU, those of models without a bound too.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_INSTRUCTION = "tanh.approx.f32 $0, $1;"
"""Of every NVIDIA GPU from compute capability 7.5 on."""


@torch.library.custom_op("preference_ensemble::tanh", mutates_args=())
def _tanh(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x)


@_tanh.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = _tanh(x)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (output,) = ctx.saved_tensors
        grad: torch.Tensor = grads[0] * (1 - output * output)
        return grad

    @staticmethod
    def vmap(_info: Any, in_dims: tuple[int], x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return _bounded(x), in_dims[0]


def _bounded(x: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = _Tanh.apply(x)  # type: ignore[no-untyped-call]
    return out


@cache
def use_instruction(*, there: bool) -> None:
    """Let compiled code compute the tangent by the GPU's instruction, or as ever without one."""
    from torch._inductor.lowering import make_pointwise, register_lowering
    from torch._inductor.virtualized import ops

    computed = partial(ops.inline_asm_elementwise, asm=_INSTRUCTION) if there else ops.tanh
    register_lowering(torch.ops.preference_ensemble.tanh)(make_pointwise(computed))


def capped(softcap: float | None) -> Callable[..., torch.Tensor] | None:
    """Make FlexAttention's modification of scores: ``softcap * tanh(score / softcap)``."""
    if softcap is None:
        return None

    def cap(score: torch.Tensor, _b: Any, _h: Any, _q: Any, _k: Any) -> torch.Tensor:
        return softcap * _bounded(score * (1 / softcap))

    return cap
