"""The tables of a config, typed: strict types, unknown keys refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ensemble.config.source_settings import SourceSettings
from ensemble.errors import ConfigError, nearest
from ensemble.processes import available_cores

if TYPE_CHECKING:
    from collections.abc import Collection

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_DEVICE = r"^(auto|cpu|cuda(:[0-9]+)?)$"
PATTERNS = {
    _NAME: "letters, digits, . _ -, at most 100, the first a letter or a digit",
    _DEVICE: "auto, cpu, cuda or cuda:N",
}
"""What a pattern asks for, in words."""

Name = Annotated[str, StringConstraints(pattern=_NAME, strip_whitespace=False)]
"""Names become directories: letters, digits, ``.``, ``_``, ``-``, never a path."""
Device = Annotated[str, StringConstraints(pattern=_DEVICE)]
"""Where a learner computes."""

LEARNER_KEYS = ("name", "plugin", "seeds", "time_limit", "models", "folds", "privileged")
"""Keys of ``[[learners]]`` that are no parameters of the plugin."""


OBSERVER_KEYS = ("plugin",)
"""Keys of ``[[observers]]`` that are no parameters of the plugin."""

Metric = Literal["log_loss", "accuracy"]
"""What candidates are chosen by."""

Many = Field(max_length=1000)
"""Most entries of a list in a config: more are no setting that a person has written."""

Seconds = Annotated[float, Field(gt=0, le=1e9)]
"""A time limit."""

Models = Literal["folds", "refit", "soup"]
"""Which models of a learner predict rows that no fold holds out."""


SomeFolds = (
    Annotated[int, Field(ge=1, le=100)]
    | Annotated[list[Annotated[int, Field(ge=0, lt=100)]], Field(min_length=1)]
)
"""How many folds, or which."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Reading(_Table):
    """How a file of battles is read; shared by sources and the test file."""

    path: str | Annotated[list[str], Field(max_length=100_000)] = ""
    loader: str | None = None
    options: dict[str, Any] = {}
    text_format: Literal["auto", "json", "plain"] = "auto"
    format: str | None = None
    columns: dict[str, str] = {}
    winner: dict[str, Literal["a", "b", "tie"]] = {}
    pairs: Literal["all", "best_worst"] | Annotated[int, Field(ge=1, le=1_000_000)] = "all"
    tie_below: Annotated[float, Field(ge=0, le=1e9)] | None = None
    temperature: Annotated[float, Field(gt=0, le=1e9)] | None = None
    score: str | None = None
    ranking: Literal["ranks", "order"] | None = None
    make_ids: bool = False
    hub: str | None = None
    revision: str | None = None

    def paths(self) -> list[str]:
        """Give its paths: files, patterns or directories; of a hub's data set they are none."""
        if self.hub is not None:
            return []
        return [self.path] if isinstance(self.path, str) else list(self.path)

    def named(self) -> str:
        """Name it in messages: its path or paths, or the hub's data set."""
        paths = [self.path] if isinstance(self.path, str) else self.path
        told = paths[0] if paths else ""
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        hub = f"hub data set {self.hub}" if self.hub is not None else ""
        return " ".join(part for part in (hub, f"{told}{more}") if part)


class Source(Reading):
    """One ``[[sources]]`` table."""

    on_bad_rows: Literal["error", "drop"] = "error"

    name: Name
    role: Literal["target", "train", "pretrain", "pseudo", "ignore"]
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    reweight: Literal["none", "importance", "labels"] = "none"
    logit_adjustment: bool = False
    pseudo_labelers: Annotated[list[Name], Many] = []
    id_prefix: str = ""
    sides: Literal["auto", "file", "hash"] = "auto"
    labels: str | None = None

    def use(self) -> SourceSettings:
        """Say how its rows are used."""
        return SourceSettings(
            self.role,
            self.weight,
            self.share,
            self.reweight,
            self.logit_adjustment,
            tuple(self.pseudo_labelers),
        )


class Task(_Table):
    """The ``[task]`` table: what is predicted, what it is chosen by, and what is handed in.

    Without ties there are two classes. A tie in a label of the target is then an error; in other
    sources it counts half for either side.
    """

    ties: bool = True
    metric: Metric = "log_loss"
    submission: Literal["probabilities", "winner"] = "probabilities"


