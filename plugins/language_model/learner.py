"""The base learner: battles to token ids, training, and logits averaged over both orders.

Every family is this one class with other defaults; see ``plugins.gemma2_lora`` and its siblings.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from ensemble.battles.swap import swap_classes
from ensemble.errors import LearnerError
from ensemble.plugin.base import BaseLearner, Resources
from plugins.language_model.settings import (
    Bits,
    ModelSettings,
    Precision,
    PredictionSettings,
    Schedule,
    TrainingSettings,
    Tuning,
)

if TYPE_CHECKING:
    import polars as pl
    import torch

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray
    from plugins.language_model.model import Classifier
    from plugins.language_model.tokenization import BattleTokenizer
    from plugins.language_model.tokens import Tokens
    from plugins.language_model.training import LabelledRows

Truncation = Literal["left", "proportional", "rounds", "middle", "responses-equal"]

_PARITY_ROWS = 4
_FACTS = "facts.json"


@dataclass(kw_only=True, eq=False)
class LanguageModel(BaseLearner):
    """A pretrained language model that classifies battles.

    Parameters
    ----------
    model, revision, tuning, bits, rank, alpha, dropout, modules, soft_capping
        See ``ModelSettings``.
    template
        How a battle becomes text: ``"gemma2"``, ``"llama3"`` or ``"encoder"``.
    truncation
        What is cut where a battle is too long; see ``plugins.language_model.truncation``.
    train_length, predict_length
        Most tokens of a battle, when training and when predicting.
    epochs, batch_size, both_orders, token_budget, learning_rate, weight_decay, warmup, schedule
        See ``TrainingSettings``.
    head_learning_rate
        Rate of the head; None for ``learning_rate * rank / alpha``, at which adapters and head
        move at one pace.
    clip, patience, stop_share, evaluations, distillation, temperature, activation_checkpointing
        See ``TrainingSettings``.
    pretrain_epochs, pretrain_learning_rate
        Of the stage on rows of role ``pretrain``; a rate of None is ``learning_rate``.
    pretrain_head
        Whether the head of that stage is kept, or dropped for a new one.
    checkpoint_minutes
        How often training saves its state.
    average_orders
        Whether logits are averaged over both orders of A and B.
    predict_token_budget, precision
        See ``PredictionSettings``.
    merge
        Whether adapters are merged into the weights for prediction.
    parity_tolerance
        Greatest drift from transformers' float32 logits; None for that of the dtype.
    """

    version: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(gpus=1, memory_gib=16.0)  # type: ignore[misc]

    model: str
    revision: str | None = None
    template: str
    truncation: Truncation = "left"
    train_length: int = 2048
    predict_length: int = 2048
    tuning: Tuning = "lora"
    bits: Bits = 16
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    modules: tuple[str, ...] = ("all-linear",)
    soft_capping: bool = True
    epochs: int = 1
    batch_size: int = 16
    both_orders: bool = False
    token_budget: int = 8192
    learning_rate: float = 1e-4
    head_learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    schedule: Schedule = "cosine"
    clip: float = 1.0
    patience: int = 0
    stop_share: float = 0.1
    evaluations: int = 1
    distillation: float = 0.0
    temperature: float = 1.0
    activation_checkpointing: bool = False
    pretrain_epochs: int = 1
    pretrain_learning_rate: float | None = None
    pretrain_head: Literal["drop", "keep"] = "drop"
    checkpoint_minutes: float = 10.0
    average_orders: bool = True
    predict_token_budget: int = 16384
    precision: Precision = "native"
    merge: bool = True
    parity_tolerance: float | None = None

    def __post_init__(self) -> None:
        positive = ("train_length", "predict_length", "batch_size", "token_budget", "epochs")
        for name in (*positive, "rank", "predict_token_budget", "evaluations", "pretrain_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not 0 <= self.distillation <= 1 or not 0 <= self.warmup <= 1:
            raise ValueError("distillation and warmup must be in [0, 1]")
        if not 0 < self.stop_share <= 0.5:
            raise ValueError(f"stop_share must be in (0, 0.5], got {self.stop_share}")
        self.classifier_: Classifier | None = None
        self.tokenizer_: BattleTokenizer | None = None
        self.cache_: Path | None = None
        self.state_: dict[str, torch.Tensor] = {}
        self.facts_: dict[str, Any] = {}

    def dependencies(self) -> dict[str, Any]:
        """Name the weights by content where they are a directory; a hub id is named by revision."""
        if not Path(self.model).is_dir():
            return {}
        from plugins.language_model.weights import directory_fingerprint

        return {"weights": directory_fingerprint(Path(self.model))}

    def pretrain(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        """Train on the rows of an earlier stage; see ``BaseLearner.fit``."""
        rate = self.pretrain_learning_rate
        settings = self._training(epochs=self.pretrain_epochs, learning_rate=rate)
        self._train("pretrain", settings, battles, labels, sample_weight, groups, context)
        return self

    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        """Train, check parity, and make ready for prediction; see ``BaseLearner.fit``."""
        self._require_extra()
        from plugins.language_model.adapters import trained_state

        if self.classifier_ is not None and self.pretrain_head == "drop":
            self.classifier_.new_head(context.seed)
        self._train("fit", self._training(), battles, labels, sample_weight, groups, context)
        assert self.classifier_ is not None  # noqa: S101 - made by training
        self.state_ = trained_state(self.classifier_)
        self._finish(self._probe(battles))
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        """Give logits ``(n, 3)`` float32, averaged over both orders where asked for."""
        from plugins.language_model.inference import compute_logits

        if self.classifier_ is None:
            raise LearnerError("the learner is not fitted")
        orders = []
        for swapped in (False, True)[: 1 + self.average_orders]:
            tokens = self._tokens(battles, self.predict_length, swapped=swapped)
            logits = compute_logits(self.classifier_, tokens, self.predict_token_budget)
            orders.append(swap_classes(logits) if swapped else logits)
        return np.asarray(np.mean(orders, axis=0, dtype=np.float64), dtype=np.float32)

    def save(self, directory: Path) -> None:
        """Write adapters and head as PEFT does, what they stand on, and what was measured."""
        from ensemble.artifacts import write_json
        from plugins.language_model.adapters import write_state

        assert self.classifier_ is not None  # noqa: S101 - the core saves what it has fitted
        write_state(self.classifier_, self.state_, directory)
        write_json(directory / _FACTS, self.facts_)

    def load(self, directory: Path) -> Self:
        """Restore what ``save`` wrote; see ``adapters.read_state`` for what is verified."""
        self._require_extra()
        from ensemble.artifacts import read_json
        from plugins.language_model.adapters import read_state, trained_state

        self.facts_ = read_json(directory / _FACTS)
        self.classifier_ = self._load_classifier("auto", seed=0)
        read_state(self.classifier_, directory)
        self.state_ = trained_state(self.classifier_)
        self.classifier_.prepare(self._prediction(), merge=self.facts_["merged"])
        return self

    @property
    def batch_tolerance(self) -> float:  # type: ignore[override]
        """How far logits may differ between batches: rounding of the dtype that is computed in."""
        from plugins.language_model.parity import TOLERANCES

        if self.classifier_ is None:
            return BaseLearner.batch_tolerance
        return max(BaseLearner.batch_tolerance, 2 * TOLERANCES[self.classifier_.dtype])

    def _require_extra(self) -> None:
        from importlib.util import find_spec

        missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
        if missing:
            raise LearnerError(
                f"language models need {', '.join(missing)}, which is not installed",
                mend="pip install 'preference-ensemble[lm]'",
            )

    def _train(
        self,
        stage: str,
        settings: TrainingSettings,
        battles: pl.DataFrame,
        labels: FloatArray,
        weight: FloatArray | None,
        groups: IntArray | None,
        context: FitContext,
    ) -> None:
        self._require_extra()
        from plugins.language_model.training import Training

        self.cache_ = context.cache_directory
        if self.classifier_ is None:
            self.classifier_ = self._load_classifier(context.device, context.seed)
        place = context.checkpoint_directory
        Training(
            self.classifier_,
            self._rows(battles, labels, weight, groups),
            settings,
            seed=context.seed,
            snapshots=None if place is None else place / stage,
            progress=context.progress,
        ).run()

    def _rows(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        weight: FloatArray | None,
        groups: IntArray | None,
    ) -> LabelledRows:
        from plugins.language_model.training import LabelledRows

        orders = tuple(
            self._tokens(battles, self.train_length, swapped=swapped)
            for swapped in (False, True)[: 1 + self.both_orders]
        )
        every = np.arange(len(battles), dtype=np.int64)
        return LabelledRows(
            orders,
            labels,
            np.ones(len(battles)) if weight is None else weight,
            every if groups is None else groups,
        )

    def _tokens(self, battles: pl.DataFrame, max_length: int, *, swapped: bool = False) -> Tokens:
        texts = [battles[name].to_list() for name in ("prompt", "response_a", "response_b")]
        return self._tokenizer().encode(*texts, max_length=max_length, swapped=swapped)

    def _tokenizer(self) -> BattleTokenizer:
        from plugins.language_model.tokenization import BattleTokenizer
        from plugins.language_model.weights import load_tokenizer

        if self.tokenizer_ is None:
            self.tokenizer_ = BattleTokenizer(
                load_tokenizer(self._model_settings()),
                self.template,
                truncation=self.truncation,
                cache_directory=self.cache_,
            )
        return self.tokenizer_

    def _load_classifier(self, device: str, seed: int) -> Classifier:
        from plugins.language_model.model import load_classifier, pick_device
        from plugins.language_model.weights import load_tokenizer

        settings = self._model_settings()
        pad_id = load_tokenizer(settings).pad_token_id
        return load_classifier(
            settings, device=pick_device(device), seed=seed, pad_id=0 if pad_id is None else pad_id
        )

    def _probe(self, battles: pl.DataFrame) -> Tokens:
        """Take a few rows of different lengths."""
        spread = np.linspace(0, len(battles) - 1, min(_PARITY_ROWS, len(battles)))
        return self._tokens(battles[np.unique(spread.astype(int))], self.predict_length)

    def _finish(self, probe: Tokens) -> None:
        """Hold the trained model against transformers; merge and quantize it, and measure that."""
        from plugins.language_model.parity import check_parity, drift, reference_logits

        classifier, prediction = self.classifier_, self._prediction()
        assert classifier is not None  # noqa: S101 - made by training
        reference = reference_logits(classifier, probe)
        parity = check_parity(
            classifier, probe, where="after training", tolerance=self.parity_tolerance
        )
        merged = self.merge and self.tuning == "lora" and self.bits == 16
        classifier.prepare(prediction, merge=merged)
        self.facts_ = {
            "dtype": str(classifier.dtype).removeprefix("torch."),
            "packed": classifier.packed,
            "drift_from_float32": parity,
            "merged": merged,
            "precision": self.precision,
            "drift_in_prediction": drift(classifier, probe, reference),
        }

    def _model_settings(self) -> ModelSettings:
        return ModelSettings(**self._chosen(ModelSettings))

    def _training(self, **changes: Any) -> TrainingSettings:
        chosen = self._chosen(TrainingSettings)
        if self.head_learning_rate is None:
            pace = self.rank / self.alpha if self.tuning == "lora" else 1.0
            chosen["head_learning_rate"] = self.learning_rate * pace
        return TrainingSettings(**chosen | {k: v for k, v in changes.items() if v is not None})

    def _prediction(self) -> PredictionSettings:
        return PredictionSettings(self.predict_token_budget, self.precision)

    def _chosen(self, kind: type) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(kind)}
        return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
