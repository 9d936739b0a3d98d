"""The base learner: battles to token ids, training, and logits averaged over both orders.

Every family is this one class with other defaults, such as ``ensemble_plugins.gemma2_lora``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ensemble.battles.swap import swap_classes
from ensemble.plugin.base import BaseLearner, Resources
from ensemble_plugins.language_model.advice import Measured, advise
from ensemble_plugins.language_model.fitted import FittedModel, require_extra
from ensemble_plugins.soft_labels import Teachers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray
    from ensemble.plugin.suggestion import DataSummary, Machine, Suggestion
    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import TrainingSettings
    from ensemble_plugins.language_model.train.rows import LabeledRows


@dataclass(kw_only=True, eq=False)
class LanguageModel(FittedModel, BaseLearner):
    """A pretrained language model that classifies battles.

    Parameters
    ----------
    model, revision, tuning, bits, rank, alpha, dropout, modules, soft_capping, train_precision
        See ``ModelSettings``.
    recipe
        Parameters of a public solution, for those that are not given; see
        ``docs/language_models.md``.
    template
        How a battle becomes text: ``"auto"`` is the tokenizer's own chat template, or plain text
        where it has none; ``"plain"``, ``"gemma2"``, ``"llama3"`` or ``"encoder"``; or a table of
        texts; see ``docs/language_models.md``.
    truncation
        What is cut where a battle is too long; see ``docs/language_models.md``.
    train_length, predict_length
        Most tokens of a battle, when training and when predicting; no more than the model has
        positions for, of which it warns.
    epochs, batch_size, swap_augmentation, token_budget
        See ``TrainingSettings``.
    learning_rate
        Of adapters or backbone; None is 1e-4, but for adapters on fewer than a billion
        parameters 2e-4, on fewer than 300 million 4e-4, and on fewer than 200 million 8e-4.
    weight_decay, warmup_ratio, schedule
        See ``TrainingSettings``.
    head_learning_rate
        Rate of the head; None for that of the stage times ``rank / alpha``, at which adapters and
        head move at one pace.
    max_grad_norm, early_stopping, patience, validation_fraction, evaluations
        See ``TrainingSettings``.
    distillation
        Share of the teachers in the loss, in [0, 1], or a preset of it, ``temperature`` and
        ``cosine``: ``"self"`` (0.9, 5, 0) or ``"1st"`` (0.5, 1, 0.5).
    temperature, cosine
        See ``TrainingSettings``.
    activation_checkpointing
        See ``TrainingSettings``.
    teachers
        Names of learners of the run that are distilled, by a share of ``distillation``.
    teacher_mean
        What is averaged of several teachers: ``"logits"`` or ``"probabilities"``.
    teacher_weights
        Weight of each teacher in that mean; empty counts all alike.
    pretrain_epochs, pretrain_learning_rate
        Of the stage on rows of role ``pretrain``; a rate of None is ``learning_rate``.
    pretrain_head
        Whether the head of that stage is kept, or dropped for a new one: ``"keep"`` or ``"drop"``.
    checkpoint_minutes
        How often training saves its state.
    swap_tta
        Whether logits are averaged over both orders of A and B.
    predict_token_budget
        Most tokens computed at once when predicting; out of memory halves it.
    precision
        See ``PredictionSettings``.
    merge
        Whether adapters are merged into the weights for prediction.
    init_seed
        Seed of the new head and the new adapters, for all folds alike; None draws others for each
        fold. Models that begin alike are closer together: see ``models = "soup"``.
    parity_tolerance
        Greatest drift from transformers' float32 logits; None for that of the dtype.
    gpus
        How many GPUs train one fold together; without a GPU, processes.
    """

    version: ClassVar[str] = "3"
    takes_offset: ClassVar[bool] = True
    measured: ClassVar[Measured | None] = None
    """Speed and memory of the default model; None where nobody has measured them."""

    @classmethod
    def suggest(cls, data: DataSummary, machine: Machine) -> Sequence[Suggestion]:
        """Say whether the default model fits a machine, and how; see ``advice.advise``."""
        if cls.measured is None:
            return []
        make: Any = cls  # families have a default for each parameter
        return [advise(make(), cls.measured, data, machine)]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pretrained_ = False

    def dependencies(self) -> dict[str, Any]:
        """Name weights, tokenizer and template by content: no place, hub id nor revision counts."""
        from ensemble_plugins.language_model.model.base_weights import identity

        found = identity(self.model_settings())
        content = {"weights": found["sha256"], "tokenizer": found["tokenizer_sha256"]}
        template = asdict(self._template())
        return {"model": content, "revision": None, "template": template}

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
        self._start(context)
        rows = self._rows(battles, labels, sample_weight, groups, context)
        self._train("pretrain", self.pretraining_settings(self._classifier.size), rows, context)
        self.pretrained_ = True
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
        if not self.pretrained_:
            self._start(context)
        elif self.pretrain_head == "drop":
            self._classifier.new_head(self._init_seed(context))
        rows = self._rows(battles, labels, sample_weight, groups, context)
        taught = replace(rows, teacher=self._teacher(context))
        self._train("fit", self.training_settings(self._classifier.size), taught, context)
        self.pretrained_ = False  # what was fitted is no start for another fit
        self._finish(self._probe(battles))
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        """Give logits ``(n, 3)`` float32, averaged over both orders where asked for."""
        from ensemble_plugins.language_model.model.inference import compute_logits

        orders = []
        for swapped in (False, True)[: 1 + self.swap_tta]:
            tokens = self._tokens(battles, self.predict_length, swapped=swapped)
            logits = compute_logits(self._classifier, tokens, self.predict_token_budget)
            orders.append(swap_classes(logits) if swapped else logits)
        return np.asarray(np.mean(orders, axis=0, dtype=np.float64), dtype=np.float32)

    def export(
        self,
        directory: Path,
        battles: pl.DataFrame,
        logits: LogitArray,
        *,
        about: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write the merged model for others, and hold it against the logits that the run has."""
        from ensemble_plugins.language_model.export.export import Trained, export_model

        self.classifier_ = None  # the export loads the weights anew: two may not fit into memory
        text, length = self._tokenizer(), self.predict_length
        trained = Trained(
            self.model_settings(),
            self.prediction_settings(),
            lambda: self._load_trained(),
            self.state_,
            self.facts_,
            text,
            self._template(),
            self.truncation,
            min(length, text.longest or length),
        )
        orders = [
            self._tokens(battles, length, swapped=swapped)
            for swapped in (False, True)[: 1 + self.swap_tta]
        ]
        texts = (battles[name].to_list() for name in ("prompt", "response_a", "response_b"))
        rows = list(zip(*texts, strict=True))
        return export_model(trained, directory, rows, orders, logits, about)

    def preflight(self, battles: pl.DataFrame, *, context: FitContext) -> None:
        """Read config and tokenizer, find the head, and lay a few battles out; no weights."""
        require_extra()
        from ensemble_plugins.language_model.model.heads import empty_classifier, find_head
        from ensemble_plugins.language_model.model.weights import load_config

        find_head(empty_classifier(load_config(self.model_settings())))
        self.cache_, self.privileged_ = context.cache_directory, context.privileged
        for length in {self.train_length, self.predict_length}:
            self._tokens(battles, length)

    def check(self, battles: pl.DataFrame, *, context: FitContext) -> dict[str, Any]:
        """Compute a few battles in every way that the learner will; see ``checks.check_model``."""
        require_extra()
        from ensemble_plugins.language_model.model.checks import check_model
        from ensemble_plugins.language_model.model.devices import pick_device

        self.cache_, self.privileged_ = context.cache_directory, context.privileged
        self.classifier_ = None
        found = check_model(
            self.model_settings(),
            self._tokens(battles, self.predict_length),
            self.prediction_settings(),
            merge=self._merges,
            device=pick_device(context.device),
            pad_id=self._pad_id(),
            contrast=self._tokenizer().contrast(),
            tolerance=self.parity_tolerance,
        )
        template = self._template()
        return found | {"template": f"{template.start!r} ... {template.end!r}"}

    @property
    def cautions(self) -> list[str]:  # type: ignore[override]
        """What became of the checkpoint's head, of something else than battles."""
        return self._told_of_head(learned_battles=False)

    @property
    def doubts(self) -> list[str]:  # type: ignore[override]
        """The same, of a checkpoint that has learned battles before it came here."""
        return self._told_of_head(learned_battles=True)

    @property
    def resources(self) -> Resources:  # type: ignore[override]
        """What one fit needs."""
        # Adapters are small; weights that are all trained are all stored.
        files = Path(self.model).glob("*.safetensors") if self.tuning == "full" else ()
        stored = sum(file.stat().st_size for file in files)
        return Resources(gpus=self.gpus, memory_gib=16.0, disk_gib=stored / 2**30)

    @property
    def batch_tolerance(self) -> float:  # type: ignore[override]
        """How far logits may differ between batches: rounding of the dtype that is computed in."""
        if self.classifier_ is None:
            return BaseLearner.batch_tolerance
        from ensemble_plugins.language_model.model.parity import TOLERANCES

        return max(BaseLearner.batch_tolerance, 2 * TOLERANCES[self.classifier_.dtype])

    def _start(self, context: FitContext) -> None:
        """Load the pretrained model anew, with a new head and new adapters."""
        require_extra()
        import torch

        from ensemble_plugins.language_model.model.outputs import warn_of_head

        torch.set_num_threads(context.threads)
        self.cache_ = context.cache_directory
        self.privileged_ = context.privileged
        self.tokenizer_, self.facts_ = None, {}
        self.classifier_ = None  # before the new one is loaded: two may not fit into memory
        self.classifier_ = self._load_classifier(
            self.model_settings(), context.device, self._init_seed(context)
        )
        warn_of_head(self.classifier_.caution, str(self.model))

    def _init_seed(self, context: FitContext) -> int:
        return context.seed if self.init_seed is None else self.init_seed

    def _train(
        self, stage: str, settings: TrainingSettings, rows: LabeledRows, context: FitContext
    ) -> None:
        from ensemble_plugins.language_model.train.stages import train_stage

        self.classifier_ = train_stage(
            self._hand_over(), rows, settings, context, name=stage, gpus=self.gpus
        )

    def _hand_over(self) -> Classifier:
        """Give the model away: nobody else may hold what has to leave the GPU."""
        classifier = self._classifier
        self.classifier_ = None
        return classifier

    def _rows(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        weight: FloatArray | None,
        groups: IntArray | None,
        context: FitContext,
    ) -> LabeledRows:
        from ensemble_plugins.language_model.train.rows import LabeledRows

        orders = tuple(
            self._tokens(battles, self.train_length, swapped=swapped)
            for swapped in (False, True)[: 1 + self.swap_augmentation]
        )
        every = np.arange(len(battles), dtype=np.int64)
        return LabeledRows(
            orders,
            labels,
            np.ones(len(battles)) if weight is None else weight,
            every if groups is None else groups,
            offset=context.offset,
            eval_mask=context.eval_mask,
        )

    def _teacher(self, context: FitContext) -> LogitArray | None:
        """Average what the teachers say."""
        teachers = Teachers.of(self.teachers, self.teacher_mean, self.teacher_weights)
        return teachers.logits(context.teachers, ties=context.ties)
