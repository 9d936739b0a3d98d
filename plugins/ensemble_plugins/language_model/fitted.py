"""The model of a learner with its weights: how it is loaded, made ready, stored and restored."""

from __future__ import annotations

from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from ensemble.errors import LearnerError
from ensemble.storage.json_files import read_json, write_json
from ensemble_plugins.language_model.encoding import Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import ModelSettings
    from ensemble_plugins.language_model.text.tokens import Tokens

_FACTS = "facts.json"


class FittedModel(Encoding):
    """The weights of a learner: loaded, made ready for prediction, stored and restored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.classifier_: Classifier | None = None
        self.state_: dict[str, torch.Tensor] = {}
        self.facts_: dict[str, Any] = {}

    def save(self, directory: Path) -> None:
        """Write adapters and head as PEFT does, what they stand on, and what was measured."""
        from ensemble_plugins.language_model.model.adapters import write_state

        write_state(self._classifier, self.state_, directory)
        write_json(directory / _FACTS, self.facts_)

    def load(self, directory: Path) -> Self:
        """Restore what ``save`` wrote; see ``adapters.read_state`` for what is verified."""
        require_extra()
        from ensemble_plugins.language_model.model.adapters import read_state, trained_state

        self.facts_ = read_json(directory / _FACTS)
        self._encode_as_trained()
        self.classifier_ = self._load_trained()
        read_state(self.classifier_, directory)
        self.state_ = trained_state(self.classifier_)
        self._prepare(merge=self.facts_["merged"])
        return self

    def average_models(self, directories: Sequence[Path]) -> Self:
        """Become the mean of models that ``save`` wrote; see ``averaging.average_states``."""
        require_extra()
        from ensemble_plugins.language_model.model.adapters import put_state
        from ensemble_plugins.language_model.model.averaging import average_states, common_facts

        self.facts_ = common_facts([read_json(one / _FACTS) for one in directories])
        self._encode_as_trained()
        self.state_ = average_states(directories)
        self.classifier_ = self._load_trained()
        put_state(self.classifier_, self.state_, where=f"the mean of {directories[0]} and others")
        # Wherever the folds were fitted: the soup predicts here.
        self.facts_["dtype"] = str(self.classifier_.dtype).removeprefix("torch.")
        self._prepare(merge=self.facts_["merged"])
        return self

    def _encode_as_trained(self) -> None:
        """Take template and columns from the model's facts."""
        from ensemble_plugins.language_model.text.templates import stored_template

        # Another version of transformers may write another template.
        self.template_ = stored_template(self.facts_["template"])
        self.privileged_ = tuple(self.facts_["privileged"])
        self.tokenizer_ = None

    @property
    def _classifier(self) -> Classifier:
        if self.classifier_ is None:
            raise LearnerError("the learner is not fitted")
        return self.classifier_

    def _load_classifier(self, settings: ModelSettings, device: str, seed: int) -> Classifier:
        from ensemble_plugins.language_model.model.devices import pick_device
        from ensemble_plugins.language_model.model.loading import load_classifier

        return load_classifier(
            settings,
            device=pick_device(device),
            seed=seed,
            pad_id=self._pad_id(),
            contrast=self._tokenizer().contrast(),
        )

    def _load_trained(self) -> Classifier:
        """Load the model for weights that were trained: adapters of all models that are in it.

        It is not trained any more, so that no FP8 is needed.
        """
        models, settings = self.facts_.get("averaged", 1), self.model_settings()
        own = {"rank": settings.rank * models, "alpha": settings.alpha * models}
        return self._load_classifier(
            replace(settings, train_precision="native", **own), "auto", seed=0
        )

    def _finish(self, probe: Tokens) -> None:
        """Hold the trained model against transformers; make it ready, and note what was found."""
        from ensemble_plugins.language_model.model.adapters import trained_state
        from ensemble_plugins.language_model.model.checks import measure_fitted
        from ensemble_plugins.language_model.model.labels import LABELS

        self.state_ = trained_state(self._classifier)
        self.facts_ = measure_fitted(
            self._classifier,
            probe,
            budget=self.predict_token_budget,
            tolerance=self.parity_tolerance,
            prepare=lambda: self._prepare(merge=self._merges),
        )
        self.facts_ |= {
            "classes": LABELS,
            "head": self._classifier.caution._asdict(),
            "merged": self._merges,
            "precision": self.precision,
            "longest_row": self._tokenizer().longest,
            "template": asdict(self._template()),
            "privileged": list(self.privileged_),
        }

    def _told_of_head(self, *, learned_battles: bool) -> list[str]:
        """Say what became of the checkpoint's head, if it has learned battles, or has not."""
        head = self.facts_.get("head", {})
        is_told = head.get("text") and head["learned_battles"] is learned_battles
        return [head["text"]] if is_told else []

    @property
    def _merges(self) -> bool:
        """Whether adapters go into the weights for prediction, which have to be in full."""
        from ensemble_plugins.language_model.model.quantized import stored_quantization
        from ensemble_plugins.language_model.model.weights import load_config

        if not self.merge or self.tuning == "full" or self.bits < 16:
            return False
        return stored_quantization(load_config(self.model_settings())) is None

    def _prepare(self, *, merge: bool) -> None:
        classifier = self._classifier
        config = getattr(classifier.model, "peft_config", None)
        classifier.prepare(self.prediction_settings(), merge=merge)
        if merge:  # PEFT drops the adapters' config with them, and `save` writes it
            classifier.base.peft_config = config


def require_extra() -> None:
    """Refuse to go on without the libraries of language models."""
    missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        raise LearnerError(
            f"language models need {', '.join(missing)}, which is not installed",
            hint="in a clone of the repository: pip install -c constraints.txt '.[lm]'",
        )
