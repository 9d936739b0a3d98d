"""Plugins that Python code gives by themselves: a class, an instance, a function, a feature set."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from functools import reduce
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ensemble.errors import ConfigError, EnsembleError
from ensemble.plugin.base import BaseLearner, MetaLearner
from ensemble.plugin.extract import MAIN, UnportableError, dashed, extracted
from ensemble.plugin.feature import FeatureSet
from ensemble.plugin.files import load_file
from ensemble.plugin.manager import get_manager
from ensemble.plugin.modules import is_local, place_of
from ensemble.plugin.parameters import constructor_parameters, plain, plain_parameters
from ensemble.plugin.referred import give
from ensemble.storage.hashing import fingerprint
from ensemble.storage.json_files import write_text
from ensemble.storage.user_cache import user_cache

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LEARNERS = (BaseLearner, MetaLearner)


def named_plugins(raw: dict[str, Any]) -> dict[str, Any]:
    """Put names in the places of plugins that the tables of a config hold themselves.

    Parameters
    ----------
    raw
        A config as a dictionary. A learner may be a class or an instance, by itself or as its
        ``plugin``; so may ``meta_learner``. A loader may be a function, and a feature set an
        object, wherever its name may stand.

    Returns
    -------
    dict[str, Any]
        The same with names. A class of a module that is not installed is named by its file, one of
        a notebook by a copy of its source, where it can be copied; else it is known in this
        process alone, which is a warning.

    Raises
    ------
    ConfigError
        A plugin is of no kind that can stand there, or a parameter has no form in TOML.
    """
    found: dict[str, Any] = _named(raw)
    if isinstance(found.get("stack"), dict):
        found["stack"] = _stack(found["stack"])
    for reading in [*_tables(found.get("sources")), *_tables(found.get("test"))]:
        if callable(reading.get("loader")):
            reading["loader"] = reference(reading["loader"])
    if "learners" in found:
        learners = found["learners"]
        found["learners"] = _learners(learners if isinstance(learners, list) else [learners])
    return found


def reference(target: Any) -> str:
    """Name a class, a function or a feature set so that a config can.

    Returns
    -------
    str
        Its registered name, where it has one; else where it is.
    """
    module, name = _where(target)
    registered = _registered(target, f"{module}:{name}")
    if registered is not None:
        return registered
    if module is None or _found(module, name) is not target:
        return _given(target, name)
    if module == MAIN:
        return _of_main(target, name)
    file = place_of(module)
    if file is None:
        return _given(target, f"{module}:{name}")
    return f"{file}:{name}" if is_local(module) else f"{module}:{name}"


def _named(value: Any) -> Any:
    """Copy tables, with the names of feature sets in their places."""
    if isinstance(value, FeatureSet):
        return reference(value)
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list | tuple) else value


def _tables(value: Any) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return [one for one in items if isinstance(one, dict)]


def _learners(items: Iterable[Any]) -> list[Any]:
    items = [one if isinstance(one, dict) else {"plugin": one} for one in items]
    taken = {one["name"] for one in items if "name" in one}
    found = []
    for number, one in enumerate(items, 1):
        plugin = one.get("plugin")
        if plugin is None or isinstance(plugin, str):
            found.append(one)
            continue
        kind, parameters = _taken_apart(plugin, BaseLearner, f"learners[{number}]")
        name = one.get("name") or _free(dashed(kind.__name__), taken)
        taken.add(name)
        found.append({"name": name, **parameters, **one, "plugin": reference(kind)})
    return found


def _stack(table: dict[str, Any]) -> dict[str, Any]:
    given = table.get("meta_learner")
    if given is None or isinstance(given, str):
        return table
    kind, parameters = _taken_apart(given, MetaLearner, "stack.meta_learner")
    merged = {**parameters, **table.get("parameters", {})}
    return {**table, "meta_learner": reference(kind), "parameters": merged}


def _taken_apart(given: Any, base: type, where: str) -> tuple[type, dict[str, Any]]:
    """Give the class of a plugin, and the parameters that differ from its defaults."""
    kind = given if isinstance(given, type) else type(given)
    if not issubclass(kind, base):
        raise ConfigError(
            f"{given!r:.80} is no {base.__name__}",
            where=where,
            hint=f"give a class derived from ensemble.{base.__name__}, or an instance of one",
        )
    if given is kind:
        return kind, {}
    defaults = constructor_parameters(kind)
    held = plain_parameters(given)
    changed = {name: v for name, v in held.items() if v != plain(defaults[name].default)}
    for name, value in changed.items():
        if value is None:
            raise ConfigError(
                f'parameter "{name}" is None, which a config cannot say',
                where=where,
                hint=f"leave it at its default, {defaults[name].default!r}, or make None that",
            )
    return kind, changed


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _registered(target: Any, lazy: str) -> str | None:
    """Find the name that something is registered under."""
    for registry in get_manager().registries.values():
        for entry in registry:
            if entry.target is target or entry.target == lazy:
                return entry.name
    return None


def _where(target: Any) -> tuple[str | None, str]:
    """Say which module has something, and under which name."""
    if isinstance(target, type | FunctionType):
        return target.__module__, target.__qualname__
    for key, module in list(sys.modules.items()):
        held = getattr(module, "__dict__", {})
        for name, value in list(held.items()) if key == MAIN or is_local(key) else ():
            if value is target:
                return key, name
    return None, str(getattr(target, "name", type(target).__name__))


def _found(module: str, name: str) -> Any:
    try:
        return reduce(getattr, name.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        return None


def _given(target: Any, name: str) -> str:
    """Name something that only this process knows."""
    named = name if ":" in name else f"{MAIN}:{name}"
    named = re.sub(r"[^\w.:<>]", "_", named)
    give(named, target)
    _warn(name, "it is not defined at the top level of a module or notebook")
    return named


def _of_main(target: Any, name: str) -> str:
    """Name a class of a notebook or script by a copy of its source."""
    try:
        if not isinstance(target, type | FunctionType):
            raise UnportableError("its source is not known")
        files = extracted(target)
        place = user_cache("sources", fingerprint(files)[:16])
        for file, text in files.items():
            if not _holds(place / file, text):
                write_text(place / file, text)
        main = (place / next(iter(files))).resolve()
        load_file(main)
    except (UnportableError, EnsembleError, OSError, UnicodeError) as error:
        _warn(name, getattr(error, "message", str(error)))
        return f"{MAIN}:{name}"
    return f"{main}:{name}"


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeError):
        return False


def _warn(name: str, why: str) -> None:
    warnings.warn(
        f"{name} can be used in this process alone: {why}; put it into a file of its own to score "
        "new rows by the run later",
        stacklevel=_outside(),
    )


def _outside() -> int:
    """Say how many calls up the user's own code is."""
    frame, level = inspect.currentframe(), 0
    while (
        frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "ensemble"
    ):
        frame, level = frame.f_back, level + 1
    return level
