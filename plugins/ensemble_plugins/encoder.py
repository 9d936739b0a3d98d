"""Any encoder, fine-tuned whole: a parameter set over the language-model engine."""

from __future__ import annotations

from dataclasses import dataclass

from ensemble_plugins.language_model.learner import LanguageModel
from ensemble_plugins.language_model.settings import Tuning  # noqa: TC001 - read when it is made


@dataclass(kw_only=True, eq=False)
class Encoder(LanguageModel):
    """Any encoder checkpoint as a classifier of battles; see ``docs/language_models.md``."""

    tuning: Tuning = "full"
    learning_rate: float = 2e-5
    train_length: int = 1024
    predict_length: int = 1536
