"""Plugins that are named by where they are: ``"my_learner.py:MyModel"`` or ``"module:Name"``."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from functools import reduce
from importlib.metadata import packages_distributions, version
from typing import TYPE_CHECKING, Any

from ensemble.config.plugin_files import short_name, split_reference
from ensemble.errors import ConfigError, nearest
from ensemble.plugin.faults import plugin_errors
from ensemble.plugin.files import load_file
from ensemble.plugin.registered import FILE, GIVEN, Registered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

_IN_MODULE = re.compile(r"[^\W\d][\w.]*:[\w.<>]+")
_GIVEN: dict[str, object] = {}


def is_reference(name: str) -> bool:
    """Say whether a name says where a plugin is: no registered name has a colon."""
    return split_reference(name) is not None or _IN_MODULE.fullmatch(name) is not None


def give(name: str, target: object) -> None:
    """Have a reference stand for an object of this process that no module holds."""
    _GIVEN[name] = target


def refer(name: str, kind: str, accepts: Callable[[object], bool]) -> Registered:
    """Find what a reference stands for.

    Parameters
    ----------
    name
        The reference; a path in it is absolute.
    kind, accepts
        What is asked for, and whether an object is that.

    Raises
    ------
    ConfigError
        The file is missing or faulty, or has nothing of the kind under that name.
    """
    found = split_reference(name)
    if found is None:
        return _in_module(name)
    path, attribute = found
    module = load_file(path)
    refuse_other_api(module, path.name, str(path))
    target = _attribute(module, attribute, path, kind, accepts)
    return Registered(
        short_name(name), target, short_name(name), f"{FILE}{path.name}", bringer=module
    )


def refuse_other_api(plugin: object, name: str, where: str) -> None:
    """Refuse a plugin that says that it was made for another version of the hooks.

    Raises
    ------
    ConfigError
        It does.
    """
    told = other_api(plugin)
    if told:
        raise ConfigError(f"{name} {told}", where=where)


def other_api(plugin: object) -> str | None:
    """Say that a plugin was made for another version of the hooks; None where it was not."""
    from ensemble.plugin.hookspecs import API_VERSION

    asked = getattr(plugin, "ensemble_api", API_VERSION)
    if asked == API_VERSION and not isinstance(asked, bool):
        return None
    newer = isinstance(asked, int) and asked > API_VERSION
    which = "install a newer preference-ensemble" if newer else "update the plugin"
    return (
        f"was made for version {asked!r:.40} of the hooks (ensemble_api), and "
        f"this preference-ensemble has version {API_VERSION}: {which}"
    )


def _attribute(
    module: ModuleType, name: str, path: Path, kind: str, accepts: Callable[[object], bool]
) -> object:
    fitting = [key for key, value in _defined(module) if _is_accepted(accepts, value)]
    try:
        target: object = reduce(getattr, name.split("."), module)
    except plugin_errors() as error:
        raise ConfigError(
            f'{path.name} has no "{name}"',
            where=str(path),
            hint=_what_there_is(name, fitting, kind),
        ) from error
    if not _is_accepted(accepts, target):
        line = _line_of(path, name)
        raise ConfigError(
            f'"{name}" of {path.name} is no {kind}: it is {_described(target)}',
            where=f"{path}:{line}" if line else str(path),
            hint=_how(target, kind) or _what_there_is(name, fitting, kind),
        )
    return target


def _defined(module: ModuleType) -> list[tuple[str, object]]:
    """Give what a module defines itself; what it imports may be the base class."""
    return [
        (name, value)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", module.__name__) == module.__name__
    ]


def _is_accepted(accepts: Callable[[object], bool], value: object) -> bool:
    try:
        return accepts(value)
    except plugin_errors():  # an object may answer as it likes
        return False


def _what_there_is(name: str, fitting: list[str], kind: str) -> str:
    if not fitting:
        return f"the file has no {kind}"
    return nearest(name, fitting)


def _how(target: object, kind: str) -> str | None:
    from ensemble.plugin.base import BaseLearner, MetaLearner

    bases = {"base learner": BaseLearner, "meta-learner": MetaLearner}
    base = bases.get(kind)
    if base is None:
        return None
    if isinstance(target, base):
        return f"name its class, {type(target).__name__}: instances are made from the config"
    if isinstance(target, type):
        return f"derive it from ensemble.{base.__name__}: class {target.__name__}({base.__name__})"
    return None


def _described(target: object) -> str:
    if isinstance(target, type):
        bases = ", ".join(base.__name__ for base in target.__bases__)
        return f"a class derived from {bases}"
    what = "function" if inspect.isfunction(target) else type(target).__name__
    return f"an object of {what}" if what != "function" else "a function"


def _line_of(path: Path, name: str) -> int | None:
    """Find the line that a name of a file is defined in."""
    top = name.partition(".")[0]
    try:
        nodes = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return None
    named = {getattr(node, "name", None): node.lineno for node in nodes}
    for node in nodes:
        targets = node.targets if isinstance(node, ast.Assign) else []
        named |= {one.id: node.lineno for one in targets if isinstance(one, ast.Name)}
    return named.get(top)


def _in_module(name: str) -> Registered:
    module = name.partition(":")[0]
    if name in _GIVEN:
        return Registered(name, _GIVEN[name], name, GIVEN)
    if module == "__main__":
        return Registered(name, _of_main(name), name, GIVEN)
    return Registered(name, name, name, _distribution_of(module))


def _of_main(name: str) -> Any:
    """Find what a notebook or a script has defined, or defines again."""
    attribute = name.partition(":")[2]
    try:
        return reduce(getattr, attribute.split("."), sys.modules["__main__"])
    except AttributeError as error:
        raise ConfigError(
            f'"{name}" was given in Python by a process that has ended, and its source could not '
            "be kept",
            where=name,
            hint=f"define {attribute} again in this process, or put it into a file and name it as "
            f'plugin = "FILE.py:{attribute}"',
        ) from error


def _distribution_of(module: str) -> str:
    top = module.partition(".")[0]
    names = packages_distributions().get(top, ())
    return f"{names[0]} {version(names[0])}" if names else GIVEN
