"""From TOML to typed settings: strict types, unknown keys refused, all faults reported together."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ensemble.artifacts import write_text
from ensemble.config_faults import RUN_MARKS, faults_of, place_faults
from ensemble.errors import ConfigError, nearest
from ensemble.processes import available_cores
from ensemble.usage import SourceUse

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_DEVICE = r"^(auto|cpu|cuda(:[0-9]+)?)$"
_PATTERNS = {
    _NAME: "letters, digits, . _ -, at most 100, the first a letter or a digit",
    _DEVICE: "auto, cpu, cuda or cuda:N",
}
"""What a pattern asks for, in words."""

Name = Annotated[str, StringConstraints(pattern=_NAME, strip_whitespace=False)]
"""Names become directories: letters, digits, ``.``, ``_``, ``-``, never a path."""
Device = Annotated[str, StringConstraints(pattern=_DEVICE)]
"""Where a learner computes."""


LEARNER_KEYS = ("name", "plugin", "seeds")
"""Keys of ``[[learners]]`` that are no parameters of the plugin."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Reading(_Table):
    """How a file of battles is read; shared by sources and the test file."""

    path: str
    loader: str | None = None
    options: dict[str, Any] = {}
    text_format: Literal["json", "plain"] = "json"


class Source(Reading):
    """One ``[[sources]]`` table."""

    on_bad_rows: Literal["error", "drop"] = "error"

    name: Name
    role: Literal["target", "train", "pretrain", "pseudo", "ignore"]
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    reweight: Literal["none", "importance", "labels"] = "none"
    offset: bool = False
    teachers: list[Name] = []
    id_prefix: str = ""
    sides: Literal["file", "hash"] = "file"

    def use(self) -> SourceUse:
        """Say how its rows are used."""
        return SourceUse(
            self.role, self.weight, self.share, self.reweight, self.offset, tuple(self.teachers)
        )


class Folds(_Table):
    """The ``[folds]`` table."""

    n_splits: Annotated[int, Field(ge=2, le=100)] = 5
    near_duplicate_threshold: Annotated[float, Field(ge=0.5, le=1.0)] = 0.8
    embeddings: str | None = None
    embedding_threshold: Annotated[float, Field(gt=0, le=1)] = 0.95


class Learner(_Table):
    """One ``[[learners]]`` table; keys beside these three are the plugin's parameters."""

    name: Name
    plugin: str
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    parameters: dict[str, Any] = {}


class Stack(_Table):
    """The ``[stack]`` table."""

    meta_learner: str | None = "lightgbm"
    choose: str = "verdict"
    nesting: Literal["auto", "full", "plain"] = "auto"
    features: list[str] = []
    learners: list[Name] | None = None
    resamples: Annotated[int, Field(ge=100)] = 10_000
    parameters: dict[str, Any] = {}


class Predict(_Table):
    """The ``[predict]`` table: which models give the test logits.

    ``refit`` makes the models that are fitted on everything even where the folds' are used, so that
    both are on record.
    """

    models: Literal["folds", "refit"] = "folds"
    refit: bool = False


class Execution(_Table):
    """The ``[execution]`` table.

    With ``devices`` each worker process has one of them to itself, in place of ``device``. Workers
    of 0 are one for each core with ``auto``, and a single one with ``processes``.
    """

    executor: Literal["auto", "in-process", "processes"] = "auto"
    workers: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=0)] = 0
    device: Device = "auto"
    devices: list[Device] = []

    def slots(self) -> int:
        """How many folds are fitted at a time: one for each of ``devices`` where there are some."""
        return (len(self.devices) or self.workers or 1) if self.executor == "processes" else 1


