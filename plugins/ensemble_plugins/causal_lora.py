"""Any causal language model with LoRA: a parameter set over the language-model engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble_plugins.language_model.advice import Measured, advise
from ensemble_plugins.language_model.learner import LanguageModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.plugin.suggestion import DataSummary, Machine, Suggestion

_SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The smallest causal model that was measured on real battles (``docs/benchmarks.md``)."""
_AS_MEASURED: dict[str, Any] = {"epochs": 2, "swap_augmentation": True}
_MEASURED = Measured(train_rows=532.0, predict_rows=532.0, weights_gib=0.3, train_gib=0.9)
"""989 rows a second of 484 tokens. Prediction was not measured apart, and takes no longer."""


@dataclass(kw_only=True, eq=False)
class CausalLora(LanguageModel):
    """Any causal checkpoint as a classifier of battles; see ``docs/language_models.md``."""

    @classmethod
    def suggest(cls, data: DataSummary, machine: Machine) -> Sequence[Suggestion]:
        """Suggest a small model, as it was measured on real battles."""
        learner = cls(model=_SMALL, **_AS_MEASURED)
        return [advise(learner, _MEASURED, data, machine, **_AS_MEASURED)]
