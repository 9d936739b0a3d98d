"""Classifiers of pretrained weights, with a new head and new adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model import devices
from ensemble_plugins.language_model.model.base_weights import identity
from ensemble_plugins.language_model.model.classifier import Classifier
from ensemble_plugins.language_model.model.dependence import check_dependence
from ensemble_plugins.language_model.model.heads import possible_head
from ensemble_plugins.language_model.model.positions import find_padding
from ensemble_plugins.language_model.model.quantized import keep_gradients, quantize_below
from ensemble_plugins.language_model.model.weights import load_config, load_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from ensemble_plugins.language_model.settings import ModelSettings
    from ensemble_plugins.language_model.text.tokens import Tokens


def load_classifier(
    settings: ModelSettings,
    *,
    device: torch.device,
    seed: int = 0,
    pad_id: int = 0,
    compiled: bool | None = None,
    contrast: Tokens | None = None,
) -> Classifier:
    """Load pretrained weights and put a new head and new adapters on them.

    Parameters
    ----------
    settings
        Which model, and what of it is trained.
    device
        Where it computes.
    seed
        Of the head and the adapters.
    pad_id, compiled
        As in ``Classifier``. A model that numbers positions by its own pad token is given that one.
    contrast
        Rows whose logits have to differ, as ``BattleTokenizer.contrast`` gives them.

    Raises
    ------
    LearnerError
        The weights cannot be had, or are not those of such a model; or no text changes its logits.
    """
    devices.free_memory()  # a model that was here before: two may not fit
    devices.make_current(device)
    torch.manual_seed(seed)
    before = identity(settings)
    config = load_config(settings)
    options = _options(settings, config, device)
    base, head, caution = load_model(settings, config, **options)
    keep_gradients(base)
    if identity(settings) != before:
        raise LearnerError(
            "files of the model were replaced while they were loaded",
            where=settings.model,
            hint="run the same command again when nobody writes there",
        )
    counted = find_padding(base)
    pad_id = pad_id if counted is None else counted
    if contrast is not None:
        check_dependence(base, contrast, where=settings.model)
    made = Classifier(base, settings, head=head, pad_id=pad_id, compiled=compiled)
    made.identity, made.caution = before, caution
    return made


def _options(
    settings: ModelSettings, config: PreTrainedConfig, device: torch.device
) -> dict[str, Any]:
    full, dtype = settings.tuning == "full", devices.compute_dtype(device)
    options: dict[str, Any] = {
        "dtype": torch.float32 if full else dtype,
        "device_map": {"": device},
    }
    if settings.bits < 16:
        options["quantization_config"] = quantize_below(possible_head(config), settings.bits, dtype)
    return options
