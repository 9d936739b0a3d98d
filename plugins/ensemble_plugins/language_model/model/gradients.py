"""Gradients of many small parameters, added up in few kernels.

``loss.backward()`` adds each by itself. ``torch._foreach_add_`` adds lists of tensors; PyTorch's
documentation has it, and its name is still private. Should it go, training fails at once.
"""

from __future__ import annotations

import torch


def add_gradients(loss: torch.Tensor, parameters: list[torch.nn.Parameter]) -> None:
    """Add the gradient of a loss to those of parameters: of many small ones in few kernels.

    ``loss.backward()`` adds each by itself.
    """
    found: tuple[torch.Tensor | None, ...]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    sums, gradients = [], []
    for parameter, gradient in zip(parameters, found, strict=True):
        if gradient is not None:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(gradient)
            sums.append(parameter.grad)
            gradients.append(gradient)
    torch._foreach_add_(sums, gradients)
