"""The base learner: battles to token ids, training, and logits averaged over both orders.

Every family is this one class with other defaults, such as ``ensemble_plugins.gemma2_lora``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ensemble.battles.swap import swap_classes
from ensemble.errors import LearnerError
from ensemble.plugin.base import BaseLearner, Resources
from ensemble.storage.json_files import read_json, write_json
from ensemble_plugins.language_model.advice import Measured, advise
from ensemble_plugins.language_model.parameters import Parameters
from ensemble_plugins.language_model.text.privileged import privileged_texts
from ensemble_plugins.soft_labels import Teachers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl
    import torch

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray
    from ensemble.plugin.suggestion import DataSummary, Machine, Suggestion
    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import ModelSettings, TrainingSettings
    from ensemble_plugins.language_model.text.prompts import Template
    from ensemble_plugins.language_model.text.tokenization import BattleTokenizer
    from ensemble_plugins.language_model.text.tokens import Tokens
    from ensemble_plugins.language_model.train.rows import LabeledRows

_PARITY_ROWS = 4
_FACTS = "facts.json"


@dataclass(kw_only=True, eq=False)
class LanguageModel(Parameters, BaseLearner):
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
        Of adapters or backbone; None is 2e-4 for adapters on fewer than a billion parameters,
        and else 1e-4.
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

    version: ClassVar[str] = "2"
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
        self.classifier_: Classifier | None = None
        self.tokenizer_: BattleTokenizer | None = None
        self.cache_: Path | None = None
        self.pretrained_ = False
        self.state_: dict[str, torch.Tensor] = {}
        self.facts_: dict[str, Any] = {}
        self.template_: Template | None = None
        self.privileged_: tuple[str, ...] = ()

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

    def save(self, directory: Path) -> None:
        """Write adapters and head as PEFT does, what they stand on, and what was measured."""
        from ensemble_plugins.language_model.model.adapters import write_state

        write_state(self._classifier, self.state_, directory)
        write_json(directory / _FACTS, self.facts_)

    def load(self, directory: Path) -> Self:
        """Restore what ``save`` wrote; see ``adapters.read_state`` for what is verified."""
        _require_extra()
        from ensemble_plugins.language_model.model.adapters import read_state, trained_state
        from ensemble_plugins.language_model.text.templates import stored_template

        self.facts_ = read_json(directory / _FACTS)
        # As it was trained with: another version of transformers may write another one.
        self.template_ = stored_template(self.facts_["template"])
        self.privileged_ = tuple(self.facts_["privileged"])
        self.tokenizer_ = None
        self.classifier_ = self._load_trained()
        read_state(self.classifier_, directory)
        self.state_ = trained_state(self.classifier_)
        self._prepare(merge=self.facts_["merged"])
        return self

    def average_models(self, directories: Sequence[Path]) -> Self:
        """Become the mean of models that ``save`` wrote; see ``averaging.average_states``."""
        _require_extra()
        from ensemble_plugins.language_model.model.adapters import put_state
        from ensemble_plugins.language_model.model.averaging import average_states, common_facts
        from ensemble_plugins.language_model.text.templates import stored_template

        self.facts_ = common_facts([read_json(one / _FACTS) for one in directories])
        self.template_ = stored_template(self.facts_["template"])
        self.privileged_ = tuple(self.facts_["privileged"])
        self.tokenizer_ = None
        self.state_ = average_states(directories)
        self.classifier_ = self._load_trained()
        put_state(self.classifier_, self.state_, where=f"the mean of {directories[0]} and others")
        # Wherever the folds were fitted: the soup predicts here.
        self.facts_["dtype"] = str(self.classifier_.dtype).removeprefix("torch.")
        self._prepare(merge=self.facts_["merged"])
        return self

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
        _require_extra()
        from ensemble_plugins.language_model.model.heads import empty_classifier, find_head
        from ensemble_plugins.language_model.model.weights import load_config

        find_head(empty_classifier(load_config(self.model_settings())))
        self.cache_, self.privileged_ = context.cache_directory, context.privileged
        for length in {self.train_length, self.predict_length}:
            self._tokens(battles, length)

    def check(self, battles: pl.DataFrame, *, context: FitContext) -> dict[str, Any]:
        """Compute a few battles in every way that the learner will; see ``checks.check_model``."""
        _require_extra()
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
            tolerance=self.parity_tolerance,
        )
        template = self._template()
        return found | {"template": f"{template.start!r} ... {template.end!r}"}

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
        from ensemble_plugins.language_model.model.parity import TOLERANCES

        if self.classifier_ is None:
            return BaseLearner.batch_tolerance
        return max(BaseLearner.batch_tolerance, 2 * TOLERANCES[self.classifier_.dtype])

    @property
    def _classifier(self) -> Classifier:
        if self.classifier_ is None:
            raise LearnerError("the learner is not fitted")
        return self.classifier_

    def _start(self, context: FitContext) -> None:
        """Load the pretrained model anew, with a new head and new adapters."""
        _require_extra()
        import torch

        torch.set_num_threads(context.threads)
        self.cache_ = context.cache_directory
        self.privileged_ = context.privileged
        self.tokenizer_, self.facts_ = None, {}
        self.classifier_ = None  # before the new one is loaded: two may not fit into memory
        self.classifier_ = self._load_classifier(
            self.model_settings(), context.device, self._init_seed(context)
        )

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

    def _tokens(self, battles: pl.DataFrame, max_length: int, *, swapped: bool = False) -> Tokens:
        texts = [battles[name].to_list() for name in ("prompt", "response_a", "response_b")]
        known = privileged_texts(battles, self.privileged_, swapped=swapped)
        return self._tokenizer().encode(*texts, max_length=max_length, swapped=swapped, known=known)

    def _tokenizer(self) -> BattleTokenizer:
        if self.tokenizer_ is None:
            self.tokenizer_ = self._make_tokenizer()
        return self.tokenizer_

    def _make_tokenizer(self) -> BattleTokenizer:
        from ensemble_plugins.language_model.model.positions import longest_row, warn_of_cuts
        from ensemble_plugins.language_model.model.weights import load_config, load_tokenizer
        from ensemble_plugins.language_model.text.tokenization import BattleTokenizer

        settings = self.model_settings()
        longest = longest_row(load_config(settings))
        lengths = {name: getattr(self, name) for name in ("train_length", "predict_length")}
        warn_of_cuts(longest, lengths, settings.model)
        return BattleTokenizer(
            load_tokenizer(settings),
            self._template(),
            truncation=self.truncation,
            longest=longest,
            cache_directory=self.cache_,
        )

    def _template(self) -> Template:
        """Give the template in force."""
        from ensemble_plugins.language_model.model.templates import find_template

        if self.template_ is None:
            self.template_ = find_template(self.model_settings(), self.template)
        return self.template_

    def _load_classifier(self, settings: ModelSettings, device: str, seed: int) -> Classifier:
        from ensemble_plugins.language_model.model.devices import pick_device
        from ensemble_plugins.language_model.model.loading import load_classifier

        return load_classifier(
            settings, device=pick_device(device), seed=seed, pad_id=self._pad_id()
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

    def _pad_id(self) -> int:
        from ensemble_plugins.language_model.model.weights import load_tokenizer

        found: int | None = load_tokenizer(self.model_settings()).pad_token_id
        return 0 if found is None else found

    def _probe(self, battles: pl.DataFrame) -> Tokens:
        """Take a few rows from all over the battles."""
        spread = np.linspace(0, len(battles) - 1, min(_PARITY_ROWS, len(battles)))
        return self._tokens(battles[np.unique(spread.astype(int))], self.predict_length)

    def _finish(self, probe: Tokens) -> None:
        """Hold the trained model against transformers; make it ready, and note what was found."""
        from ensemble_plugins.language_model.model.adapters import trained_state
        from ensemble_plugins.language_model.model.checks import measure_fitted

        self.state_ = trained_state(self._classifier)
        self.facts_ = measure_fitted(
            self._classifier,
            probe,
            budget=self.predict_token_budget,
            tolerance=self.parity_tolerance,
            prepare=lambda: self._prepare(merge=self._merges),
        )
        self.facts_ |= {
            "merged": self._merges,
            "precision": self.precision,
            "longest_row": self._tokenizer().longest,
            "template": asdict(self._template()),
            "privileged": list(self.privileged_),
        }

    @property
    def _merges(self) -> bool:
        """Whether adapters go into the weights for prediction."""
        return self.merge and self.tuning == "lora" and self.bits == 16

    def _prepare(self, *, merge: bool) -> None:
        classifier = self._classifier
        config = getattr(classifier.model, "peft_config", None)
        classifier.prepare(self.prediction_settings(), merge=merge)
        if merge:  # PEFT drops the adapters' config with them, and `save` writes it
            classifier.base.peft_config = config


def _require_extra() -> None:
    missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        raise LearnerError(
            f"language models need {', '.join(missing)}, which is not installed",
            hint="in a clone of the repository: pip install -c constraints.txt '.[lm]'",
        )
