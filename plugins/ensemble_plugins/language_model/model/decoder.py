"""Decoder layers: adapters of layers with one input together, the last layer for read tokens alone.

Layers of the kinds listed here are computed by the functions of this file, which read transformers'
modules and weights, so that adapters and checkpoints stay what they are. Other models are computed
by transformers. Query, key and value are one product where weights are small enough for sums with
their adapters, and where attention gives their gradients together. (Elsewhere it was tried, as for
gate and up: of large models the library's kernels for the wider matrices are slower, of small ones
what the compiler makes of putting gradients together.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ensemble_plugins.language_model.model import attention
from ensemble_plugins.language_model.model.forward import replace_forward, replacement
from ensemble_plugins.language_model.model.lora import project, project_joined
from ensemble_plugins.language_model.model.packing import find_window

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble_plugins.language_model.model.document_mask import DocumentMask

    Rotation = tuple[torch.Tensor, torch.Tensor]

KNOWN = (
    *("LlamaDecoderLayer", "Gemma2DecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer"),
    *("Gemma3DecoderLayer", "Qwen3DecoderLayer"),
)
"""Kinds of layers that this file computes: each is held against transformers by the tests."""


def patch_forward(backbone: nn.Module) -> bool:
    """Let the layers of a decoder be computed here.

    Returns
    -------
    bool
        False where they are of another kind, and are left to transformers.
    """
    layers: Any = backbone.layers
    if any(type(layer).__name__ not in KNOWN for layer in layers):
        return False
    for layer in layers:
        replace_forward(layer, _forward)
    replace_forward(layers[-1], _forward_read)
    return True


def reads_early(layer: nn.Module) -> bool:
    """Say whether a layer gives the read tokens alone."""
    return replacement(layer) is _forward_read


def _forward(
    layer: Any,
    hidden_states: torch.Tensor,
    position_embeddings: Rotation,
    row_mask: DocumentMask,
    **_: Any,
) -> torch.Tensor:
    """Compute a layer: ``(1, t, h)`` to ``(1, t, h)``."""
    module = layer.self_attn
    normed = layer.input_layernorm(hidden_states)
    out = _attended(module, normed, position_embeddings, row_mask)
    return _complete(layer, hidden_states, module.o_proj(out.flatten(2)))


def _attended(
    module: Any, normed: torch.Tensor, rotation: Rotation, row_mask: DocumentMask
) -> torch.Tensor:
    """Compute attention: ``(1, t, h)`` to ``(1, t, heads, d)``."""
    layers = [module.q_proj, module.k_proj, module.v_proj]
    joined = None if row_mask.edges is None else project_joined(normed, layers)
    if joined is not None:
        heads = _heads(module, joined)
        queries = heads.shape[2] - 2 * _count_keys(module, heads)
        turned = _turned(module, heads, queries, *rotation)
        return attention.joined_attention(turned, row_mask, queries, **_options(module))
    query, key, value = project(normed, layers)
    out, _weights = attention.packed_attention(
        module,
        _rotate(_queries(module, query), *rotation).transpose(1, 2),
        _rotate(_keys(module, key), *rotation).transpose(1, 2),
        _heads(module, value).transpose(1, 2),
        None,
        row_mask=row_mask,
        **_options(module),
    )
    return out


def _forward_read(
    layer: Any,
    hidden_states: torch.Tensor,
    position_embeddings: Rotation,
    row_mask: DocumentMask,
    **_: Any,
) -> torch.Tensor:
    """Compute a layer for one token a row: ``(1, t, h)`` to ``(1, n, h)``."""
    module, read = layer.self_attn, row_mask.read
    cos, sin = position_embeddings
    normed = layer.input_layernorm(hidden_states)
    query = _queries(module, module.q_proj(normed[:, read]))
    out = attention.read_attention(
        _rotate(query, cos[:, read], sin[:, read]).transpose(1, 2),
        _rotate(_keys(module, module.k_proj(normed)), cos, sin).transpose(1, 2),
        _heads(module, module.v_proj(normed)).transpose(1, 2),
        row_mask,
        **_options(module),
    )
    attended = module.o_proj(out.transpose(1, 2).flatten(2))
    return _complete(layer, hidden_states[:, read], attended)


def _complete(layer: Any, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """Add what was attended, then the MLP: with norms before each, or on both sides of each."""
    if hasattr(layer, "pre_feedforward_layernorm"):  # Gemma-2
        hidden = hidden + layer.post_attention_layernorm(attended)
        out = _mlp(layer.mlp, layer.pre_feedforward_layernorm(hidden))
        normed: torch.Tensor = layer.post_feedforward_layernorm(out)
        return hidden + normed
    hidden = hidden + attended
    return hidden + _mlp(layer.mlp, layer.post_attention_layernorm(hidden))


def _mlp(module: Any, x: torch.Tensor) -> torch.Tensor:
    gate, up = project(x, [module.gate_proj, module.up_proj])
    activation: Callable[[torch.Tensor], torch.Tensor] = module.act_fn
    out: torch.Tensor = module.down_proj(activation(gate) * up)
    return out


def _heads(module: Any, projected: torch.Tensor) -> torch.Tensor:
    return projected.view(*projected.shape[:-1], -1, module.head_dim)


def _queries(module: Any, projected: torch.Tensor) -> torch.Tensor:
    """Give the heads of queries, with the norm of each where there is one (Gemma-3, Qwen-3)."""
    heads = _heads(module, projected)
    return module.q_norm(heads) if hasattr(module, "q_norm") else heads


def _keys(module: Any, projected: torch.Tensor) -> torch.Tensor:
    heads = _heads(module, projected)
    return module.k_norm(heads) if hasattr(module, "k_norm") else heads


def _count_keys(module: Any, heads: torch.Tensor) -> int:
    """Give the heads of keys among those of queries, keys and values."""
    return int(heads.shape[2] // (module.num_key_value_groups + 2))


def _turned(
    module: Any, heads: torch.Tensor, queries: int, cos: torch.Tensor, sin: torch.Tensor
) -> torch.Tensor:
    """Make ``(1, t, heads, d)`` ready for attention: norms and rotation of all but the values."""
    place = torch.arange(heads.shape[2], device=heads.device)[:, None]
    states = heads
    if hasattr(module, "q_norm"):
        states = torch.where(place < queries, module.q_norm(heads), module.k_norm(heads))
    values = place >= queries + _count_keys(module, heads)
    return torch.where(values, heads, _rotate(states, cos, sin))


def _options(module: Any) -> dict[str, Any]:
    return {
        "scaling": module.scaling,
        "softcap": getattr(module, "attn_logit_softcapping", None),
        "sliding_window": find_window(module),
    }


def _rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Apply rotary embeddings ``(1, t, d)`` to ``(1, t, heads, d)``, halves as pairs.

    Before the heads come first: attention then writes its output as the next product reads it.
    """
    low, high = states.chunk(2, dim=-1)
    turned = torch.cat((-high, low), dim=-1)
    return states * cos[:, :, None] + turned * sin[:, :, None]
