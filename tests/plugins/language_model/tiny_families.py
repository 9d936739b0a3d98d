"""Tiny random models of many families, each with a tokenizer of its kind."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch
import transformers

if TYPE_CHECKING:
    from pathlib import Path

tokenizers: Any = importlib.import_module("tests.plugins.language_model.tokenizer_zoo")

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = SIZES | {"num_key_value_heads": 2}
WINDOWS = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
DECODERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("LlamaConfig", {}, "smollm"),
    "mistral": ("MistralConfig", {"sliding_window": 12}, "mistral"),
    "qwen2": ("Qwen2Config", {}, "qwen"),
    "qwen2-windows": (
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": 12, **WINDOWS},
        "qwen",
    ),
    "qwen3": ("Qwen3Config", {"head_dim": 16}, "qwen"),
    "gemma2": ("Gemma2Config", {"head_dim": 8, "sliding_window": 12}, "gemma"),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 16, "sliding_window": 12, **WINDOWS}, "gemma"),
    "phi3": ("Phi3Config", {"sliding_window": 12}, "phi"),
    "phi4-mini": ("Phi3Config", {"partial_rotary_factor": 0.75, "head_dim": 16}, "phi"),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0, 1]}, "llama2"),
    "olmo2": ("Olmo2Config", {}, "unigram"),
    "phi": ("PhiConfig", {"partial_rotary_factor": 0.5}, "qwen"),
    "glm": ("GlmConfig", {"partial_rotary_factor": 0.5, "head_dim": 16}, "smollm"),
}
ENCODERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert": ("BertConfig", {}, "bert"),
    "deberta": ("DebertaV2Config", {"relative_attention": True, "pos_att_type": ["c2p"]}, "xlmr"),
    "modernbert": ("ModernBertConfig", {"local_attention": 16}, "modernbert"),
    "xlmr": ("XLMRobertaConfig", {"max_position_embeddings": 300}, "xlmr"),
}


def save(family: str, directory: Path) -> Path:
    """Save a tiny pretrained model of a family with a tokenizer of its kind."""
    name, options, kind = (DECODERS | ENCODERS)[family]
    tokenizer = tokenizers.MAKERS[kind]()
    sizes = GROUPED if family in DECODERS else SIZES
    config = getattr(transformers, name)(
        **{"vocab_size": max(300, len(tokenizer)), **sizes, **options}
    )
    torch.manual_seed(1)
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
