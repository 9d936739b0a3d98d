"""DeBERTa-v3, fine-tuned whole: a parameter set over the language-model engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - read when it is made

from ensemble_plugins.language_model.learner import LanguageModel
from ensemble_plugins.language_model.settings import Tuning  # noqa: TC001 - read when it is made


@dataclass(kw_only=True, eq=False)
class Deberta(LanguageModel):
    """DeBERTa-v3 as a classifier of battles; see ``docs/language_models.md``."""

    model: Path | str = "microsoft/deberta-v3-large"
    template: str = "encoder"
    tuning: Tuning = "full"
    learning_rate: float = 1e-5
    train_length: int = 1024
    predict_length: int = 1536
