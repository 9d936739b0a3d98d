"""Loading tokenizer, config and weights of a pretrained model; nothing is unpickled or run."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model.base_weights import find_base, weight_files
from ensemble_plugins.language_model.model.heads import find_head, is_head
from ensemble_plugins.language_model.model.implementation import reset_attention
from ensemble_plugins.language_model.model.labels import N_CLASSES, name_outputs
from ensemble_plugins.language_model.model.loading_errors import unavailable
from ensemble_plugins.language_model.model.outputs import settle_outputs
from ensemble_plugins.language_model.model.quantized import (
    check_integers,
    check_quantization,
    stored_quantization,
)
from ensemble_plugins.language_model.model.unread import check_unread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from ensemble_plugins.language_model.model.outputs import Caution
    from ensemble_plugins.language_model.settings import ModelSettings


class Loaded(NamedTuple):
    """A sequence classifier, as it was loaded.

    Parameters
    ----------
    model
        With a head for three classes.
    head
        Names of its head's modules.
    caution
        What a user is to be told of its head before training.
    """

    model: PreTrainedModel
    head: tuple[str, ...]
    caution: Caution


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model.

    Raises
    ------
    LearnerError
        It cannot be had; says what to do.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = _from(AutoTokenizer, settings)
    return tokenizer


def load_config(settings: ModelSettings) -> PreTrainedConfig:
    """Load a model's config, for three classes.

    Raises
    ------
    LearnerError
        It cannot be had, or its weights are stored quantized and cannot be used so; says what to
        do.
    """
    from transformers import AutoConfig

    config: PreTrainedConfig = _from(AutoConfig, settings)
    config.num_labels = N_CLASSES
    name_outputs(config)  # whatever the checkpoint calls its own, which are put in this order
    with quiet():
        check_quantization(settings, config)
    # What a checkpoint asks of whoever runs it: kernels of elsewhere, how outputs are wrapped, and
    # layers computed in pieces, which has to divide each row's length.
    reset_attention(config)
    for part in (config, config.get_text_config()):
        part.chunk_size_feed_forward = 0
        part.use_cache = part.output_attentions = part.output_hidden_states = False
        part.return_dict = True
    if not settings.soft_capping and getattr(config, "attn_logit_softcapping", None) is not None:
        config.attn_logit_softcapping = None
    return config


def load_model(settings: ModelSettings, config: PreTrainedConfig, **options: Any) -> Loaded:
    """Load a sequence classifier; only its head may be new.

    Of the head, layers that the checkpoint has are kept, but for the last: what that says is of
    another task, unless its labels are those of battles, as in a model that was exported. These are
    put in the order of the classes.

    Parameters
    ----------
    settings
        Which one.
    config
        As ``load_config`` gives it.
    options
        Passed on to ``from_pretrained``: dtype, device map, quantization.

    Returns
    -------
    Loaded
        The model, its head, and what to tell of it.

    Raises
    ------
    LearnerError
        The weights cannot be had, are not safetensors, or are not those of such a model.
    """
    from transformers import AutoModelForSequenceClassification

    files = weight_files(find_base(settings).directory)
    # Without safetensors transformers would unpickle.
    model: PreTrainedModel
    with quiet():
        model, report = _from(
            AutoModelForSequenceClassification,
            settings,
            config=config,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # told below; a head for other classes is replaced
            output_loading_info=True,
            **options,
        )
    check_integers(model, files, where=settings.model)
    head = find_head(model, report["missing_keys"])
    misshapen = sorted(
        f"{key} has shape {tuple(found)}, not {tuple(wanted)}"
        for key, found, wanted in report["mismatched_keys"]
        if not is_head(key, head)
    )
    if misshapen:
        raise LearnerError(
            f"{len(misshapen)} tensors do not fit {type(model).__name__}: "
            + "; ".join(misshapen[:3]),
            where=settings.model,
            hint="give a checkpoint whose config and weights belong together",
        )
    missing = sorted(key for key in report["missing_keys"] if not is_head(key, head))
    if missing:
        raise LearnerError(
            f"the weights lack {len(missing)} tensors of {type(model).__name__}: "
            + ", ".join(missing[:5]),
            where=settings.model,
            hint="give a checkpoint of this architecture, complete and in safetensors",
        )
    check_unread(model, head, report["unexpected_keys"], files, where=settings.model)
    return Loaded(model, head, settle_outputs(model, head, report, find_base(settings).directory))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from warning of the new head, and from drawing bars into files."""
    from transformers.utils import logging as told

    level, bars = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity_error()
    if not sys.stderr.isatty():
        told.disable_progress_bar()
    try:
        yield
    finally:
        told.set_verbosity(level)
        if bars:
            told.enable_progress_bar()


def _from(kind: Any, settings: ModelSettings, **options: Any) -> Any:
    place = str(find_base(settings).directory)
    try:
        return kind.from_pretrained(
            place, local_files_only=True, trust_remote_code=False, **options
        )
    except Exception as error:
        stored = stored_quantization(options.get("config"))
        raise unavailable(settings, error, stored) from error
