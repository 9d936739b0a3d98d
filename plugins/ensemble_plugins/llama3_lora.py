"""Llama-3 with LoRA: a parameter set over the language-model engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - read when it is made
from typing import ClassVar

from ensemble_plugins.language_model.advice import Measured
from ensemble_plugins.language_model.learner import LanguageModel


@dataclass(kw_only=True, eq=False)
class Llama3Lora(LanguageModel):
    """Llama-3 as a classifier of battles; see ``docs/language_models.md``."""

    measured: ClassVar[Measured | None] = Measured(19.0, 48.3, 15.0, 49.7)

    model: Path | str = "meta-llama/Meta-Llama-3-8B-Instruct"
    template: str = "llama3"
