"""DeBERTa-v3, fine-tuned whole: a parameter set over the language-model engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - read when it is made
from typing import ClassVar

from ensemble_plugins.language_model.advice import Measured
from ensemble_plugins.language_model.learner import LanguageModel
from ensemble_plugins.language_model.settings import Tuning  # noqa: TC001 - read when it is made


@dataclass(kw_only=True, eq=False)
class Deberta(LanguageModel):
    """DeBERTa-v3 as a classifier of battles; see ``docs/language_models.md``."""

    measured: ClassVar[Measured | None] = Measured(29.5, 126.6, 7.0, 31.5)

    model: Path | str = "microsoft/deberta-v3-large"
    template: str = "encoder"
    tuning: Tuning = "full"
    learning_rate: float = 1e-5
    train_length: int = 1024
    predict_length: int = 1536
