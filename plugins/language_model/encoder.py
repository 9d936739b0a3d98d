"""DeBERTa's attention to positions, without a gather.

DeBERTa adds to the score of a pair of tokens what their distance is worth to the one and to the
other. transformers takes a product with the embedding of each bucket of distances, and gathers from
it for every pair; the gradient of that adds up, one number after the other, thousands of pairs in
one place. Here the product is taken with the embedding of each distance, bucket by bucket repeated
(by a product with ones and zeros, for the same reason). Pairs of one distance lie on a diagonal, so
that each row of the product is the row of scores, moved on by one place: the same numbers by a
change of shape, whose gradient is a copy.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

METHOD = "disentangled_attention_bias"
"""The method of transformers' module that is computed here."""

_MODULE = "transformers.models.deberta_v2.modeling_deberta_v2"


def take_over(backbone: nn.Module) -> int:
    """Let what distances are worth be computed here, in every layer that has it.

    Returns
    -------
    int
        How many layers have it: none but those of DeBERTa-v2 and v3.
    """
    found = [
        module
        for module in backbone.modules()
        if type(module).__module__ == _MODULE and hasattr(module, METHOD)
    ]
    for module in found:
        setattr(module, METHOD, types.MethodType(_position_scores, module))
    return len(found)


def _position_scores(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    relative_pos: torch.Tensor,
    rel_embeddings: torch.Tensor,
    scale_factor: int,
) -> torch.Tensor:
    """Give ``(b * heads, n, n)`` scores, from queries and keys ``(b * heads, n, d)``.

    ``relative_pos`` is ``(1, n, n)``, the bucket of ``i - j`` as transformers makes it: the same
    for all batches and along each diagonal. ``rel_embeddings`` is ``(2 s, h)``.
    """
    embeddings = rel_embeddings[: 2 * module.pos_ebd_size]
    buckets = _buckets(relative_pos, module.pos_ebd_size)
    bucket = torch.arange(len(embeddings), device=buckets.device)
    scale = (query.shape[-1] * scale_factor) ** 0.5
    scores = torch.zeros((), device=query.device, dtype=query.dtype)
    if "c2p" in module.pos_att_type:
        project = module.key_proj if module.share_att_key else module.pos_key_proj
        keys = _heads(module, project(embeddings) / scale)
        scores = scores + _by_diagonals(query, keys, buckets[:, None] == bucket)
    if "p2c" in module.pos_att_type:
        project = module.query_proj if module.share_att_key else module.pos_query_proj
        queries = _heads(module, project(embeddings) / scale)
        chosen = buckets.flip(0)[:, None] == bucket
        scores = scores + _by_diagonals(key, queries, chosen).transpose(1, 2)
    return scores


def _buckets(relative_pos: torch.Tensor, span: int) -> torch.Tensor:
    """Give ``(2 n - 1,)`` the bucket of each distance from query to key, from ``n - 1`` down."""
    square = relative_pos.reshape(relative_pos.shape[-2:])
    distances = torch.cat([square[:, 0].flip(0), square[0, 1:]])
    return (distances + span).clamp(0, 2 * span - 1)


def _heads(module: Any, projected: torch.Tensor) -> torch.Tensor:
    return projected.view(len(projected), module.num_attention_heads, -1).transpose(0, 1)


def _by_diagonals(
    states: torch.Tensor, embedded: torch.Tensor, chosen: torch.Tensor
) -> torch.Tensor:
    """Give ``out[b, i, j]``: ``states[b, i]`` times the embedding of diagonal ``n - 1 + j - i``.

    Parameters
    ----------
    states
        ``(b * heads, n, d)``.
    embedded
        ``(heads, 2 s, d)`` buckets.
    chosen
        ``(2 n - 1, 2 s)`` the bucket of each diagonal.
    """
    batch, n, size = states.shape
    heads = len(embedded)
    # One more, of zeros, which nobody reads: so a row begins one place further on than the last.
    ones = torch.nn.functional.pad(chosen.to(embedded.dtype), (0, 0, 0, 1))
    distances = torch.matmul(ones, embedded).transpose(1, 2)
    products = torch.matmul(states.view(-1, heads, n, size), distances).view(batch, 2 * n * n)
    return products[:, : n * (2 * n - 1)].view(batch, n, 2 * n - 1)[:, :, n - 1 :]
