"""Tiny models with random weights, in the shape of the real ones, saved as checkpoints."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ensemble_plugins.language_model.model.classifier import Classifier
from ensemble_plugins.language_model.model.loading import load_classifier
from ensemble_plugins.language_model.settings import ModelSettings
from ensemble_plugins.language_model.text.tokens import Tokens

if TYPE_CHECKING:
    from pathlib import Path

tokenizers: Any = importlib.import_module("tests.plugins.language_model.tiny_tokenizers")

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
_DECODER = _SIZES | {"num_key_value_heads": 2, "head_dim": 8}
_VOCABULARY = 300
"""Least size of a vocabulary: drawn ids are below 250."""
_LARGE_WEIGHTS = 0.2
"""Spread of the weights: large, so that a fault shows in the logits."""


def configs(family: str, vocabulary: int) -> Any:
    """Make the config of a family: ``gemma2``, ``llama3``, ``qwen2``, ``deberta`` or ``bert``."""
    import transformers

    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "gemma2": (
            "Gemma2Config",
            _DECODER
            | {"query_pre_attn_scalar": 8, "sliding_window": 24, "attn_logit_softcapping": 3.0},
        ),
        "llama3": ("LlamaConfig", _DECODER),
        "qwen2": ("Qwen2Config", {k: v for k, v in _DECODER.items() if k != "head_dim"}),
        "deberta": (
            "DebertaV2Config",
            _SIZES
            | {
                "relative_attention": True,
                "position_buckets": 16,
                "pos_att_type": ["p2c", "c2p"],
                "share_att_key": True,
                "norm_rel_ebd": "layer_norm",
                "position_biased_input": False,
                "type_vocab_size": 0,
                "max_position_embeddings": 512,
            },
        ),
        "bert": ("BertConfig", _SIZES),
    }
    name, options = kinds[family]
    return getattr(transformers, name)(vocab_size=vocabulary, pad_token_id=0, **options)


def save_checkpoint(family: str, directory: Path, seed: int = 1) -> Path:
    """Save a tiny pretrained model of a family with its tokenizer; no head, as real ones."""
    from transformers import AutoModel

    makers = {"gemma2": tokenizers.gemma2_tokenizer, "llama3": tokenizers.llama3_tokenizer}
    tokenizer = makers.get(family, tokenizers.deberta_tokenizer)()
    torch.manual_seed(seed)
    model = AutoModel.from_config(configs(family, max(len(tokenizer), _VOCABULARY)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, _LARGE_WEIGHTS)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def classifier(family: str, directory: Path, *, moved: float = 0.1, **options: Any) -> Classifier:
    """Load a tiny checkpoint with adapters that have moved away from zero by about ``moved``."""
    settings = ModelSettings(str(save_checkpoint(family, directory)), rank=4, alpha=8.0, **options)
    made = load_classifier(settings, device=torch.device("cpu"), seed=3)
    torch.manual_seed(5)
    for name, parameter in made.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0.0, moved)
    return made


def random_tokens(lengths: list[int], *, vocabulary: int = 250, seed: int = 0) -> Tokens:
    """Draw rows of these lengths; ids from 10 on, so that none is special."""
    generator = np.random.default_rng(seed)
    return Tokens.from_rows(
        [generator.integers(10, vocabulary, length).astype(np.int32) for length in lengths]
    )
