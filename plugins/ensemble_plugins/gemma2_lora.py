"""Gemma-2 with LoRA: a parameter set over the language-model engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - read when it is made
from typing import ClassVar

from ensemble_plugins.language_model.advice import Measured
from ensemble_plugins.language_model.learner import LanguageModel


@dataclass(kw_only=True, eq=False)
class Gemma2Lora(LanguageModel):
    """Gemma-2 as a classifier of battles; see ``docs/language_models.md``."""

    measured: ClassVar[Measured | None] = Measured(14.5, 40.1, 18.0, 66.4)

    model: Path | str = "google/gemma-2-9b-it"
    template: str = "gemma2"
