"""What packs depend on in a model: whether it takes them, its windows and the size of its heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def why_padded(model: PreTrainedModel) -> str:
    """Say why rows are not packed, as far as the model's parts tell; empty where they may be.

    Packed attention is causal and comes from outside the model. It has no dropout: a model that is
    trained with some is left to padded batches.
    """
    if not isinstance(getattr(model, "score", None), nn.Linear):
        return "the model is no causal one with a linear head"
    config = model.config.get_text_config()
    if getattr(config, "attention_dropout", 0.0):
        return "its attention is trained with dropout"
    if looks_ahead(config):
        return "its tokens attend to those after them"
    if not model.is_backend_compatible():
        return "its attention cannot be replaced"
    if not hasattr(getattr(model, model.base_model_prefix), "layers"):
        return "its layers lie elsewhere than in most models"
    return ""


def looks_ahead(config: PreTrainedConfig) -> bool:
    """Say whether a decoder is made to attend both ways, as those that embed texts are."""
    both_ways = getattr(config, "use_bidirectional_attention", None)
    return both_ways in (True, "all") or not getattr(config, "is_causal", True)


def find_windows(backbone: nn.Module) -> set[int | None]:
    """Give the sliding windows of a model's layers, and None for attention without one."""
    modules: list[Any] = list(backbone.modules())
    return {None, *map(find_window, modules)}


def find_window(module: Any) -> int | None:
    """Give the sliding window of a layer's attention: its own, or that of all (Mistral, Phi-3)."""
    config = getattr(module, "config", None)
    window: int | None
    window = getattr(module, "sliding_window", getattr(config, "sliding_window", None))
    return window


def find_head_size(model: PreTrainedModel) -> int:
    """Give the size of the heads of queries and keys in a model's attention."""
    config: Any = model.config.get_text_config()
    # DeepSeek's head_dim is that of the part which is rotated.
    size = getattr(config, "qk_head_dim", None) or getattr(config, "head_dim", None)
    return int(size or config.hidden_size // config.num_attention_heads)
