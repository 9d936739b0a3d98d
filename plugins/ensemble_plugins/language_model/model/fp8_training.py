"""Training over frozen weights in FP8: the large products of both passes, but not the adapters'.

Outputs are products of activations and weights in FP8; gradients of activations are products of the
outputs' gradients and the same weights, turned. Rows have scales of their own, found as they come.
Adapters, their gradients and everything else stay what they are. Weights in their own dtype are
kept: evaluation and prediction compute with them.

Quantizing is left to the compiler, which joins it with what computes the rows; the products are
opaque to it, as in ``lora``. torch._scaled_mm is private; see ``precision``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ensemble_plugins.language_model.model.adapted import (
    adapter_gradients,
    empty_gradients,
    empty_outputs,
)
from ensemble_plugins.language_model.model.precision import (
    MULTIPLE,
    fp8_dtype,
    quantize,
    scaled_product,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

Tensors = list[torch.Tensor]

_BUFFERS = ("fp8_weight", "fp8_scale", "fp8_turned", "fp8_turned_scale")


def keep_fp8_weights(layers: Sequence[tuple[nn.Module, nn.Linear]]) -> int:
    """Keep the weights of linear layers in FP8 beside their own, once as they are and once turned.

    Parameters
    ----------
    layers
        Each with the module that its adapters belong to, which keeps them.

    Returns
    -------
    int
        Of how many; layers of odd sizes are left out.

    Raises
    ------
    LearnerError
        The GPU has no such products.
    """
    kept = 0
    for module, layer in layers:
        if any(size % MULTIPLE for size in layer.weight.shape):
            continue
        dtype = fp8_dtype(layer.weight.device)
        weight, scale = quantize(layer.weight.detach(), dtype)
        turned, turned_scale = quantize(layer.weight.detach().T.contiguous(), dtype)
        values = (weight, scale.T.contiguous(), turned, turned_scale.T.contiguous())
        for name, value in zip(_BUFFERS, values, strict=True):
            module.register_buffer(name, value, persistent=False)
        kept += 1
    return kept


def computes_in_fp8(modules: Sequence[nn.Module]) -> bool:
    """Say whether layers are computed in FP8 now: they have such weights, and are trained."""
    return all(module.training and hasattr(module, _BUFFERS[0]) for module in modules)


def fp8_products(x: torch.Tensor, modules: Sequence[Any], a: torch.Tensor, bs: Tensors) -> Tensors:
    """Compute layers with one input, with their adapters; parameters are those of ``lora``'s op."""
    with torch.no_grad():
        quantized, scale = quantize(x, modules[0].fp8_weight.dtype)
    weights, scales, turned, turned_scales = (
        [getattr(module, name) for module in modules] for name in _BUFFERS
    )
    outs = _adapted(x, quantized, scale, weights, scales, turned, turned_scales, a, bs)
    return list(outs[:-1])


@torch.library.custom_op("preference_ensemble::adapted_fp8", mutates_args=())
def _adapted(
    x: torch.Tensor,
    quantized: torch.Tensor,
    scale: torch.Tensor,
    weights: Tensors,
    scales: Tensors,
    turned: Tensors,  # noqa: ARG001 - for the gradient
    turned_scales: Tensors,  # noqa: ARG001
    a: torch.Tensor,
    bs: Tensors,
) -> Tensors:
    """Give ``x @ w.T + (x @ a_i.T) @ b_i.T`` for each layer, and last ``x @ a.T``."""
    reduced = x @ a.T
    parts = reduced.chunk(len(bs), dim=1)
    outs = [
        scaled_product(quantized, weight, scale, of_weight).to(x.dtype)
        for weight, of_weight in zip(weights, scales, strict=True)
    ]
    for out, part, b in zip(outs, parts, bs, strict=True):
        out.addmm_(part, b.T)
    return [*outs, reduced]


@_adapted.register_fake
def _(
    x: torch.Tensor,
    quantized: torch.Tensor,  # noqa: ARG001
    scale: torch.Tensor,  # noqa: ARG001
    weights: Tensors,
    scales: Tensors,  # noqa: ARG001
    turned: Tensors,  # noqa: ARG001
    turned_scales: Tensors,  # noqa: ARG001
    a: torch.Tensor,
    bs: Tensors,  # noqa: ARG001
) -> Tensors:
    return empty_outputs(x, weights, a)


@torch.library.custom_op("preference_ensemble::adapted_fp8_backward", mutates_args=())
def _adapted_backward(
    grads: Tensors,
    quantized: Tensors,
    scales: Tensors,
    x: torch.Tensor,
    turned: Tensors,
    turned_scales: Tensors,
    a: torch.Tensor,
    bs: Tensors,
    reduced: torch.Tensor,
) -> Tensors:
    """Give the gradients of ``x``, of ``a`` and of each ``b``."""
    grad_x, *others = adapter_gradients(grads, x, a, bs, reduced)
    for grad, scale, weight, of_weight in zip(
        quantized, scales, turned, turned_scales, strict=True
    ):
        grad_x += scaled_product(grad, weight, scale, of_weight, fast=False)
    return [grad_x, *others]


@_adapted_backward.register_fake
def _(
    grads: Tensors,  # noqa: ARG001
    quantized: Tensors,  # noqa: ARG001
    scales: Tensors,  # noqa: ARG001
    x: torch.Tensor,
    turned: Tensors,  # noqa: ARG001
    turned_scales: Tensors,  # noqa: ARG001
    a: torch.Tensor,
    bs: Tensors,
    reduced: torch.Tensor,  # noqa: ARG001
) -> Tensors:
    return empty_gradients(x, a, bs)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
    x, quantized, _scale, _weights, _scales, turned, turned_scales, a, bs = inputs
    ctx.save_for_backward(x, a, output[-1], *turned, *turned_scales, *bs)
    ctx.layers, ctx.dtype = len(bs), quantized.dtype


def _backward(ctx: Any, grads: Tensors) -> tuple[Any, ...]:
    x, a, reduced, *rest = ctx.saved_tensors
    n = ctx.layers
    turned, turned_scales, bs = rest[:n], rest[n : 2 * n], rest[2 * n :]
    outs = [grad.contiguous() for grad in grads[:-1]]
    quantized, scales = zip(*(quantize(grad, ctx.dtype) for grad in outs), strict=True)
    grad_x, grad_a, *grad_bs = _adapted_backward(
        outs, list(quantized), list(scales), x, turned, turned_scales, a, bs, reduced
    )
    frozen = [[None] * n] * 4
    return grad_x, None, None, *frozen, grad_a, grad_bs


_adapted.register_autograd(_backward, setup_context=_remember)
