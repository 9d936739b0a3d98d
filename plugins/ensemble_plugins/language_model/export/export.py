"""Exporting a trained model: weights, merged, and all that its input takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.swap import swap_classes
from ensemble_plugins.language_model.export.compare import check_export, dtype_of
from ensemble_plugins.language_model.export.files import write_input_files
from ensemble_plugins.language_model.export.served import describe
from ensemble_plugins.language_model.export.write import refuse_unexportable, write_model
from ensemble_plugins.language_model.model.adapters import put_state
from ensemble_plugins.language_model.model.devices import free_memory, pick_device
from ensemble_plugins.language_model.model.inference import compute_logits
from ensemble_plugins.language_model.model.weights import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from ensemble.plugin.base import LogitArray
    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import ModelSettings, PredictionSettings
    from ensemble_plugins.language_model.text.prompts import Template
    from ensemble_plugins.language_model.text.tokenization import BattleTokenizer
    from ensemble_plugins.language_model.text.tokens import Tokens


@dataclass(frozen=True)
class Trained:
    """A trained model, as a learner has it.

    Parameters
    ----------
    settings, prediction
        Of the model, and of how it predicts.
    make_classifier
        Loads the base weights, with new adapters and a new head.
    state
        What was trained.
    facts
        What was measured of it.
    text, template
        How battles become ids.
    truncation, max_length
        What is cut of them.
    """

    settings: ModelSettings
    prediction: PredictionSettings
    make_classifier: Callable[[], Classifier]
    state: dict[str, torch.Tensor]
    facts: Mapping[str, Any]
    text: BattleTokenizer
    template: Template
    truncation: str
    max_length: int


def export_model(
    trained: Trained,
    directory: Path,
    battles: Sequence[tuple[Any, Any, Any]],
    orders: Sequence[Tokens],
    logits: LogitArray,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Fill a directory with a model that transformers and vLLM load, and check it.

    Parameters
    ----------
    trained
        The model.
    directory
        An empty one.
    battles
        Prompts, responses A and responses B of ``n`` rows.
    orders
        Their tokens, in one or both orders of A and B.
    logits
        ``(n, 3)``, as the run has them, averaged over these orders.
    about
        What is said of the model in its files, as JSON.

    Returns
    -------
    dict
        What ``check_export`` found. Where the run predicts in 8 bits, the exported weights are held
        against the model before it is quantized, and ``from_run`` is how far the run's logits are.

    Raises
    ------
    LearnerError
        The model cannot be exported, or what was written gives other tokens or logits.
    """
    refuse_unexportable(trained.settings)
    classifier = trained.make_classifier()
    put_state(classifier, trained.state, where=str(directory))
    base, device = classifier.identity, str(pick_device("auto"))
    tokenizer = load_tokenizer(trained.settings)
    write_model(classifier, tokenizer, trained.text, directory, dtype_of(trained.facts))
    alone = classifier.alike or bool(classifier.base.config.is_encoder_decoder)
    served = describe(
        type(classifier.base).__name__,
        classifier.base.config.get_text_config(),
        str(trained.facts["dtype"]),
        trained.max_length,
    )
    del classifier
    free_memory()
    write_input_files(
        directory,
        trained.text,
        trained.template,
        truncation_rule=trained.truncation,
        max_length=trained.max_length,
        swap_tta=len(orders) > 1,
        alone=alone,
        served=served,
        about={**about, "base": _named(base["model"]), "base_sha256": base["sha256"]},
    )
    wanted, more = logits, {}
    if trained.prediction.precision != "native":
        wanted = _unquantized(trained, directory, orders)
        more = {"from_run": float(np.abs(wanted - logits).max(initial=0.0))}
    ids = [[tokens.row(row).tolist() for row in range(len(tokens))] for tokens in orders]
    found = check_export(directory, battles, ids, wanted, device=device, facts=trained.facts)
    return found | more


def _named(model: str) -> str:
    """Name base weights: the hub id, or a directory without where it lies on this machine."""
    return Path(model).name if Path(model).is_dir() else model


def _unquantized(trained: Trained, directory: Path, orders: Sequence[Tokens]) -> LogitArray:
    """Compute the logits of a model that the run computes in 8 bits, without these."""
    classifier = trained.make_classifier()
    put_state(classifier, trained.state, where=str(directory))
    each = [compute_logits(classifier, one, trained.prediction.token_budget) for one in orders]
    sides = [each[0], *(swap_classes(one) for one in each[1:])]
    del classifier
    free_memory()
    return np.asarray(np.mean(sides, axis=0, dtype=np.float64), dtype=np.float32)
