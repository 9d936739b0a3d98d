"""From TOML to typed settings: strict types, unknown keys refused, all faults reported together."""

from __future__ import annotations

import stat
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ensemble.artifacts import write_text
from ensemble.config_faults import RUN_MARKS, faults_of, is_copied_run, place_faults
from ensemble.config_paths import anchored, moved
from ensemble.errors import ConfigError, nearest
from ensemble.processes import available_cores
from ensemble.redact import is_secret_name, masked, remember_secrets
from ensemble.secrets import References
from ensemble.usage import SourceUse

if TYPE_CHECKING:
    from pathlib import Path

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


_LARGEST = 10_000_000
"""Bytes of the largest config that is read."""
_DEEPEST = 32
"""Tables within tables that a config may have."""
_SHOWN = 100
"""Characters of a wrong value that an error shows."""

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
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
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
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
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
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
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

    Notes
    -----
    The config that a run keeps is of the directory that it lies in, copied or moved.
    """
    config = parse_config(_read_toml(path), path)
    place = path.resolve().parent
    if not is_copied_run(config, path.resolve()):
        return config
    # A run is the directory that it lies in: a copy does not write over what it is a copy of.
    config = moved(config, place)
    _refuse(place_faults(config, None), path)
    return config


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
    config, faults = _resolved(_read_toml(path), path)
    _refuse(faults, path)
    return moved(config, run.resolve())


def parse_config(raw: dict[str, Any], path: Path) -> Config:
    """Check a config that has been read; ``path`` is named in errors and anchors paths."""
    config, faults = _resolved(raw, path)
    _refuse([*faults, *place_faults(config, path)], path)
    return config


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise ValueError("it is a device or a pipe, and no file")
        if status.st_size > _LARGEST:
            raise ValueError(f"it has {status.st_size:,} bytes, and a config at most {_LARGEST:,}")
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8 and not TOML are ValueErrors
        raise ConfigError(f"the config cannot be read: {error}", where=str(path)) from error
    _refuse_depth(raw, path)
    return raw


def _refuse_depth(raw: dict[str, Any], path: Path) -> None:
    """Refuse tables within tables that no reader or writer of them gets to the end of."""
    level: list[Any] = [raw]
    for _ in range(_DEEPEST):
        tables = [item.values() if isinstance(item, dict) else item for item in level]
        level = [x for items in tables for x in items if isinstance(x, dict | list)]
    if level:
        raise ConfigError(f"tables or lists are nested more than {_DEEPEST} deep", where=str(path))


def _resolved(raw: dict[str, Any], path: Path) -> tuple[Config, list[str]]:
    """Check types and values, and make paths absolute; faults of types end it at once."""
    remember_secrets(raw)
    gathered = {**raw, "learners": [_gather_parameters(t) for t in _tables(raw, "learners")]}
    try:
        config = Config.model_validate(gathered)
    except ValidationError as error:
        raise ConfigError(_explain(error), where=str(path), mend="see docs/config.md") from error
    faults = faults_of(config)
    if config.stack.meta_learner == "none":
        stack = config.stack.model_copy(update={"meta_learner": None})
        config = config.model_copy(update={"stack": stack})
    return anchored(config, path.resolve().parent, faults), faults


def _refuse(faults: list[str], path: Path) -> None:
    if faults:
        raise ConfigError("\n".join(faults), where=str(path))


def write_config(config: Config, path: Path) -> None:
    """Write a config as resolved: every default spelled out, every path absolute.

    Secrets are replaced by names in the environment.
    """
    raw = config.model_dump(exclude_none=True)
    references = References(raw)
    raw["learners"] = [
        {key: getattr(learner, key) for key in LEARNER_KEYS}
        | references.put(learner.parameters, learner.name)
        for learner in config.learners
    ]
    for source in raw["sources"]:
        _refer(source, source["name"], references)
    if config.test is not None:
        _refer(raw["test"], "test", references)
    raw["stack"]["parameters"] = references.put(raw["stack"]["parameters"], "stack")
    if config.stack.meta_learner is None:
        raw["stack"]["meta_learner"] = "none"
    write_text(path, _told(references.names) + tomli_w.dumps(raw))


def _refer(reading: dict[str, Any], owner: str, references: References) -> None:
    for key in ("path", "options"):
        reading[key] = references.put(reading[key], owner)


def _told(names: list[str]) -> str:
    """Say how a config whose secrets were taken out is run again."""
    if not names:
        return ""
    return (
        "# Secrets are not stored. Before this config is run, or new rows are scored, set in the "
        f"environment:\n# {', '.join(names)}\n\n"
    )


def _tables(raw: dict[str, Any], key: str) -> list[Any]:
    tables = raw.get(key, [])
    return tables if isinstance(tables, list) else [tables]


def _gather_parameters(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    own = {key: value for key, value in table.items() if key in LEARNER_KEYS}
    return own | {"parameters": {k: v for k, v in table.items() if k not in own}}


def _explain(error: ValidationError) -> str:
    return "\n".join(_explain_one(item) for item in error.errors(include_url=False))


def _explain_one(item: Any) -> str:
    place = _place(item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {place}: {nearest(str(item['loc'][-1]), _known_keys(item['loc']))}"
    if item["type"] == "missing":
        return f"missing key {place}"
    got = _got(item["input"], [str(part) for part in item["loc"]])
    if item["type"] == "string_pattern_mismatch":
        return f"{place}: should be {_PATTERNS[item['ctx']['pattern']]}, got {got}"
    return f"{place}: {item['msg'][0].lower()}{item['msg'][1:]}, got {got}"


def _got(value: Any, place: list[str]) -> str:
    """Show a wrong value: no secret, and not a page of it."""
    secret = next((part for part in place if is_secret_name(part)), "")
    try:
        text = repr(masked(value, secret))
    except ValueError:  # Python writes no number of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}\N{HORIZONTAL ELLIPSIS}"


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
