"""What products of adapted layers have in common, whatever the frozen weights are computed in."""

from __future__ import annotations

import torch

Tensors = list[torch.Tensor]


def empty_outputs(x: torch.Tensor, weights: Tensors, a: torch.Tensor) -> Tensors:
    """Give tensors in the shapes of what the products give: each layer's output, and ``x @ a.T``.

    Parameters
    ----------
    x
        ``(n, inputs)``.
    weights
        ``(outputs_i, inputs)`` each.
    a
        ``(layers * rank, inputs)``.
    """
    return [x.new_empty(len(x), len(weight)) for weight in [*weights, a]]


def empty_gradients(x: torch.Tensor, a: torch.Tensor, bs: Tensors) -> Tensors:
    """Give tensors in the shapes of the gradients of ``x``, of ``a`` and of each ``b``."""
    return [torch.empty_like(x), torch.empty_like(a), *(torch.empty_like(b) for b in bs)]


def adapter_gradients(
    grads: Tensors, x: torch.Tensor, a: torch.Tensor, bs: Tensors, reduced: torch.Tensor
) -> Tensors:
    """Give the gradients by way of the adapters: of ``x``, of ``a`` and of each ``b``.

    Parameters
    ----------
    grads
        ``(n, outputs_i)`` each.
    x, a
        As in ``empty_outputs``.
    bs
        ``(outputs_i, rank)`` each, the scale in them.
    reduced
        ``x @ a.T``.
    """
    inner = torch.cat([grad @ b for grad, b in zip(grads, bs, strict=True)], dim=1)
    parts = reduced.chunk(len(bs), dim=1)
    grad_bs = [grad.T @ part for grad, part in zip(grads, parts, strict=True)]
    return [inner @ a, inner.T @ x, *grad_bs]
