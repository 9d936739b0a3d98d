"""From TOML to typed settings, with all faults reported together, and back."""

from __future__ import annotations

import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any

import tomli_w
from pydantic import ValidationError

from ensemble.config.explain import explain
from ensemble.config.paths import anchored, from_home, moved
from ensemble.config.plugin_files import remember_files
from ensemble.config.secrets import References
from ensemble.config.settings import LEARNER_KEYS, OBSERVER_KEYS, Config
from ensemble.config.validation import faults_of, is_copied_run, place_faults
from ensemble.errors import ArtifactError, ConfigError, EnsembleError
from ensemble.redact import remember_secrets
from ensemble.run_dir.kept_config import is_not_as_written, with_seal
from ensemble.run_dir.layout import CONFIG, RUN_MARKS
from ensemble.storage.json_files import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HINT = "run `ensemble run CONFIG` again; if you have changed it yourself, remove its first line"
_LARGEST = 10_000_000
"""Bytes of the largest config that is read."""
_DEEPEST = 32
"""Tables within tables that a config may have."""
_LONG_KEY = re.compile(
    r"""(?:^|[{,])[ \t]*\[{0,2}(?:[ \t]*(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.){32}""",
    re.MULTILINE,
)
"""A key of as many parts: readers of TOML take the square of their number of steps."""


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
    config = _parsed(_read_toml(path), path)
    place = path.resolve().parent
    if not is_copied_run(config, path.resolve()):
        return remember_files(config)
    # A run is the directory that it lies in: a copy does not write over what it is a copy of.
    config = moved(config, place)
    _refuse(place_faults(config, None), path)
    return remember_files(config)


def load_run_config(run: Path, *, is_judged: bool = False) -> Config:
    """Read the config that a run directory keeps, for what the directory already holds.

    Parameters
    ----------
    run
        The run directory. It may have moved: ``run_dir`` is where it is now. Of other paths no
        more is asked than that they are paths.
    is_judged
        Whether the caller holds the config against what was made, and says itself where it differs.

    Raises
    ------
    ConfigError
        It is no run directory, or its config is one that this version does not understand.
    ArtifactError
        Its config is not what was written.
    """
    return remember_files(load_other_config(run, is_judged=is_judged))


def load_other_config(run: Path, *, is_judged: bool = False) -> Config:
    """Read the config of a run that is only looked at; parameters and errors as above.

    No code that it names is taken into this process: its plugins are somebody else's.
    """
    if not any((run / mark).exists() for mark in RUN_MARKS):
        raise ConfigError(
            "this is not a run directory",
            where=str(run),
            hint="give the `run_dir` of a config that has been run",
        )
    path = run / CONFIG
    if not is_judged:
        _refuse_damage(path)
    try:
        config, faults = _resolved(_read_toml(path), path)
        _refuse(faults, path)
    except ConfigError as error:
        error.hint = _HINT
        raise
    return moved(config, run.resolve())


def config_fault(run: Path) -> str | None:
    """Say what is wrong with the file that is a run's config; None where nothing is, or no run."""
    path = run / CONFIG
    if not any((run / mark).exists() for mark in RUN_MARKS[1:]):
        return None
    try:
        _refuse_damage(path)
        _read_toml(path)
    except EnsembleError as error:
        return error.message
    return None


def _refuse_damage(path: Path) -> None:
    if is_not_as_written(path):
        raise ArtifactError("the run's config is not what was written", where=str(path), hint=_HINT)


def parse_config(raw: dict[str, Any], path: Path) -> Config:
    """Check a config that has been read; ``path`` is named in errors and anchors paths."""
    return remember_files(_parsed(raw, path))


def _parsed(raw: dict[str, Any], path: Path) -> Config:
    config, faults = _resolved(raw, path)
    _refuse([*faults, *place_faults(config, path)], path)
    return config


