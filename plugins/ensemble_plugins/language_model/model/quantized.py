"""Weights that are stored quantized: which method, and what of it cannot be computed rightly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import torch
    from torch import nn
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

    from ensemble_plugins.language_model.settings import ModelSettings

_INTEGERS = ("I", "U", "BOOL")
"""What names of dtypes begin with whose numbers stand for weights by a scale alone."""


def stored_quantization(config: PreTrainedConfig | None) -> str | None:
    """Name the method by which a checkpoint's weights are stored quantized; None where not so."""
    stored: Any = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    said = stored if isinstance(stored, dict) else vars(stored)
    if (method := said.get("quant_method")) is None:  # older files of bitsandbytes say only how
        is_bits = said.keys() & {"load_in_4bit", "load_in_8bit"}
        return "bitsandbytes" if is_bits else "a method without a name"
    return str(getattr(method, "value", method))


def check_quantization(settings: ModelSettings, config: PreTrainedConfig) -> None:
    """Refuse what a checkpoint whose weights are stored quantized cannot be used for.

    Parameters
    ----------
    settings
        How it is used.
    config
        Its config.

    Raises
    ------
    LearnerError
        transformers has no such method, and would take the numbers for weights; or the weights
        were to be trained, or quantized in another way.
    """
    if (method := stored_quantization(config)) is None:
        return
    if not _is_known(config):
        raise LearnerError(
            f"its weights are stored quantized by {method}, which transformers does not know",
            where=settings.model,
            hint="give the full weights, which bits = 4 or 8 quantizes as they are loaded",
        )
    if settings.tuning == "full":
        raise LearnerError(
            f"weights that are stored quantized ({method}) cannot be trained",
            where=settings.model,
            hint='set tuning = "lora", or give the full weights',
        )
    if settings.bits < 16:
        raise LearnerError(
            f"bits = {settings.bits} quantizes full weights, and these are stored quantized "
            f"({method})",
            where=settings.model,
            hint="leave `bits` out, or give the full weights",
        )


def check_integers(model: PreTrainedModel, files: Sequence[Path], *, where: str) -> None:
    """Refuse integers in the place of weights, of which no config says how they are scaled.

    Parameters
    ----------
    model
        As it was loaded.
    files
        The checkpoint's weights.
    where
        The model, for messages.

    Raises
    ------
    LearnerError
        There are some: transformers would take them for the weights themselves.
    """
    if stored_quantization(model.config) is not None:
        return
    below = f"{model.base_model_prefix}."
    read = {name for name, each in model.named_parameters() if each.is_floating_point()}
    read |= {name.removeprefix(below) for name in read}
    if found := sorted(name for file in files for name in _integers(file) if name in read):
        raise LearnerError(
            f"{len(found)} weights are stored as integers, and its config.json has no "
            f"quantization_config that says how they are scaled: {', '.join(found[:3])}",
            where=where,
            hint="give the full weights, which bits = 4 or 8 quantizes as they are loaded",
        )


def quantize_below(head: Sequence[str], bits: int, dtype: torch.dtype) -> BitsAndBytesConfig:
    """Say how full weights are quantized as they are loaded: all layers but those of the head.

    A head is trained, and new. Left to itself transformers spares the last layer of a model only
    where it has no bias.

    Parameters
    ----------
    head
        Names of its modules.
    bits
        8 or 4.
    dtype
        What 4 bits are computed in.
    """
    from transformers import BitsAndBytesConfig

    # Patterns: a bare name would spare each layer of the backbone whose name ends so.
    spared = [rf"^{re.escape(name)}(\.|$)" for name in head]
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=spared)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=spared,
    )


def keep_gradients(model: nn.Module) -> None:
    """Keep bitsandbytes from laying 4-bit weights out anew on a CPU.

    It does so where a CPU has products of bfloat16, with the first logits that are computed without
    gradients. In that layout there are none, also when training, and rounding is another.
    """
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _is_known(config: PreTrainedConfig) -> bool:
    from transformers.quantizers.auto import AutoHfQuantizer

    stored: Any = config.quantization_config
    try:
        return bool(AutoHfQuantizer.supports_quant_method(stored))
    except ValueError:  # a method without a name
        return False


def _integers(file: Path) -> Iterator[str]:
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 - it is no mapping
                if opened.get_slice(key).get_dtype().startswith(_INTEGERS):
                    yield key
