"""Attention of packed rows: each token attends to the earlier tokens of its own row.

Registered with transformers under the name ``packed``, so that every model that takes its attention
from there computes packs. On CUDA it is FlashAttention-4, which is told where rows start, or
FlexAttention with a block mask that is known beforehand; elsewhere each row is computed by itself,
by torch's own, or in plain operations where scores are bounded.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from ensemble_plugins.language_model.model import flash
from ensemble_plugins.language_model.model.soft_capping import capped

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble_plugins.language_model.model.document_mask import DocumentMask

NAME = "packed"
"""What the attention is called in a model's config."""


def packed_attention(
    module: torch.nn.Module,  # noqa: ARG001 - the convention has it
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    row_mask: DocumentMask,
    dropout: float = 0.0,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention in transformers' calling convention.

    Parameters
    ----------
    module
        The attention layer; nothing of it is used.
    query, key, value
        ``(1, heads, t, d)``; key and value may have fewer heads.
    attention_mask
        Must be None: ``row_mask`` says who attends to whom.
    scaling
        Factor of the scores.
    row_mask
        The pack's mask.
    dropout
        Must be 0.
    softcap
        Bound of the scores: ``softcap * tanh(score / softcap)``.
    sliding_window
        Tokens, itself included, that a token attends to at most.

    Returns
    -------
    tuple
        ``(1, t, heads, d)`` and None.
    """
    if dropout or attention_mask is not None:
        raise ValueError("packed attention takes no dropout and no other mask than its own")
    if row_mask.edges is not None:
        states = [part[0].transpose(0, 1) for part in (query, key, value)]
        return _by_flash(
            states,
            row_mask,
            query.shape[1],
            scaling=scaling,
            softcap=softcap,
            sliding_window=sliding_window,
        ), None
    if query.is_cuda:
        compute: Callable[..., Any] = flex_attention if torch.compiler.is_compiling() else _flex()
        out = compute(
            query,
            key,
            value,
            score_mod=capped(softcap),
            block_mask=row_mask.blocks[sliding_window],
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
            kernel_options=row_mask.kernel.options or None,
        )
    else:
        out = _by_rows(query, key, value, row_mask, scaling, softcap, sliding_window)
    return out.transpose(1, 2).contiguous(), None


def joined_attention(
    heads: torch.Tensor, row_mask: DocumentMask, queries: int, **options: Any
) -> torch.Tensor:
    """Compute attention of one tensor with the heads of queries, keys and values.

    Parameters
    ----------
    heads
        ``(1, t, heads, d)``, those of queries first and those of values last.
    row_mask
        The pack's mask, which has edges.
    queries
        Heads of queries.
    **options
        ``scaling``, ``softcap`` and ``sliding_window``, as in ``packed_attention``.

    Returns
    -------
    Tensor
        ``(1, t, queries, d)``.
    """
    return _by_flash([heads[0]], row_mask, queries, **options)


def _by_flash(
    states: list[torch.Tensor],
    row_mask: DocumentMask,
    queries: int,
    *,
    scaling: float,
    softcap: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    assert row_mask.edges is not None  # noqa: S101 - whoever calls it has looked
    attended = flash.attend(
        states,
        row_mask.edges,
        queries=queries,
        scaling=scaling,
        softcap=softcap,
        window=row_mask.reached[sliding_window],
    )
    return attended[None]


def read_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    row_mask: DocumentMask,
    *,
    scaling: float,
    softcap: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    """Compute attention of the tokens that are read alone: ``(1, heads, n, d)``.

    Parameters
    ----------
    query
        ``(1, heads, n, d)``, one a row of the pack.
    key, value
        ``(1, kv_heads, t, d)``.
    row_mask, scaling, softcap, sliding_window
        As in ``packed_attention``.
    """
    place = torch.arange(key.shape[2], device=key.device)
    lowest = row_mask.lowest[sliding_window][row_mask.read]
    mask = (place >= lowest[:, None]) & (place <= row_mask.read[:, None])
    return _written_out(query, key, value, mask, scaling, softcap)


def _by_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    row_mask: DocumentMask,
    scaling: float,
    softcap: float | None,
    window: int | None,
) -> torch.Tensor:
    parts = []
    for start, end in row_mask.bounds():
        q, k, v = (part[:, :, start:end] for part in (query, key, value))
        parts.append(_of_row(q, k, v, scaling, softcap, window))
    return torch.cat(parts, dim=2)


def _of_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    softcap: float | None,
    window: int | None,
) -> torch.Tensor:
    n = query.shape[2]
    whole = window is None or n <= window
    if softcap is None and whole:
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
    place = torch.arange(n, device=query.device)
    ahead = place[:, None] - place[None, :]
    mask = (ahead >= 0) & (ahead < (window or n))
    if softcap is None:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True
        )
    return _written_out(query, key, value, mask, scaling, softcap)


def _written_out(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    softcap: float | None,
) -> torch.Tensor:
    """Attention in plain operations, softmax in float32, as transformers' eager path has it."""
    batch, heads, n, d = query.shape
    grouped = query.reshape(batch, key.shape[1], heads // key.shape[1], n, d)
    scores = (grouped @ key.transpose(2, 3)[:, :, None]) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.float().masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=-1).to(value.dtype)
    return (weights @ value[:, :, None]).reshape(batch, heads, n, d)


@cache
def _flex() -> Any:
    return torch.compile(flex_attention)


def register() -> None:
    """Make the attention known to transformers; calling it again changes nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
