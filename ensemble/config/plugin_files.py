"""Plugins that a config names by a file: ``"my_learner.py:MyModel"``, wherever a name may stand."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ensemble.config.settings import Config

_IN_FILE = re.compile(r"(.+\.py):([^\W\d]\w*(?:\.[^\W\d]\w*)*)", re.DOTALL)
"""Names of directories have newlines, too."""


@lru_cache(maxsize=4096)  # every key of every fit asks
def split_reference(name: str) -> tuple[Path, str] | None:
    """Take ``"file.py:Name"`` apart; None where a name is of another form."""
    found = _IN_FILE.fullmatch(name)
    return (Path(found[1]), found[2]) if found else None


def absolute_name(name: str) -> str:
    """Say where the file of a plugin lies; a path starts in the current directory."""
    found = split_reference(name)
    return f"{found[0].expanduser().resolve()}:{found[1]}" if found else name


def short_name(name: str) -> str:
    """Leave out where a file lies: what it holds counts, and not where.

    Examples
    --------
    >>> short_name("/home/me/my_learner.py:MyModel")
    'my_learner.py:MyModel'
    >>> short_name("tfidf")
    'tfidf'
    """
    found = split_reference(name)
    return f"{found[0].name}:{found[1]}" if found else name


def short_names(value: Any) -> Any:
    """Leave out where files lie in all strings of nested tables and lists that name a plugin."""
    return changed_names(value, short_name)


def with_files(config: Config, change: Callable[[str], str]) -> Config:
    """Change the path of every plugin file of a config.

    Parameters
    ----------
    config
        The config. Names in parameters count too: feature sets are named there.
    change
        Gives the new path.
    """

    def named(name: str) -> str:
        found = _IN_FILE.fullmatch(name)
        return f"{change(found[1])}:{found[2]}" if found else name

    def of_reading(reading: Any) -> Any:
        loader = reading.loader and named(reading.loader)
        return reading.model_copy(update={"loader": loader})

    learners = [
        one.model_copy(
            update={"plugin": named(one.plugin), "parameters": changed_names(one.parameters, named)}
        )
        for one in config.learners
    ]
    stack = config.stack
    asked = {"meta_learner": stack.meta_learner and named(stack.meta_learner)}
    others = {
        name: changed_names(getattr(stack, name), named) for name in ("features", "parameters")
    }
    others["choose"] = short_name(stack.choose)  # the candidate that a meta-learner is
    return config.model_copy(
        update={
            "plugins": [change(path) for path in config.plugins],
            "learners": learners,
            "stack": stack.model_copy(update=asked | others),
            "sources": [of_reading(source) for source in config.sources],
            "test": config.test and of_reading(config.test),
        }
    )


def plugin_files(config: Config) -> list[Path]:
    """List the plugin files that a config names, each once."""
    found: dict[Path, None] = {}

    def note(path: str) -> str:
        found[Path(path)] = None
        return path

    with_files(config, note)
    return list(found)


def changed_names(value: Any, change: Callable[[str], str]) -> Any:
    """Change all strings of nested tables and lists, where names of plugins may stand."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: changed_names(item, change) for key, item in value.items()}
    return (
        [changed_names(item, change) for item in value]
        if isinstance(value, list | tuple)
        else value
    )


class _Named:
    """The files with hooks that this process was told of."""

    by_command: tuple[str, ...] = ()
    by_config: tuple[str, ...] = ()


def add_files(paths: Iterable[Path]) -> None:
    """Have every config that is read from now on name these files among its ``plugins``."""
    new = (str(path.expanduser().resolve()) for path in paths)
    _Named.by_command = tuple(dict.fromkeys([*_Named.by_command, *new]))


def forget_files() -> None:
    """Forget what files were named: for tests."""
    _Named.by_command = _Named.by_config = ()


def remember_files(config: Config) -> Config:
    """Have this process know the plugin files of the config that was read last.

    Returns
    -------
    Config
        It names the files of ``add_files`` too.
    """
    plugins = list(dict.fromkeys([*config.plugins, *_Named.by_command]))
    _Named.by_config = tuple(plugins)
    return config.model_copy(update={"plugins": plugins})


def named_files() -> tuple[Path, ...]:
    """List the files with hooks of the command line, and of the config that was read last."""
    return tuple(map(Path, dict.fromkeys([*_Named.by_config, *_Named.by_command])))