def check_config(config: Config, directory: Path) -> Config:
    """Check a config that was made in Python as one that was read is checked.

    Parameters
    ----------
    config
        Whose types are right.
    directory
        Where relative paths in it start.

    Raises
    ------
    ConfigError
        As ``load_config``.
    """
    config, faults = _completed(config, directory)
    _refuse([*faults, *place_faults(config, None)], directory)
    return remember_files(config)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise ValueError("it is a device or a pipe, and no file")
        if status.st_size > _LARGEST:
            raise ValueError(f"it has {status.st_size:,} bytes, and a config at most {_LARGEST:,}")
        text = path.read_text(encoding="utf-8-sig")
        if _LONG_KEY.search(text):
            raise _too_deep(path)
        raw = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8 and not TOML are ValueErrors
        raise ConfigError(
            f"the config cannot be read: {error}",
            where=str(path),
            hint="give a file in TOML; `ensemble init` writes one",
        ) from error
    _refuse_depth(raw, path)
    return raw


def _refuse_depth(raw: dict[str, Any], path: Path) -> None:
    """Refuse tables within tables that no reader or writer of them gets to the end of."""
    level: list[Any] = [raw]
    for _ in range(_DEEPEST):
        tables = [item.values() if isinstance(item, dict) else item for item in level]
        level = [x for items in tables for x in items if isinstance(x, dict | list)]
    if level:
        raise _too_deep(path)


def _too_deep(path: Path) -> ConfigError:
    return ConfigError(
        f"tables or lists are nested more than {_DEEPEST} deep",
        where=str(path),
        hint="give what is nested so deep as a file",
    )


def _resolved(raw: dict[str, Any], path: Path) -> tuple[Config, list[str]]:
    """Check types and values, and make paths absolute; faults of types end it at once."""
    remember_secrets(raw)
    gathered = dict(raw)
    for table, keys in (("learners", LEARNER_KEYS), ("observers", OBSERVER_KEYS)):
        if table == "learners" or table in raw:
            gathered[table] = [_gather_parameters(t, keys) for t in _tables(raw, table)]
    try:
        config = Config.model_validate(gathered)
    except ValidationError as error:
        raise ConfigError(explain(error), where=str(path), hint="see docs/config.md") from error
    return _completed(config, path.resolve().parent)


def _completed(config: Config, directory: Path) -> tuple[Config, list[str]]:
    """Check values, and make paths absolute; gives the faults beside it."""
    faults = faults_of(config)
    if config.stack.meta_learner == "none":
        stack = config.stack.model_copy(update={"meta_learner": None})
        config = config.model_copy(update={"stack": stack})
    return anchored(config, directory, faults), faults


def _refuse(faults: list[str], path: Path) -> None:
    if faults:
        raise ConfigError("\n".join(faults), where=str(path), hint="see docs/config.md")


def write_config(config: Config, path: Path) -> None:
    """Write a config as resolved: every default spelled out, every path absolute or from ``~``.

    Secrets are replaced by names in the environment.
    """
    config = from_home(config)
    raw = config.model_dump(exclude_none=True)
    if config.folds.are_given and "n_splits" not in config.folds.model_fields_set:
        del raw["folds"]["n_splits"]  # the user's folds say how many they are
    references = References(raw)
    raw["learners"] = [
        {key: v for key in LEARNER_KEYS if (v := getattr(learner, key)) not in (None, [])}
        | references.put(learner.parameters, learner.name)
        for learner in config.learners
    ]
    if not raw["observers"]:
        del raw["observers"]
    for number, one in enumerate(config.observers):
        own = references.put(one.parameters, f"observer {one.plugin}")
        raw["observers"][number] = {"plugin": one.plugin} | own
    for source in raw["sources"]:
        _refer(source, source["name"], references)
    if config.test is not None:
        _refer(raw["test"], "test", references)
    raw["stack"]["parameters"] = references.put(raw["stack"]["parameters"], "stack")
    if config.stack.meta_learner is None:
        raw["stack"]["meta_learner"] = "none"
    text = _told(references.names) + tomli_w.dumps(raw)
    write_text(path, with_seal(text))


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


def _gather_parameters(table: Any, keys: Sequence[str]) -> Any:
    if not isinstance(table, dict):
        return table
    own = {key: value for key, value in table.items() if key in keys}
    return own | {"parameters": {k: v for k, v in table.items() if k not in own}}
