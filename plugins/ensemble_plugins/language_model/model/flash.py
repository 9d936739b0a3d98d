"""Attention of packed rows by FlashAttention-4, where it is installed and the GPU is one of Hopper.

Its kernels take 56 to 90% of FlexAttention's time there (``benchmarks/attention_blocks.py``).
Gradients come from its deterministic kernels: the same pass gives the same gradients again.

The package computes gradients by autograd functions, which torch.compile cannot look into. Its
``_flash_attn_fwd`` and ``_flash_attn_bwd`` are private, and are made operations here that are
opaque to the compiler. The package is in beta, and one version of it was tried: with another one,
or where it does not import, FlexAttention computes, and ``why_not`` says so. (Version 2 of
flash-attn, installed after it, leaves files of its own in its place.)

Packs have any number of rows. That what is compiled for one serves for others can be said to
torch.compile by ``torch._dynamo.mark_dynamic`` alone; should it go, packs fail on such a GPU.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Tensors = list[torch.Tensor]

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
    if capability != CAPABILITY or torch.version.hip is not None:
        return "it is used on NVIDIA's GPUs of compute capability 9.0 alone (H100, H200)"
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
    try:
        _kernels()
    except Exception as error:  # files of another package, other libraries: anything
        told = f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0]
        return f"it cannot be imported ({told}): install it again"
    return ""


def attend(
    states: Sequence[torch.Tensor],
    edges: torch.Tensor,
    *,
    queries: int,
    scaling: float,
    softcap: float | None,
    window: int | None,
) -> torch.Tensor:
    """Attend to the earlier tokens of the same row.

    Parameters
    ----------
    states
        Queries, keys and values, ``(t, heads, d)`` each; keys and values may have fewer heads. Or
        one tensor of all these heads, in that order: its gradient then is one tensor too.
    edges
        As ``places`` makes them.
    queries
        Heads of queries.
    scaling
        Factor of the scores.
    softcap
        Bound of the scores.
    window
        Tokens, itself included, that a token attends to at most.

    Returns
    -------
    Tensor
        ``(t, queries, d)``.
    """
    out: torch.Tensor
    out, _ = _attend(list(states), edges, queries, scaling, softcap or 0.0, window)
    return out


def places(starts: NDArray[np.int64], tokens: int, rows: int) -> NDArray[np.int32]:
    """Give ``(rows + 1,)`` where each row starts, and the last one ends.

    Parameters
    ----------
    starts
        ``(n,)`` of the rows of a pack.
    tokens
        Of the pack.
    rows
        Places for rows. Empty rows fill them, and the last one takes all tokens that are left. 0
        for as many as there are.
    """
    count = rows or len(starts)
    edges = np.full(count + 1, tokens, dtype=np.int32)
    edges[: min(count, len(starts))] = starts[:count]
    return edges


def for_any_number_of_rows(edges: torch.Tensor) -> torch.Tensor:
    """Have what is compiled for some edges serve for others as well."""
    torch._dynamo.mark_dynamic(edges, 0)
    return edges


@torch.library.custom_op("preference_ensemble::flash_attention", mutates_args=())
def _attend(
    states: Tensors,
    edges: torch.Tensor,
    queries: int,
    scaling: float,
    softcap: float,
    window: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give what is attended, and ``(queries, t)`` the logarithms of the sums of weights."""
    out, sums, *_ = _kernels().forward(
        *_parts(states, queries),
        softmax_scale=scaling,
        return_lse=True,
        **_options(edges, softcap, window),
    )
    return out, sums


@_attend.register_fake
def _(
    states: Tensors,
    edges: torch.Tensor,  # noqa: ARG001
    queries: int,
    scaling: float,  # noqa: ARG001
    softcap: float,  # noqa: ARG001
    window: int | None,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor]:
    tokens, size = len(states[0]), states[-1].shape[-1]  # as that of values
    sums = states[0].new_empty((queries, tokens), dtype=torch.float32)
    return states[0].new_empty((tokens, queries, size)), sums


@torch.library.custom_op("preference_ensemble::flash_attention_backward", mutates_args=())
def _attend_backward(
    grad: torch.Tensor,
    states: Tensors,
    out: torch.Tensor,
    sums: torch.Tensor,
    edges: torch.Tensor,
    scaling: float,
    softcap: float,
    window: int | None,
) -> Tensors:
    """Give the gradients of states."""
    queries = out.shape[1]
    grads = [part.new_empty(part.shape) for part in states]
    of_queries, of_keys, of_values = _parts(grads, queries)
    _kernels().backward(
        *_parts(states, queries),
        *(out, grad, sums),
        softmax_scale=scaling,
        deterministic=True,
        dq=of_queries,
        dk=of_keys,
        dv=of_values,
        **_options(edges, softcap, window),
    )
    return grads


@_attend_backward.register_fake
def _(
    grad: torch.Tensor,  # noqa: ARG001
    states: Tensors,
    out: torch.Tensor,  # noqa: ARG001
    sums: torch.Tensor,  # noqa: ARG001
    edges: torch.Tensor,  # noqa: ARG001
    scaling: float,  # noqa: ARG001
    softcap: float,  # noqa: ARG001
    window: int | None,  # noqa: ARG001
) -> Tensors:
    return [part.new_empty(part.shape) for part in states]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    states, edges, _queries, *options = inputs
    ctx.save_for_backward(*output, edges, *states)
    ctx.set_materialize_grads(False)
    ctx.options = options


def _backward(ctx: Any, grad: torch.Tensor, _grad_of_sums: None) -> tuple[Any, ...]:
    out, sums, edges, *states = ctx.saved_tensors
    grads = _attend_backward(grad.contiguous(), states, out, sums, edges, *ctx.options)
    return grads, None, None, None, None, None


_attend.register_autograd(_backward, setup_context=_remember)


def _parts(states: Tensors, queries: int) -> Sequence[torch.Tensor]:
    """Give queries, keys and values; of one tensor as views."""
    if len(states) > 1:
        return states
    keys = (states[0].shape[1] - queries) // 2
    parts: tuple[torch.Tensor, ...] = states[0].split([queries, keys, keys], dim=1)
    return parts


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
    found = import_module("flash_attn.cute.interface")
    # What its compiler says of an argument that nothing is given to.
    warnings.filterwarnings("ignore", message="Argument aux_data ", category=UserWarning)
    return SimpleNamespace(forward=found._flash_attn_fwd, backward=found._flash_attn_bwd)
