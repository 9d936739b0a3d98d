"""Tiny configs of all sequence classifiers that transformers has, and checkpoints of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

transformers: Any = importlib.import_module("transformers")
auto: Any = importlib.import_module("transformers.models.auto.modeling_auto")
tokens: Any = importlib.import_module("ensemble_plugins.language_model.text.tokens")

ALL: list[str] = list(auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
FEW = [
    *("bart", "bert", "convbert", "deberta-v2", "distilbert", "fnet", "funnel", "gemma2", "gpt2"),
    *("gpt_oss", "llama", "modernbert", "qwen3", "roberta", "t5", "xlnet"),
]
"""Kinds of every sort, for each run of the tests."""
REFUSED = {
    "doge": "logits are not those of transformers' padded float32 path",
    "ibert": 'no linear layer below its head that could take adapters(.|\n)*tuning = "full"',
    "layoutlmv2": "requires the detectron2 library",
    "mra": "the same logits whatever their texts are",  # on a CPU
    "perceiver": "keeps no head beside its backbone",
    "reformer": "axial_pos_shape",
}
"""Those that cannot be trained as they are, and what is said of them."""
NOT_TINY = ("cohere_compass_text", "mistral4", "t5gemma2", "zamba2")
"""Those of which this file makes no tiny config that transformers itself can compute."""

POSITIONS = 128
_COUNTS: dict[int, str] = {
    2: "num_hidden_layers n_layer n_layers num_layers num_decoder_layers encoder_layers "
    "decoder_layers num_key_value_heads num_kv_heads num_experts_per_tok",
    1: "n_group topk_group",
    4: "num_attention_heads n_head n_heads num_heads encoder_attention_heads "
    "decoder_attention_heads num_experts num_local_experts n_routed_experts",
    8: "head_dim d_head d_kv",
    32: "hidden_size d_model n_embd dim emb_dim embedding_size word_embed_proj_dim "
    "moe_intermediate_size shared_expert_intermediate_size",
    64: "intermediate_size d_inner d_ff ffn_dim encoder_ffn_dim decoder_ffn_dim hidden_dim dff "
    "inner_dim ffn_hidden_size feed_forward_size",
    300: "vocab_size",
    POSITIONS: "max_position_embeddings n_positions max_seq_len",
    0: "pad_token_id",
}
_SMALL = {name: size for size, names in _COUNTS.items() for name in names.split()}
_LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
    "head_dim": 8,
}
_OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "minicpm3", "axk1"), _LATENT),
    "axk2": _LATENT | {"mlp_layer_types": ["dense", "sparse"], "layer_types": None},
    **{kind: {"pooler_hidden_size": 32} for kind in ("deberta", "deberta-v2")},
    "esmc": {"num_key_value_heads": 4},
    "funnel": {
        "block_sizes": [1, 1],
        "block_repeats": [1, 1],
        "architectures": ["FunnelModel"],
    },
    "gpt_neo": {
        "attention_layers": ["global", "local"],
        "attention_types": [[["global", "local"], 1]],
        "window_size": 16,
    },
    "gptj": {"rotary_dim": 4},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8},
    "lilt": {"hidden_size": 96},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 8},
    "markuplm": {"max_depth": 4, "xpath_unit_hidden_size": 4},
    "mobilebert": {
        "true_hidden_size": 16,
        "intra_bottleneck_size": 16,
        "num_feedforward_networks": 1,
    },
    "perceiver": {
        "num_latents": 8,
        "d_latents": 32,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
    },
    "reformer": {
        "axial_pos_shape": (8, 16),
        "axial_pos_embds_dim": (8, 24),
        "attention_head_size": 8,
        "num_buckets": 4,
    },
    "roc_bert": {
        "shape_vocab_size": 20,
        "pronunciation_vocab_size": 20,
        "shape_embed_dim": 8,
        "pronunciation_embed_dim": 8,
    },
    **{kind: {"decoder_start_token_id": 0} for kind in ("t5", "mt5", "umt5")},
    "zamba": {  # as published: with layers of attention, which share their weights
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
}
_VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "depth": 1,
    "num_attention_heads": 4,
    "num_heads": 4,
    "intermediate_size": 32,
    "out_hidden_size": 32,
    "image_size": 32,
    "patch_size": 16,
    "num_position_embeddings": 16,
}


def tiny_config(kind: str) -> Any:
    """Make the config of a kind with everything in it small, as far as names tell what is what."""
    config = transformers.AutoConfig.for_model(kind)
    for part, vision in _parts(config):
        for name, size in (_VISION if vision else _SMALL).items():
            if _is_size(part, name) and not (kind == "funnel" and name.endswith("layers")):
                setattr(part, name, size)
        if getattr(part, "layer_types", None) and kind != "jamba":  # which has but a property
            part.layer_types = part.layer_types[:2]
    for name, value in _OWN.get(kind, {}).items():
        setattr(config, name, value)
    if kind == "t5gemma":
        config.decoder.cross_attention_hidden_size = 32
    return config


def _parts(config: Any) -> Iterator[tuple[Any, bool]]:
    yield config, False
    for name in ("text_config", "encoder", "decoder", "vision_config"):
        if hasattr(part := getattr(config, name, None), "to_dict"):
            yield from ((each, own or "vision" in name) for each, own in _parts(part))


def _is_size(config: Any, name: str) -> bool:
    value = getattr(config, name, None)
    return name in config.to_dict() and (value is None or type(value) is int)


def save_checkpoint(kind: str, directory: Path, *, lacking: str = "") -> Any:
    """Save a tiny pretrained model of a kind, without a head; give its config."""
    config = tiny_config(kind)
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2)
    state = {n: t for n, t in model.state_dict().items() if not lacking or lacking not in n}
    model.save_pretrained(directory, state_dict=state)
    return config


def rows(config: Any) -> Any:
    """Draw rows; those of an encoder-decoder end as its text does, and one holds two ends."""
    drawn = _end(config, [_draw(length, seed=length) for length in (5, 40, 9, 33, 17, 64)])
    if config.is_encoder_decoder:
        drawn[1][5] = drawn[1][-1]
    return tokens.Tokens.from_rows(drawn)


def contrast(config: Any) -> Any:
    """Draw rows that have what a template writes before and after texts in common."""
    start, end = _draw(6, seed=1), _draw(12, seed=2)
    drawn = [np.concatenate((start, _draw(48, seed=seed), end)) for seed in range(3, 7)]
    return tokens.Tokens.from_rows(_end(config, drawn))


def _draw(length: int, *, seed: int) -> Any:
    return np.random.default_rng(seed).integers(10, 250, length).astype(np.int32)


def _end(config: Any, drawn: list[Any]) -> list[Any]:
    if config.is_encoder_decoder:
        end = config.eos_token_id
        for row in drawn:
            row[-1] = end[0] if isinstance(end, list) else end
    return drawn
