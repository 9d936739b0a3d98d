"""Language models at their true size with random weights, and rows as long as real battles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from device_time import DEVICE
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    Gemma2Config,
    Gemma2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from ensemble_plugins.language_model.model.classifier import Classifier
from ensemble_plugins.language_model.text.tokens import Tokens

if TYPE_CHECKING:
    from ensemble_plugins.language_model.settings import ModelSettings

LONGEST = 2048
SHAPES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gemma2": (
        Gemma2ForSequenceClassification,
        Gemma2Config,
        {
            "vocab_size": 256000,
            "hidden_size": 3584,
            "intermediate_size": 14336,
            "num_hidden_layers": 42,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "query_pre_attn_scalar": 224,
            "sliding_window": 4096,
            "num_labels": 3,
            "pad_token_id": 0,
        },
    ),
    "llama3": (
        LlamaForSequenceClassification,
        LlamaConfig,
        {
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
            "num_labels": 3,
            "pad_token_id": 0,
        },
    ),
    "deberta": (
        DebertaV2ForSequenceClassification,
        DebertaV2Config,
        {
            "vocab_size": 128100,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "relative_attention": True,
            "position_buckets": 256,
            "max_relative_positions": -1,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "type_vocab_size": 0,
            "max_position_embeddings": 512,
            "layer_norm_eps": 1e-7,
            "num_labels": 3,
            "pad_token_id": 0,
        },
    ),
}
CONFIGS: dict[str, tuple[Any, Any]] = {
    name: (kind, make(**shape)) for name, (kind, make, shape) in SHAPES.items()
}


def battle_rows(count: int, *, seed: int = 1) -> Tokens:
    """Draw rows with the lengths of real battles."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.exp(torch.randn(2048, generator=generator) * 0.9 + math.log(700))
    lengths = drawn.clamp(32, LONGEST).int().numpy()[:count]
    ids = np.random.default_rng(seed)
    return Tokens.from_rows([ids.integers(5, 120_000, n).astype(np.int32) for n in lengths])


def build(name: str, settings: ModelSettings, **options: Any) -> Classifier:
    """Make a model with random weights on the device."""
    kind, config = CONFIGS[name]
    config.use_cache = False
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32 if settings.tuning == "full" else torch.bfloat16)
    with DEVICE:
        base = kind(config)
    base.set_attn_implementation("eager")
    torch.set_default_dtype(torch.float32)
    return Classifier(base, settings, **options)


def operations(name: str, lengths: np.ndarray) -> float:
    """Count the floating-point operations of a forward pass over rows, every layer in full.

    Attention as if causal, and nothing for DeBERTa's positions: its share is understated.
    """
    kind, config = CONFIGS[name]
    with torch.device("meta"):
        linear = sum(
            p.numel()
            for key, p in kind(config).named_parameters()
            if p.ndim == 2 and "embed" not in key
        )
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    squares = (lengths.astype(float) ** 2).sum()
    return float(
        2 * linear * lengths.sum()
        + config.num_hidden_layers * 2 * config.num_attention_heads * size * squares
    )
