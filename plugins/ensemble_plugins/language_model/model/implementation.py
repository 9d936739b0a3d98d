"""Which attention a transformers model computes: asked for, and set for a while.

``set_attn_implementation`` is public. To put back what was there before, one has to know it, and
transformers has no public way to ask, in 5.10 as in 5.24: its own models read
``config._attn_implementation``.

Should that be renamed, looking it up fails. Should it say something else than what was set, a check
would leave a model with another attention than it had, to which a pack is one long row.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedConfig, PreTrainedModel


def attention_of(model: PreTrainedModel) -> str:
    """Name the attention that a model computes."""
    name: str = model.config._attn_implementation
    return name


def reset_attention(config: PreTrainedConfig) -> None:
    """Let transformers choose the attention, whatever kernels a checkpoint asks for."""
    config._attn_implementation = None


@contextmanager
def eager_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let a model compute attention in transformers' own plain operations, for a while."""
    kept = attention_of(model)
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(kept)
