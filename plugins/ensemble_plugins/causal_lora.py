"""Any causal language model with LoRA: a parameter set over the language-model engine."""

from __future__ import annotations

from dataclasses import dataclass

from ensemble_plugins.language_model.learner import LanguageModel


@dataclass(kw_only=True, eq=False)
class CausalLora(LanguageModel):
    """Any causal checkpoint as a classifier of battles; see ``docs/language_models.md``."""
