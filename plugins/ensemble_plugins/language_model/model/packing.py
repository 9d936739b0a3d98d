"""What packs depend on in a model: whether it takes them, its windows and the size of its heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def can_pack(model: PreTrainedModel) -> bool:
    """Say whether rows can be packed: a causal model that takes its attention from outside.

    Packed attention has no dropout: a model that is trained with some is left to padded batches.
    """
    return bool(
        not getattr(model.config.get_text_config(), "attention_dropout", 0.0)
        and model.is_backend_compatible()
        and isinstance(getattr(model, "score", None), nn.Linear)
        and hasattr(getattr(model, model.base_model_prefix), "layers")
    )


def find_windows(backbone: nn.Module) -> set[int | None]:
    """Give the sliding windows of a model's layers, and None for attention without one."""
    modules: list[Any] = list(backbone.modules())
    return {None} | {getattr(module, "sliding_window", None) for module in modules}


def find_head_size(model: PreTrainedModel) -> int:
    """Give the size of the heads of a model's attention."""
    config: Any = model.config
    size = getattr(config, "head_dim", None)
    return int(size or config.hidden_size // config.num_attention_heads)
