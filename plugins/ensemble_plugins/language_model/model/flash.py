"""Attention of packed rows by FlashAttention-4, where it is installed and the GPU is one of Hopper.

Its kernels take two thirds of FlexAttention's time there (``benchmarks/attention_blocks.py``).
Gradients come from its deterministic kernels: the same pass gives the same gradients again.

The package computes gradients by autograd functions, which torch.compile cannot look into. Its
``_flash_attn_fwd`` and ``_flash_attn_bwd`` are private, and are made operations here that are
opaque to the compiler. Of a package that is still in beta exactly one version is known to work:
with another one FlexAttention computes, and ``why_not`` says so.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

NAME = "FlashAttention-4"
VERSION = "4.0.0b36"
"""What the extra ``flash`` installs."""

CAPABILITY = (9, 0)
SIZES = frozenset({64, 128, 256})
"""Sizes of heads, and the compute capability, that it was measured with."""


@cache
def why_not(capability: tuple[int, int], head_size: int, activations: torch.dtype) -> str:
    """Say why it does not compute packs; empty where it does.

    Parameters
    ----------
    capability
        Compute capability of the GPU.
    head_size
        Of the model's attention.
    activations
        What queries, keys and values are computed in.
    """
    if capability != CAPABILITY:
        return "it is used on GPUs of compute capability 9.0 alone (H100, H200)"
    if head_size not in SIZES:
        return f"it is not used for heads of {head_size}"
    if activations is not torch.bfloat16:
        return f"it does not compute {str(activations).removeprefix('torch.')}"
    return _why_missing()


def _why_missing() -> str:
    try:
        found = version("flash-attn-4")
    except PackageNotFoundError:
        return "it is not installed (the extra 'flash')"
    if found != VERSION:
        return f"version {found} of it is untried: install flash-attn-4=={VERSION}"
    return ""


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    edges: torch.Tensor,
    *,
    scaling: float,
    softcap: float | None,
    window: int | None,
) -> torch.Tensor:
    """Attend to the earlier tokens of the same row.

    Parameters
    ----------
    query, key, value
        ``(t, heads, d)``; key and value may have fewer heads.
    edges
        ``(n + 1,)`` int32 on the device: where each row starts, and the last one ends. Rows may be
        empty.
    scaling
        Factor of the scores.
    softcap
        Bound of the scores.
    window
        Tokens, itself included, that a token attends to at most.

    Returns
    -------
    Tensor
        ``(t, heads, d)``.
    """
    reached = window is not None and window < len(query)
    out: torch.Tensor
    out, _ = _attend(query, key, value, edges, scaling, softcap or 0.0, window if reached else None)
    return out


@torch.library.custom_op("preference_ensemble::flash_attention", mutates_args=())
def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    edges: torch.Tensor,
    scaling: float,
    softcap: float,
    window: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give what is attended, and ``(heads, t)`` the logarithms of the sums of weights."""
    options = _options(edges, softcap, window)
    found = _kernels()._flash_attn_fwd(
        query, key, value, softmax_scale=scaling, return_lse=True, **options
    )
    return found[0], found[1]


@_attend.register_fake
def _(
    query: torch.Tensor,
    key: torch.Tensor,  # noqa: ARG001
    value: torch.Tensor,  # noqa: ARG001
    edges: torch.Tensor,  # noqa: ARG001
    scaling: float,  # noqa: ARG001
    softcap: float,  # noqa: ARG001
    window: int | None,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor]:
    tokens, heads, _size = query.shape
    sums = query.new_empty((heads, tokens), dtype=torch.float32)
    return query.new_empty(query.shape), sums


@torch.library.custom_op("preference_ensemble::flash_attention_backward", mutates_args=())
def _attend_backward(
    grad: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    sums: torch.Tensor,
    edges: torch.Tensor,
    scaling: float,
    softcap: float,
    window: int | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give the gradients of queries, keys and values."""
    options = _options(edges, softcap, window)
    found = _kernels()._flash_attn_bwd(
        *(query, key, value, out, grad, sums),
        softmax_scale=scaling,
        deterministic=True,
        **options,
    )
    return found[0], found[1], found[2]


@_attend_backward.register_fake
def _(
    grad: torch.Tensor,  # noqa: ARG001
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,  # noqa: ARG001
    sums: torch.Tensor,  # noqa: ARG001
    edges: torch.Tensor,  # noqa: ARG001
    scaling: float,  # noqa: ARG001
    softcap: float,  # noqa: ARG001
    window: int | None,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    query, key, value = (part.new_empty(part.shape) for part in (query, key, value))
    return query, key, value


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    *tensors, scaling, softcap, window = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.set_materialize_grads(False)
    ctx.options = scaling, softcap, window


def _backward(ctx: Any, grad: torch.Tensor, _grad_of_sums: None) -> tuple[Any, ...]:
    query, key, value, edges, out, sums = ctx.saved_tensors
    grads = _attend_backward(grad.contiguous(), query, key, value, out, sums, edges, *ctx.options)
    return *grads, None, None, None, None


_attend.register_autograd(_backward, setup_context=_remember)


def _options(edges: torch.Tensor, softcap: float, window: int | None) -> dict[str, Any]:
    return {
        "causal": True,
        "softcap": softcap,
        "window_size_left": None if window is None else window - 1,
        "window_size_right": None if window is None else 0,
        "cu_seqlens_q": edges,
        "cu_seqlens_k": edges,
    }


@cache
def _kernels() -> Any:
    return import_module("flash_attn.cute.interface")
