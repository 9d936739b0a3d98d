"""Linear layers and their adapters as few, large matrix products.

PEFT computes ``base(x) + B(A(x)) * scale`` as separate tensors of the output's size, in float32.
Here the rank-r product comes first, in the dtype of the activations, and the large one adds itself
to it, so that reading the output again hides behind the computing: the other way round it does not.
The adapters themselves stay float32. Layers that take the same input share the products that read
it. Forward and backward are opaque to the compiler, which could not fuse a matrix product anyway.
Small models are trained with sums of weights and adapters instead: ``merged`` says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from torch.nn.functional import linear

from ensemble_plugins.language_model.model.adapted import (
    adapter_gradients,
    empty_gradients,
    empty_outputs,
)
from ensemble_plugins.language_model.model.forward import replace_forward
from ensemble_plugins.language_model.model.fp8_training import computes_in_fp8, fp8_products
from ensemble_plugins.language_model.model.heads import adapted_names, saved_names
from ensemble_plugins.language_model.model.merged import merged_weight

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ensemble_plugins.language_model.settings import ModelSettings

ADAPTER = "default"
"""PEFT's name for the only adapter."""

Tensors = list[torch.Tensor]


@torch.library.custom_op("preference_ensemble::adapted", mutates_args=())
def _adapted(x: torch.Tensor, weights: Tensors, a: torch.Tensor, bs: Tensors) -> Tensors:
    """Give ``x @ w.T + (x @ a_i.T) @ b_i.T`` for each layer, and last ``x @ a.T``.

    Parameters
    ----------
    x
        ``(n, inputs)``.
    weights
        ``(outputs_i, inputs)`` each; frozen.
    a
        ``(layers * rank, inputs)``: the first adapters, one below the other.
    bs
        ``(outputs_i, rank)`` each, the scale in them.
    """
    reduced = x @ a.T
    parts = reduced.chunk(len(bs), dim=1)
    outs = [part @ b.T for part, b in zip(parts, bs, strict=True)]
    for out, weight in zip(outs, weights, strict=True):
        out.addmm_(x, weight.T)
    return [*outs, reduced]


@_adapted.register_fake
def _(x: torch.Tensor, weights: Tensors, a: torch.Tensor, bs: Tensors) -> Tensors:  # noqa: ARG001
    return empty_outputs(x, weights, a)


@torch.library.custom_op("preference_ensemble::adapted_backward", mutates_args=())
def _adapted_backward(
    grads: Tensors,
    x: torch.Tensor,
    weights: Tensors,
    a: torch.Tensor,
    bs: Tensors,
    reduced: torch.Tensor,
) -> Tensors:
    """Give the gradients of ``x``, of ``a`` and of each ``b``."""
    grad_x, *others = adapter_gradients(grads, x, a, bs, reduced)
    for grad, weight in zip(grads, weights, strict=True):
        grad_x.addmm_(grad, weight)
    return [grad_x, *others]


@_adapted_backward.register_fake
def _(
    grads: Tensors,  # noqa: ARG001
    x: torch.Tensor,
    weights: Tensors,  # noqa: ARG001
    a: torch.Tensor,
    bs: Tensors,
    reduced: torch.Tensor,  # noqa: ARG001
) -> Tensors:
    return empty_gradients(x, a, bs)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
    x, weights, a, bs = inputs
    ctx.save_for_backward(x, a, output[-1], *weights, *bs)
    ctx.layers = len(bs)


def _backward(ctx: Any, grads: Tensors) -> tuple[Any, ...]:
    x, a, reduced, *rest = ctx.saved_tensors
    weights, bs = rest[: ctx.layers], rest[ctx.layers :]
    outs = [grad.contiguous() for grad in grads[:-1]]
    grad_x, grad_a, *grad_bs = _adapted_backward(outs, x, weights, a, bs, reduced)
    return grad_x, [None] * ctx.layers, grad_a, grad_bs


_adapted.register_autograd(_backward, setup_context=_remember)


