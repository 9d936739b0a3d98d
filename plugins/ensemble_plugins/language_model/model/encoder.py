"""DeBERTa's attention to positions, without a gather.

DeBERTa adds to the score of a pair of tokens what their distance is worth to the one and to the
other. transformers takes a product with the embedding of each bucket of distances, and gathers from
it for every pair; the gradient of that adds up, one number after the other, thousands of pairs in
one place. Here the product is taken with the embedding of each distance, bucket by bucket repeated
(by a product with ones and zeros, for the same reason). Pairs of one distance lie on a diagonal, so
that each row of the product is the row of scores, moved on by one place: the same numbers seen in
another shape, and so is the gradient. What distances are worth is then the bias of PyTorch's own
attention, which keeps no scores, no probabilities and no dropout of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from ensemble_plugins.language_model.model.forward import replace_forward

if TYPE_CHECKING:
    from torch import nn

MULTIPLE = 16
"""What the width of padded batches is a multiple of on a GPU: with others attention is slower, and
compiled for both kinds."""

_MODULE = "transformers.models.deberta_v2.modeling_deberta_v2"


def patch_forward(backbone: nn.Module) -> int:
    """Let attention be computed here, in every layer that knows distances.

    Returns
    -------
    int
        How many layers do: none but those of DeBERTa-v2 and v3.
    """
    found = [
        module
        for module in backbone.modules()
        if type(module).__module__ == _MODULE and getattr(module, "relative_attention", False)
        if hasattr(module, "query_proj")
    ]
    for module in found:
        replace_forward(module, _forward)
    return len(found)


def _forward(
    module: Any,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor,
    output_attentions: bool = False,  # noqa: ARG001 - as transformers calls it
    query_states: torch.Tensor | None = None,
    relative_pos: torch.Tensor | None = None,
    rel_embeddings: torch.Tensor | None = None,
) -> tuple[torch.Tensor, None]:
    """Compute attention: ``(b, n, h)`` to ``(b, n, h)``.

    ``attention_mask`` is ``(b, 1, n, n)``; ``relative_pos`` is ``(1, n, n)``, the bucket of
    ``i - j`` as transformers makes it: the same for all rows and along each diagonal;
    ``rel_embeddings`` is ``(2 s, h)``.
    """
    assert relative_pos is not None  # noqa: S101 - transformers' encoder gives both
    assert rel_embeddings is not None  # noqa: S101
    asking = hidden_states if query_states is None else query_states
    query = _heads(module, module.query_proj(asking))
    key, value = (
        _heads(module, project(hidden_states)) for project in (module.key_proj, module.value_proj)
    )
    kinds = 1 + sum(kind in module.pos_att_type for kind in ("c2p", "p2c"))
    scale = (query.shape[-1] * kinds) ** -0.5
    embeddings = module.pos_dropout(rel_embeddings[: 2 * module.pos_ebd_size])
    buckets = _buckets(relative_pos, module.pos_ebd_size)
    bias = _worth(module, query, key, buckets, embeddings, scale)
    # Its own place says of a token whether it is padding; padding that asks may attend to any.
    attended = attention_mask.diagonal(dim1=-2, dim2=-1)[:, :, None].bool()
    out = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=bias.masked_fill(~attended, float("-inf")),
        dropout_p=module.dropout.p if module.training else 0.0,
        scale=scale,
    )
    return out.transpose(1, 2).flatten(2), None


def _worth(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    buckets: torch.Tensor,
    embeddings: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Give ``(b, heads, n, n)``: what distances are worth to ``(b, heads, n, d)`` states."""
    bucket = torch.arange(len(embeddings), device=buckets.device)
    worth = torch.zeros((), device=query.device, dtype=query.dtype)
    if "c2p" in module.pos_att_type:
        project = module.key_proj if module.share_att_key else module.pos_key_proj
        keys = _heads(module, project(embeddings) * scale)
        worth = worth + _by_diagonals(query, keys, buckets[:, None] == bucket)
    if "p2c" in module.pos_att_type:
        project = module.query_proj if module.share_att_key else module.pos_query_proj
        queries = _heads(module, project(embeddings) * scale)
        chosen = buckets.flip(0)[:, None] == bucket
        worth = worth + _by_diagonals(key, queries, chosen).transpose(-1, -2)
    return worth


def _buckets(relative_pos: torch.Tensor, span: int) -> torch.Tensor:
    """Give ``(2 n - 1,)`` the bucket of each distance from query to key, from ``n - 1`` down."""
    square = relative_pos.reshape(relative_pos.shape[-2:])
    distances = torch.cat([square[:, 0].flip(0), square[0, 1:]])
    return (distances + span).clamp(0, 2 * span - 1)


def _heads(module: Any, projected: torch.Tensor) -> torch.Tensor:
    """Give ``(..., heads, n, d)`` of ``(..., n, h)``."""
    out: torch.Tensor = projected.unflatten(-1, (module.num_attention_heads, -1))
    return out.transpose(-2, -3)


def _by_diagonals(
    states: torch.Tensor, embedded: torch.Tensor, chosen: torch.Tensor
) -> torch.Tensor:
    """Give at ``[..., i, j]`` ``states[..., i]`` times the embedding of diagonal ``n - 1 + j - i``.

    Parameters
    ----------
    states
        ``(b, heads, n, d)``.
    embedded
        ``(heads, 2 s, d)`` buckets.
    chosen
        ``(2 n - 1, 2 s)`` the bucket of each diagonal.
    """
    # One more, of zeros, which nobody reads: so a row begins one place further on than the last.
    ones = pad(chosen.to(embedded.dtype), (0, 0, 0, 1))
    products = torch.matmul(states, torch.matmul(ones, embedded).transpose(1, 2))
    out: torch.Tensor = _Moved.apply(products)  # type: ignore[no-untyped-call]
    return out


class _Moved(torch.autograd.Function):
    """Row ``i`` of ``(b, heads, n, 2 n)`` from its place ``n - 1 - i`` on: ``(b, heads, n, n)``."""

    @staticmethod
    def forward(products: torch.Tensor) -> torch.Tensor:
        batch, heads, n, _ = products.shape
        flat = products.view(batch, heads, 2 * n * n)[..., : n * (2 * n - 1)]
        return flat.view(batch, heads, n, 2 * n - 1)[..., n - 1 :]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        pass

    @staticmethod
    def backward(_ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        batch, heads, n, _ = grads[0].shape
        # The gradient of `view`, as autograd has it, divides each place by the width to find its
        # row. With zeros on both sides the next row is once more one place further on, and the
        # matrix product can read it so.
        wide = 3 * n - 1
        padded = pad(grads[0], (n - 1, n)).contiguous()
        strides = (heads * n * wide, n * wide, wide + 1, 1)
        return padded.as_strided((batch, heads, n, 2 * n), strides)