class Config(_Table):
    """A whole config.

    ``base_dir`` is where relative paths among learners' parameters start; like all paths it is
    itself taken from the config's directory.
    """

    run_dir: str
    base_dir: str = "."
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    sources: Annotated[list[Source], Field(min_length=1)]
    test: Reading | None = None
    folds: Folds = Folds()
    learners: list[Learner] = []
    stack: Stack = Stack()
    predict: Predict = Predict()
    execution: Execution = Execution()

    def readings(self) -> list[Source | Reading]:
        """Give the sources in their order and, where there is one, the test file after them."""
        return [*self.sources, *([self.test] if self.test else [])]

    def source_uses(self) -> dict[str, SourceUse]:
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
        raise ConfigError(f'no learner is called "{name}"', mend=nearest(name, names))

    def stacked_learners(self) -> list[Learner]:
        """Learners that enter the stack, in the order of the config."""
        if self.stack.learners is None:
            return list(self.learners)
        return [self.learner(name) for name in self.stack.learners]

    def wants_refit(self) -> bool:
        """Whether learners are fitted once more on everything."""
        return self.predict.refit or self.predict.models == "refit"

    def threads(self) -> int:
        """CPU threads a learner may use: all cores, shared among the workers, where none is set."""
        return self.execution.threads or max(1, available_cores() // self.execution.slots())


def load_config(path: Path) -> Config:
    """Read a config; paths in it are taken from its own directory.

    Parameters
    ----------
    path
        A TOML file.

    Raises
    ------
    ConfigError
        The file is missing or not TOML; a key is unknown (the nearest is named), missing or of the
        wrong type; names clash; no source is the target; the run's directory holds the config or a
        file that it reads. All faults are reported together.
    """
    return parse_config(_read_toml(path), path)


def load_run_config(run: Path) -> Config:
    """Read the config that a run directory keeps, for what the directory already holds.

    Parameters
    ----------
    run
        The run directory. It may have moved: ``run_dir`` is where it is now. Of other paths no
        more is asked than that they are paths.

    Raises
    ------
    ConfigError
        It is no run directory, or its config is one that this version does not understand.
    """
    if not any((run / mark).exists() for mark in RUN_MARKS):
        raise ConfigError(
            "this is not a run directory",
            where=str(run),
            mend="give the `run_dir` of a config that has been run",
        )
    path = run / "config.toml"
    config, faults = _resolved(_read_toml(path) | {"run_dir": str(run.resolve())}, path)
    _refuse(faults, path)
    return config


def parse_config(raw: dict[str, Any], path: Path) -> Config:
    """Check a config that has been read; ``path`` is named in errors and anchors paths."""
    config, faults = _resolved(raw, path)
    _refuse([*faults, *place_faults(config, path)], path)
    return config


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8 and not TOML are ValueErrors
        raise ConfigError(f"the config cannot be read: {error}", where=str(path)) from error


def _resolved(raw: dict[str, Any], path: Path) -> tuple[Config, list[str]]:
    """Check types and values, and make paths absolute; faults of types end it at once."""
    gathered = {**raw, "learners": [_gather_parameters(t) for t in _tables(raw, "learners")]}
    try:
        config = Config.model_validate(gathered)
    except ValidationError as error:
        raise ConfigError(_explain(error), where=str(path), mend="see docs/config.md") from error
    faults = faults_of(config)
    return _anchor(config, path.resolve().parent, faults), faults


def _refuse(faults: list[str], path: Path) -> None:
    if faults:
        raise ConfigError("\n".join(faults), where=str(path))


def write_config(config: Config, path: Path) -> None:
    """Write a config as resolved: every default spelled out, every path absolute."""
    raw = config.model_dump(exclude_none=True)
    raw["learners"] = [
        {key: getattr(learner, key) for key in LEARNER_KEYS} | learner.parameters
        for learner in config.learners
    ]
    if config.stack.meta_learner is None:
        raw["stack"]["meta_learner"] = "none"
    write_text(path, tomli_w.dumps(raw))


def _tables(raw: dict[str, Any], key: str) -> list[Any]:
    tables = raw.get(key, [])
    return tables if isinstance(tables, list) else [tables]


def _gather_parameters(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    own = {key: value for key, value in table.items() if key in LEARNER_KEYS}
    return own | {"parameters": {k: v for k, v in table.items() if k not in own}}


def _anchor(config: Config, directory: Path, faults: list[str]) -> Config:
    """Make every path absolute; one that is none is left as it is, and a fault."""

    def absolute(path: str) -> str:
        try:
            return str((directory / Path(path).expanduser()).resolve())
        except (OSError, RuntimeError, ValueError) as error:
            faults.append(f"{path!r} is no path: {error}")
            return path

    def anchored(reading: Reading) -> Any:
        return reading.model_copy(update={"path": absolute(reading.path)})

    changes: dict[str, Any] = {
        "run_dir": absolute(config.run_dir),
        "base_dir": absolute(config.base_dir),
        "sources": [anchored(source) for source in config.sources],
        "test": config.test and anchored(config.test),
    }
    if config.folds.embeddings is not None:
        vectors = absolute(config.folds.embeddings)
        changes["folds"] = config.folds.model_copy(update={"embeddings": vectors})
    if config.stack.meta_learner == "none":
        changes["stack"] = config.stack.model_copy(update={"meta_learner": None})
    return config.model_copy(update=changes)


def _explain(error: ValidationError) -> str:
    return "\n".join(_explain_one(item) for item in error.errors(include_url=False))


def _explain_one(item: Any) -> str:
    place = _place(item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {place}: {nearest(str(item['loc'][-1]), _known_keys(item['loc']))}"
    if item["type"] == "missing":
        return f"missing key {place}"
    if item["type"] == "string_pattern_mismatch":
        wanted = _PATTERNS[item["ctx"]["pattern"]]
        return f"{place}: should be {wanted}, got {item['input']!r}"
    return f"{place}: {item['msg'][0].lower()}{item['msg'][1:]}, got {item['input']!r}"


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {
        "sources": Source,
        "test": Reading,
        "folds": Folds,
        "stack": Stack,
        "predict": Predict,
        "execution": Execution,
    }
    return list((tables[str(location[0])] if len(location) > 1 else Config).model_fields)
