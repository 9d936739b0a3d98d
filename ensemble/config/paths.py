"""Paths of a config: taken from its own directory, and found again where a project has moved."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.plugin_files import with_files
from ensemble.config.settings import Source
from ensemble.errors import ConfigError
from ensemble.redact import without_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.config.settings import Config, Reading


def anchored(config: Config, directory: Path, faults: list[str]) -> Config:
    """Make every path absolute; one that is none is left as it is, and a fault.

    Parameters
    ----------
    config
        As it was read.
    directory
        The config's own, where relative paths start.
    faults
        Takes a sentence for each path that is none.
    """

    def absolute(path: str) -> str:
        try:
            place = str((directory / Path(path).expanduser()).resolve())
            place.encode()
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                os.lstat(place)  # names may be too long to be of any file
        except UnicodeEncodeError:
            faults.append(f"{path!r} cannot be stored: a name on the way is not UTF-8; rename it")
        except (OSError, RuntimeError, ValueError) as error:
            faults.append(f"{path!r:.200} is no path: {_reason(error)}")
        else:
            return place
        return path

    return with_files(_with_paths(config, absolute), absolute)


def from_home(config: Config) -> Config:
    """Write paths below the user's home directory from ``~``, as ``anchored`` reads them."""
    return with_files(_with_paths(config, without_home), without_home)


def check_utf8(path: Path) -> None:
    """Refuse a path that no file of a run could hold.

    Raises
    ------
    ConfigError
        A name on the way is not UTF-8.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise ConfigError("a name is not UTF-8", where=str(path), hint="rename it") from error


def moved(config: Config, now: Path) -> Config:
    """Give a run's own config as it is where the run is now, after it has moved or was copied.

    Where every input that lies in ``base_dir`` is there in the same place beside the run as it is
    now, the whole project has moved or was copied, and its own files are taken. Else a path is
    looked for beside the run only where there is nothing in its former place.

    Parameters
    ----------
    config
        With absolute paths; ``run_dir`` is where the run was.
    now
        Where it is.
    """
    was = Path(config.run_dir)
    if was == now:
        return config
    base = Path(config.base_dir)

    def beside(path: Path) -> Path:
        return Path(os.path.normpath(now / os.path.relpath(path, was)))

    inputs = [Path(path) for path in _inputs(config)]
    # What the run itself keeps says nothing of the project around it.
    own = [p for p in inputs if p.is_relative_to(base) and not p.is_relative_to(was)]
    together = bool(own) and all(_exists(beside(path)) for path in own)

    def found(text: str) -> str:
        path = Path(text)
        if path.is_relative_to(was):  # a table that the run keeps goes where the run goes
            return str(beside(path))
        taken = together and path.is_relative_to(base)
        return str(beside(path)) if taken or (not _exists(path) and _exists(beside(path))) else text

    def found_file(text: str) -> str:
        return str(beside(Path(text))) if Path(text).is_relative_to(was) else found(text)

    at_home = with_files(_with_paths(config, found), found_file)
    return at_home.model_copy(update={"run_dir": str(now)})


def _inputs(config: Config) -> list[str]:
    beside = (config.folds.embeddings, config.folds.file)
    others = [*beside, *(source.labels for source in config.sources)]
    paths = [path for reading in config.readings() for path in reading.paths()]
    return [*paths, *filter(None, others)]


def _with_paths(config: Config, change: Callable[[str], str]) -> Config:
    def changed(reading: Reading) -> Any:
        update: dict[str, Any] = {}
        if reading.hub is None:  # else its path is one within the data set
            path = reading.path
            there = change(path) if isinstance(path, str) else [change(one) for one in path]
            update["path"] = there
        if isinstance(reading, Source) and reading.labels is not None:
            update["labels"] = change(reading.labels)
        return reading.model_copy(update=update)

    changes: dict[str, Any] = {
        "run_dir": change(config.run_dir),
        "base_dir": change(config.base_dir),
        "sources": [changed(source) for source in config.sources],
        "test": config.test and changed(config.test),
    }
    beside = {"embeddings": config.folds.embeddings, "file": config.folds.file}
    given = {name: change(path) for name, path in beside.items() if path is not None}
    if given:
        changes["folds"] = config.folds.model_copy(update=given)
    return config.model_copy(update=changes)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _reason(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)