def add_adapters(
    base: PreTrainedModel, settings: ModelSettings, head: tuple[str, ...]
) -> nn.Module:
    """Add LoRA adapters and mark the head as trained; with full tuning the model as it is."""
    if settings.tuning == "full":
        return base.requires_grad_(requires_grad=True)
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type] # any number serves
        lora_dropout=settings.dropout,
        target_modules=adapted_names(base, head, settings.modules),
        modules_to_save=saved_names(head),
    )
    return get_peft_model(base, config, adapter_name=ADAPTER)


def merge_adapters(model: nn.Module) -> PreTrainedModel:
    """Merge adapters into the weights that they adapt, and give the model without them."""
    return model.merge_and_unload()  # type: ignore[operator, no-any-return]


def fuse_adapters(model: nn.Module) -> None:
    """Give every plain LoRA layer over an unquantized linear layer the product above.

    Layers with dropout, with a variant of LoRA or over quantized weights keep PEFT's own.
    """
    for module in model.modules():
        if is_plain_adapter(module):
            replace_forward(module, _forward)


def plain_adapters(model: nn.Module) -> list[tuple[nn.Module, nn.Linear]]:
    """Give the LoRA layers that the product above computes, each with what it adapts."""
    return [(m, m.get_base_layer()) for m in model.modules() if is_plain_adapter(m)]  # type: ignore[operator]


def is_plain_adapter(module: Any) -> bool:
    """Say whether a module is a LoRA layer that the product above computes."""
    return (
        isinstance(module, LoraLinear)
        and type(module.get_base_layer()) is nn.Linear
        and list(module.lora_A) == [ADAPTER]
        and not module.lora_variant
        and isinstance(module.lora_dropout[ADAPTER], nn.Identity)
        and module.lora_B[ADAPTER].bias is None
    )


def _forward(module: LoraLinear, x: torch.Tensor) -> torch.Tensor:
    return project(x, [module])[0]


def project(x: torch.Tensor, modules: list[Any]) -> Tensors:
    """Compute linear layers that take the same input, with or without adapters.

    Parameters
    ----------
    x
        ``(..., inputs)``.
    modules
        The layers; plain adapters are computed together, anything else by itself.

    Returns
    -------
    list of Tensor
        ``(..., outputs)`` of each.
    """
    if not all(is_plain_adapter(module) for module in modules):
        return [module(x) for module in modules]
    bases = [module.get_base_layer() for module in modules]
    dtype = bases[0].weight.dtype
    flat = x.reshape(-1, x.shape[-1]).to(dtype)
    merged = _merged(modules)
    if merged:
        outs = [linear(flat, weight, base.bias) for weight, base in zip(merged, bases, strict=True)]
        return [out.reshape(*x.shape[:-1], -1) for out in outs]
    a = torch.cat([module.lora_A[ADAPTER].weight for module in modules]).to(dtype)
    bs = [(m.lora_B[ADAPTER].weight * m.scaling[ADAPTER]).to(dtype) for m in modules]
    if computes_in_fp8(modules):
        outs = fp8_products(flat, modules, a, bs)
    else:
        *outs, _reduced = _adapted(flat, [base.weight for base in bases], a, bs)
    biased = [
        out if base.bias is None else out + base.bias for out, base in zip(outs, bases, strict=True)
    ]
    return [out.reshape(*x.shape[:-1], -1) for out in biased]


def project_joined(x: torch.Tensor, modules: list[Any]) -> torch.Tensor | None:
    """Compute layers that take the same input as one product, where all have sums of weights.

    Returns
    -------
    Tensor or None
        ``(..., all outputs)``. None where they are computed otherwise.
    """
    weights = _merged(modules)
    if len(weights) < len(modules):
        return None
    biases = [module.get_base_layer().bias for module in modules]
    if any(bias is None for bias in biases) and any(bias is not None for bias in biases):
        return None
    return linear(
        x.to(weights[0].dtype),
        torch.cat(weights),
        None if biases[0] is None else torch.cat(biases),
    )


def _merged(modules: list[Any]) -> Tensors:
    return [weight for weight in map(merged_weight, modules) if weight is not None]