class Folds(_Table):
    """The ``[folds]`` table; `docs/folds.md` says what becomes of each kind of folds."""

    n_splits: Annotated[int, Field(ge=2, le=100)] = 5
    scheme: Literal["clusters", "time"] = "clusters"
    time_column: str | None = None
    undated: Literal["cut", "train"] = "cut"
    column: str | None = None
    file: str | None = None
    allow_split_clusters: bool = False
    group_columns: Annotated[list[str], Many] = []
    holdout: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    near_duplicate_threshold: Annotated[float, Field(ge=0.5, le=1.0)] = 0.8
    embeddings: str | None = None
    embedding_threshold: Annotated[float, Field(gt=0, le=1)] = 0.95

    @property
    def are_given(self) -> bool:
        """Whether the user assigns the folds, so that their number is not the config's."""
        return self.column is not None or self.file is not None


class Learner(_Table):
    """One ``[[learners]]`` table; keys beside these are the plugin's parameters.

    ``time_limit`` is in seconds, for each fold; without it that of ``[execution]`` counts. Without
    ``models`` those of ``[predict]`` count. ``folds`` fits so many folds, the first ones, or those
    in a list: enough to see how good the learner is. It then enters the stack only where
    ``[stack] learners`` names it. ``privileged`` names columns that do not exist at test time: who
    has them may teach and label, and is not stacked.
    """

    name: Name
    plugin: str
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    time_limit: Seconds | None = None
    models: Models | None = None
    folds: SomeFolds | None = None
    privileged: Annotated[list[str], Many] = []
    parameters: dict[str, Any] = {}

    def planned_folds(self, n_splits: int) -> list[int]:
        """Give the folds that it is fitted on, ascending."""
        if isinstance(self.folds, list):
            return sorted({fold for fold in self.folds if fold < n_splits})
        return list(range(n_splits if self.folds is None else min(self.folds, n_splits)))


class Stack(_Table):
    """The ``[stack]`` table.

    ``time_limit`` is in seconds, for all that the meta-learner does.
    """

    meta_learner: str | None = "lightgbm"
    choose: str = "auto"
    nesting: Literal["auto", "full", "plain"] = "auto"
    features: Annotated[list[str], Many] = []
    learners: Annotated[list[Name], Many] | None = None
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    time_limit: Seconds | None = None
    parameters: dict[str, Any] = {}


class Predict(_Table):
    """The ``[predict]`` table: which models give the test logits.

    ``"folds"`` averages the logits of the folds' models, ``"soup"`` is one model, the mean of their
    weights, and ``"refit"`` one that is fitted on everything. ``refit`` makes the last even where
    others are used, so that both are on record.
    """

    models: Models = "folds"
    refit: bool = False


