"""The parameters of language-model learners: their defaults, and which values they may have.

Annotations are objects here, not text: the core reads them where subclasses are defined, and there
the names of this file mean nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from ensemble_plugins.language_model.recipes import DISTILLATIONS, RECIPES, Recipe
from ensemble_plugins.language_model.settings import (
    Bits,
    Budget,
    ModelSettings,
    Precision,
    PredictionSettings,
    Schedule,
    TrainingSettings,
    TrainPrecision,
    Tuning,
)
from ensemble_plugins.language_model.text.template_names import check_template
from ensemble_plugins.soft_labels import TeacherMean, Teachers

Truncation = Literal["left", "proportional", "rounds", "middle", "responses-equal"]
PretrainHead = Literal["drop", "keep"]

_ONE_OR_MORE = (
    *("train_length", "predict_length", "epochs", "batch_size", "rank", "gpus"),
    *("patience", "evaluations", "pretrain_epochs", "predict_token_budget"),
)
_ZERO_OR_MORE = ("weight_decay", "max_grad_norm", "checkpoint_minutes", "cosine")
_ABOVE_ZERO = (
    *("alpha", "learning_rate", "head_learning_rate", "pretrain_learning_rate", "temperature"),
    "parity_tolerance",
)


_RATES = ((200_000_000, 8e-4), (300_000_000, 4e-4), (1_000_000_000, 2e-4))
"""Of adapters on fewer parameters than so many: at lower rates they learn too little
(``docs/benchmarks.md``)."""
_GIVEN = "_given"
"""Where a learner keeps the names of the parameters that it was given."""


@dataclass(kw_only=True, eq=False)
class Parameters:
    """Parameters as the user gives them; ``LanguageModel`` describes each.

    Those that a recipe has and the user has not given are the recipe's.

    Raises
    ------
    ValueError
        A value is none of those that there are, or out of its range.
    """

    model: Path | str
    recipe: Recipe | None = None
    revision: str | None = ModelSettings.revision
    template: str | dict[str, str | list[str]] = "auto"
    truncation: Truncation = "left"
    train_length: int = 2048
    predict_length: int = 2048
    tuning: Tuning = ModelSettings.tuning
    bits: Bits = ModelSettings.bits
    rank: int = ModelSettings.rank
    alpha: float = ModelSettings.alpha
    dropout: float = ModelSettings.dropout
    modules: tuple[str, ...] = ModelSettings.modules
    soft_capping: bool = ModelSettings.soft_capping
    train_precision: TrainPrecision = ModelSettings.train_precision
    epochs: int = TrainingSettings.epochs
    batch_size: int = TrainingSettings.batch_size
    swap_augmentation: bool = TrainingSettings.swap_augmentation
    token_budget: Budget = TrainingSettings.token_budget
    learning_rate: float | None = None
    head_learning_rate: float | None = None
    weight_decay: float = TrainingSettings.weight_decay
    warmup_ratio: float = TrainingSettings.warmup_ratio
    schedule: Schedule = TrainingSettings.schedule
    max_grad_norm: float = TrainingSettings.max_grad_norm
    early_stopping: bool = TrainingSettings.early_stopping
    patience: int = TrainingSettings.patience
    validation_fraction: float = TrainingSettings.validation_fraction
    evaluations: int = TrainingSettings.evaluations
    teachers: Sequence[str] = ()
    teacher_mean: TeacherMean = "logits"
    teacher_weights: Sequence[float] = ()
    distillation: float | str = TrainingSettings.distillation
    temperature: float = TrainingSettings.temperature
    cosine: float = TrainingSettings.cosine
    activation_checkpointing: bool = TrainingSettings.activation_checkpointing
    pretrain_epochs: int = 1
    pretrain_learning_rate: float | None = None
    pretrain_head: PretrainHead = "drop"
    checkpoint_minutes: float = TrainingSettings.checkpoint_minutes
    swap_tta: bool = True
    predict_token_budget: int = PredictionSettings.token_budget
    precision: Precision = PredictionSettings.precision
    merge: bool = True
    init_seed: int | None = None
    parity_tolerance: float | None = None
    gpus: int = 1

    def __new__(cls, *_: Any, **given: Any) -> Self:
        """Note what is given: a default that is spelled out stands against a recipe."""
        self = super().__new__(cls)
        vars(self)[_GIVEN] = frozenset(given)
        return self

    def __post_init__(self) -> None:
        self._follow_recipe()
        self._check_choices()
        check_template(self.template)
        self._check_numbers()
        if self.tuning == "full" and self.bits < 16:
            raise ValueError(f'weights of {self.bits} bits cannot be trained: set tuning = "lora"')
        if self.train_precision == "fp8" and (self.tuning == "full" or self.bits < 16):
            raise ValueError(
                'train_precision = "fp8" computes frozen weights of 16 bits in FP8: set '
                'tuning = "lora" and bits = 16, or train_precision = "native"'
            )
        self._check_early_stopping()
        self._check_teachers()

    def model_settings(self) -> ModelSettings:
        """Give what concerns the model."""
        return ModelSettings(**self._chosen(ModelSettings) | {"model": str(self.model)})

    def training_settings(self, size: int) -> TrainingSettings:
        """Give what concerns training of a model of so many parameters."""
        return self._training(self._rate(size), {"epochs": self.epochs})

    def pretraining_settings(self, size: int) -> TrainingSettings:
        """Give what concerns training on rows of role ``pretrain``, of which no teacher speaks."""
        own = self.pretrain_learning_rate
        rate = self._rate(size) if own is None else own
        return self._training(
            rate, {"epochs": self.pretrain_epochs, "distillation": 0.0, "cosine": 0.0}
        )

    def prediction_settings(self) -> PredictionSettings:
        """Give what concerns prediction."""
        return PredictionSettings(self.predict_token_budget, self.precision)

    def distilled(self) -> dict[str, float]:
        """Give share, temperature and cosine of the teachers; what is given is no preset's."""
        names = ("distillation", "temperature", "cosine")
        own: dict[str, float] = {name: getattr(self, name) for name in names}
        if not isinstance(self.distillation, str):
            return own
        given = vars(self)[_GIVEN] - {"distillation"}
        preset: Any = DISTILLATIONS
        return {
            n: own[n] if n in given else value for n, value in preset[self.distillation].items()
        }

    def _rate(self, size: int) -> float:
        if self.learning_rate is not None:
            return self.learning_rate
        sizes = _RATES if self.tuning == "lora" else ()
        return next((rate for most, rate in sizes if size < most), TrainingSettings.learning_rate)

    def _training(self, rate: float, changes: dict[str, Any]) -> TrainingSettings:
        head_rate = self.head_learning_rate
        if head_rate is None:
            head_rate = rate * (self.rank / self.alpha if self.tuning == "lora" else 1.0)
        rates = {"learning_rate": rate, "head_learning_rate": head_rate}
        return TrainingSettings(
            **self._chosen(TrainingSettings) | self.distilled() | rates | changes
        )

    def _chosen(self, kind: type) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(kind)}
        return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

    def _follow_recipe(self) -> None:
        if self.recipe is None:
            return
        if self.recipe not in RECIPES:
            known = ", ".join(map(repr, RECIPES))
            raise ValueError(f"recipe must be one of {known}, got {self.recipe!r}")
        for name, value in RECIPES[self.recipe].items():
            if name not in vars(self)[_GIVEN]:
                setattr(self, name, value)

    def _check_teachers(self) -> None:
        """Refuse teachers without a share, a share without teachers, and presets that are none."""
        if isinstance(self.distillation, str) and self.distillation not in DISTILLATIONS:
            known = ", ".join(map(repr, DISTILLATIONS))
            raise ValueError(
                f"distillation must be a share in [0, 1] or one of {known}, got "
                f"{self.distillation!r}"
            )
        if bool(self.distillation or self.cosine) is not bool(self.teachers):
            raise ValueError(
                "teachers and distillation need one another: name learners of the run, and give "
                f"their share in the loss; got {list(self.teachers)} and {self.distillation}"
            )
        Teachers.of(self.teachers, self.teacher_mean, self.teacher_weights)

    def _check_early_stopping(self) -> None:
        """Refuse what early stopping alone reads where there is none."""
        if self.early_stopping:
            return
        for name in ("patience", "validation_fraction", "evaluations"):
            if getattr(self, name) != getattr(TrainingSettings, name):
                raise ValueError(f"{name} has no effect without early_stopping = true")

    def _check_choices(self) -> None:
        for field in fields(Parameters):
            choices = get_args(field.type) if get_origin(field.type) is Literal else ()
            value = getattr(self, field.name)
            if choices and value not in choices:
                allowed = ", ".join(map(repr, choices))
                raise ValueError(f"{field.name} must be one of {allowed}, got {value!r}")

    def _check_numbers(self) -> None:
        for name in _ONE_OR_MORE:
            self._require(name, "1 or more", getattr(self, name) >= 1)
        budget = self.token_budget
        self._require("token_budget", '1 or more, or "auto"', budget == "auto" or budget >= 1)
        for name in _ZERO_OR_MORE:
            self._require(name, "0 or more", getattr(self, name) >= 0)
        for name in _ABOVE_ZERO:
            value = getattr(self, name)
            self._require(name, "above 0", value is None or value > 0)
        self._require("init_seed", "0 or more", self.init_seed is None or self.init_seed >= 0)
        self._require("warmup_ratio", "in [0, 1]", 0 <= self.warmup_ratio <= 1)
        share = self.distillation
        self._require("distillation", "in [0, 1]", isinstance(share, str) or 0 <= share <= 1)
        self._require("dropout", "in [0, 1)", 0 <= self.dropout < 1)
        self._require("validation_fraction", "in (0, 0.5]", 0 < self.validation_fraction <= 0.5)

    def _require(self, name: str, what: str, holds: bool) -> None:
        if not holds:
            raise ValueError(f"{name} must be {what}, got {getattr(self, name)}")
