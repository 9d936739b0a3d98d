"""From a trained classifier to a directory that transformers loads."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ensemble.errors import LearnerError
from ensemble.storage.json_files import read_json, write_json
from ensemble_plugins.language_model.model.base_weights import CONFIG
from ensemble_plugins.language_model.model.labels import name_outputs
from ensemble_plugins.language_model.model.lora import merge_adapters
from ensemble_plugins.language_model.model.quantized import stored_quantization
from ensemble_plugins.language_model.model.weights import load_config, quiet

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import ModelSettings
    from ensemble_plugins.language_model.text.tokenization import BattleTokenizer


def refuse_unexportable(settings: ModelSettings) -> None:
    """Refuse what plain transformers would not compute as the run did.

    Raises
    ------
    LearnerError
        The base weights are quantized.
    """
    stored = stored_quantization(load_config(settings))
    if stored or settings.bits < 16:
        what = f"quantized by {stored}" if stored else f"of {settings.bits} bits"
        raise LearnerError(
            f"a model on weights {what} cannot be exported: its adapters were trained on what "
            "quantization left of the weights, and merged into the full weights they give another "
            "model",
            hint="train it on full weights, with bits = 16; or load base and adapters by PEFT, "
            "with the same quantization: the fold's model/ has them",
        )


def write_model(
    classifier: Classifier,
    tokenizer: PreTrainedTokenizerBase,
    text: BattleTokenizer,
    directory: Path,
    dtype: torch.dtype,
) -> None:
    """Merge what was trained, and write weights, config and tokenizer.

    Parameters
    ----------
    classifier
        As it was trained; its adapters are merged.
    tokenizer
        Of the base weights.
    text
        How battles become ids.
    directory
        Where to.
    dtype
        Of the weights.

    Raises
    ------
    LearnerError
        Each row ends with the only token that could fill batches.
    """
    if classifier.settings.tuning == "lora":
        classifier.base = classifier.model = merge_adapters(classifier.model)
    pad = _pad_token(classifier, tokenizer, text)
    tokenizer.padding_side = "right"
    with classifier.as_transformers() as model, quiet():
        _set_config(model, pad)
        whole: Any = model
        whole.to(dtype)
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        for weights in directory.glob("*.safetensors"):  # who may read the config may read these
            weights.chmod((directory / CONFIG).stat().st_mode)
        bounded = getattr(model.config.get_text_config(), "attn_logit_softcapping", None)
    if bounded is not None:
        _ask_for_eager(directory / CONFIG)


def _ask_for_eager(path: Path) -> None:
    """Have transformers compute the bound on attention scores: its default kernel leaves it out."""
    write_json(path, {**read_json(path), "attn_implementation": "eager"})


def _pad_token(
    classifier: Classifier, tokenizer: PreTrainedTokenizerBase, text: BattleTokenizer
) -> int:
    """Choose the token that fills batches.

    Classifiers that read the last token read the last that is not this one: no row may end with it.
    Others may count positions from that of their own config.
    """
    own = load_config(classifier.settings).get_text_config().pad_token_id
    if own is not None and own >= 0 and not _reads_last(classifier.base):
        return int(own)
    if text.filling is not None:
        tokenizer.pad_token = text.filling
        return text.special[text.filling]
    raise LearnerError(
        "the tokenizer has no token that could fill batches: each row ends with its only special "
        "token, and classifiers of transformers read the last token that fills none",
        hint="give the tokenizer a pad token, or the template another end",
    )


def _reads_last(model: PreTrainedModel) -> bool:
    """Say whether a classifier looks for the last token that fills no batch."""
    return "pad_token_id" in inspect.getsource(type(model).forward)


def _set_config(model: PreTrainedModel, pad_id: int) -> None:
    name_outputs(model.config)
    for config in (model.config, model.config.get_text_config()):
        config.pad_token_id = pad_id
        config.use_cache = False  # a classifier writes nothing after what it reads
        config.problem_type = "single_label_classification"