class Execution(_Table):
    """The ``[execution]`` table.

    With ``devices`` each worker process has one of them to itself, in place of ``device``. Workers
    of 0 are one for each core with ``auto``, a single one with ``processes``, and with ``ray`` as
    many as the cluster has room for. ``time_limit`` is in seconds, for each fold of a learner that
    has none of its own, and for the meta-learner. ``address`` is that of a Ray cluster; without it
    ``ray`` starts one on this machine. A fit for which no node is large enough waits
    ``wait_for_nodes`` seconds for one that joins later; without it, its learner fails at once.
    """

    executor: Literal["auto", "in-process", "processes", "ray"] = "auto"
    address: Annotated[str, StringConstraints(min_length=1, max_length=300)] | None = None
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    device: Device = "auto"
    devices: Annotated[list[Device], Many] = []
    time_limit: Seconds | None = None
    wait_for_nodes: Annotated[float, Field(ge=0, le=7 * 86_400, allow_inf_nan=False)] = 0.0

    def slots(self) -> int:
        """How many folds are fitted at a time: one for each of ``devices`` where there are some."""
        return (len(self.devices) or self.workers or 1) if self.executor == "processes" else 1

    def threads_per_fit(self) -> int:
        """CPU threads a learner may use: all cores, shared among the workers, where none is set."""
        return self.threads or max(1, available_cores() // self.slots())

    def gpus_for(self, declared: int) -> int:
        """GPUs that a fit is to have: what its learner declares, none on devices that are none."""
        named = self.devices or [self.device]
        return declared if any(name.startswith(("auto", "cuda")) for name in named) else 0


class Observer(_Table):
    """One ``[[observers]]`` table; keys beside ``plugin`` are the plugin's parameters."""

    plugin: str
    parameters: dict[str, Any] = {}


class Config(_Table):
    """A whole config.

    ``base_dir`` is where relative paths among learners' parameters start; like all paths it is
    itself taken from the config's directory. ``plugins`` are files of Python with hooks.
    """

    run_dir: str
    base_dir: str = "."
    plugins: Annotated[list[str], Many] = []
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    sources: Annotated[list[Source], Field(min_length=1, max_length=1000)]
    test: Reading | None = None
    task: Task = Task()
    folds: Folds = Folds()
    learners: Annotated[list[Learner], Many] = []
    stack: Stack = Stack()
    predict: Predict = Predict()
    execution: Execution = Execution()
    observers: Annotated[list[Observer], Many] = []

    def readings(self) -> list[Source | Reading]:
        """Give the sources in their order and, where there is one, the test file after them."""
        return [*self.sources, *([self.test] if self.test else [])]

    def source_uses(self) -> dict[str, SourceSettings]:
        """How the rows of each source are used, in the order of the config."""
        return {source.name: source.use() for source in self.sources}

    def learner(self, name: str) -> Learner:
        """Find a learner by name.

        Raises
        ------
        ConfigError
            No learner of the config is called so.
        """
        for learner in self.learners:
            if learner.name == name:
                return learner
        names = [learner.name for learner in self.learners]
        raise ConfigError(f'no learner is called "{name}"', hint=nearest(name, names))

    def stacked_learners(self) -> list[Learner]:
        """Learners that enter the stack, in the order of the config.

        Those that ``stack.learners`` names; else those that are fitted on all folds, or all
        learners where there is none.
        """
        if self.stack.learners is None:
            known = [one for one in self.learners if not one.privileged]
            return [one for one in known if one.folds is None] or known
        return [self.learner(name) for name in self.stack.learners]

    def some_folds(self, n_splits: int) -> dict[str, frozenset[int]]:
        """Give the folds of the learners that are not fitted on all of them."""
        some = (one for one in self.learners if one.folds is not None)
        return {one.name: frozenset(one.planned_folds(n_splits)) for one in some}

    def without(self, learners: Collection[str]) -> Config:
        """Give the config whose stack leaves some learners out; itself where it has none of them.

        A candidate that a single learner does not have is then no longer chosen.
        """
        remaining = [one.name for one in self.stacked_learners() if one.name not in learners]
        if len(remaining) == len(self.stacked_learners()):
            return self
        alone = len(remaining) == 1 and self.stack.choose in ("mean", "blend")
        changed = {"learners": remaining, **({"choose": "auto"} if alone else {})}
        return self.model_copy(update={"stack": self.stack.model_copy(update=changed)})

    def models_of(self, learner: str) -> Models:
        """Say which models of a learner predict: by its own table, or by ``[predict]``.

        Those with privileged columns predict what their folds hold out, and no more.
        """
        own = {one.name: one for one in self.learners}.get(learner)
        if own is not None and own.privileged:
            return "folds"
        return (own and own.models) or self.predict.models

    def wants_soup(self, learner: str) -> bool:
        """Whether the mean of a learner's models is made; it takes those of all folds."""
        return self.models_of(learner) == "soup" and self.learner(learner).folds is None

    def wants_refit(self, learner: str) -> bool:
        """Whether a learner is fitted once more on everything, to predict test rows.

        One with ``folds`` is only where it enters the stack.
        """
        if any(one.privileged for one in self.learners if one.name == learner):
            return False
        some = [one.name for one in self.learners if one.folds is not None]
        stacked = [one.name for one in self.stacked_learners()]
        wanted = self.predict.refit or self.models_of(learner) == "refit"
        return wanted and (learner not in some or learner in stacked)
