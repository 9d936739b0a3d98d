"""Checks that the engine computes what transformers does: before any training, and after it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ensemble.storage.owned import OwnedPlace
from ensemble_plugins.language_model.model.adapters import read_state, trained_state, write_state
from ensemble_plugins.language_model.model.inference import compute_logits
from ensemble_plugins.language_model.model.loading import load_classifier
from ensemble_plugins.language_model.model.outputs import warn_of_head
from ensemble_plugins.language_model.model.parity import (
    check_parity,
    distance,
    drift,
    drift_in_training,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.model.parity import Parity
    from ensemble_plugins.language_model.settings import ModelSettings, PredictionSettings
    from ensemble_plugins.language_model.text.tokens import Tokens

_SPREAD = 0.02
"""Of the adapters that are drawn: new ones change nothing, and a lost one would not show."""


def check_model(
    settings: ModelSettings,
    tokens: Tokens,
    prediction: PredictionSettings,
    *,
    merge: bool,
    device: torch.device,
    pad_id: int,
    contrast: Tokens | None = None,
    tolerance: float | None = None,
) -> dict[str, Any]:
    """Compute a few rows in every way that the learner will, with adapters drawn at random.

    Parameters
    ----------
    settings, device, pad_id, contrast
        As in ``load_classifier``.
    tokens
        A few rows, of different lengths.
    prediction, merge
        How it is going to predict.
    tolerance
        As in ``check_parity``.

    Returns
    -------
    dict
        What was found: dtype, whether rows are packed, and the drift from transformers' float32
        logits of prediction, training, after save and load, merged and in 8 bits; and
        transformers' own.

    Raises
    ------
    LearnerError
        The engine's logits differ by more than rounding explains, in any of them that is not
        computed in 8 bits.
    ArtifactError
        The stored weights do not come back.
    """
    budget = prediction.token_budget
    load = partial(_load, settings, device=device, pad_id=pad_id, contrast=contrast)
    classifier = load(seed=0)
    warn_of_head(classifier.caution, settings.model)
    _randomize(classifier)
    parity = check_parity(
        classifier, tokens, where="before training", tolerance=tolerance, budget=budget
    )
    reference = parity.reference
    training = drift_in_training(classifier, tokens, reference, budget)
    if settings.train_precision == "native":
        parity.require(training, "as training computes", tolerance)
    with OwnedPlace("ensemble-parity-") as directory:
        write_state(classifier, trained_state(classifier), directory)
        del classifier  # before the next is loaded: two may not fit into memory
        classifier = load(seed=1)
        read_state(classifier, directory)
    loaded = distance(compute_logits(classifier, tokens, budget), reference)
    parity.require(loaded, "after save and load", tolerance)
    classifier.prepare(prediction, merge=merge)
    return {
        **_named(classifier, parity),
        "drift_in_training": training,
        "drift_after_load": loaded,
        "drift_in_prediction": drift(classifier, tokens, reference, budget),
    }


def measure_fitted(
    classifier: Classifier,
    probe: Tokens,
    *,
    budget: int,
    tolerance: float | None,
    prepare: Callable[[], None],
) -> dict[str, Any]:
    """Hold a trained model against transformers, and measure what getting ready changes.

    Parameters
    ----------
    classifier
        The model as it was trained.
    probe
        A few rows.
    budget, tolerance
        As in ``check_parity``.
    prepare
        Makes it ready for prediction: merged, and quantized where that is asked for.

    Returns
    -------
    dict
        dtype, whether rows are packed, and drifts, as ``check_model`` names them.

    Raises
    ------
    LearnerError
        Its logits differ by more than rounding explains.
    """
    parity = check_parity(
        classifier, probe, where="after training", tolerance=tolerance, budget=budget
    )
    prepare()
    return {
        **_named(classifier, parity),
        "drift_in_prediction": drift(classifier, probe, parity.reference, budget),
    }


def _named(classifier: Classifier, parity: Parity) -> dict[str, Any]:
    return {
        "dtype": str(parity.dtype).removeprefix("torch."),
        "packed": classifier.packed,
        **(
            {"attention": classifier.attention}
            if classifier.packed
            else {"why_padded": classifier.why_padded}
        ),
        "drift_of_transformers": parity.transformers,
        "drift_from_float32": parity.packed,
    }


def _load(settings: ModelSettings, **options: Any) -> Classifier:
    return load_classifier(replace(settings, dropout=0.0), **options)


def _randomize(classifier: Classifier) -> None:
    """Draw the adapters that are 0 when new."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in classifier.model.named_parameters():
        if "lora_B" in name:
            drawn = torch.randn(parameter.shape, generator=generator) * _SPREAD
            parameter.data.copy_(drawn)
