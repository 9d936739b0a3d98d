"""Making a plugin from the keys of a config: names and types are checked before any work starts."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import json
import pathlib
import typing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ensemble.errors import ConfigError, EnsembleError, PluginError, nearest
from ensemble.plugin.faults import own_line, plugin_errors, staying
from ensemble.storage.hashing import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pydantic import TypeAdapter

Plugin = TypeVar("Plugin")

_NAMESPACE = {**vars(typing), **vars(collections.abc), **vars(pathlib)}
"""Names that annotations use, though plugin modules may import them for type checkers alone."""


def build(
    kind: type[Plugin],
    parameters: Mapping[str, Any],
    *,
    where: str,
    anchor: pathlib.Path | None = None,
) -> Plugin:
    """Make a plugin from its parameters.

    Parameters
    ----------
    kind
        The plugin's class.
    parameters
        Keywords of its constructor, as a config gives them.
    where
        The place in the config, for errors.
    anchor
        Directory that relative paths start from; None leaves them as they are. What may be a name
        or a path (``Path | str``) is a path where there is something at that place, or where it is
        a name in a file of Python that is there (``file.py:name``).

    Raises
    ------
    ConfigError
        A keyword is unknown (the nearest is named), missing or of the wrong type, or the
        constructor refuses its value, or fails. All faults but the last are reported together.
    """
    accepted = constructor_parameters(kind)
    faults = [
        f'unknown parameter "{name}": {nearest(name, accepted)}'
        for name in parameters
        if name not in accepted
    ]
    faults += [
        f'parameter "{name}" is missing'
        for name, parameter in accepted.items()
        if parameter.default is inspect.Parameter.empty and name not in parameters
    ]
    hints = _annotations(kind)
    values: dict[str, Any] = {}
    for name in accepted.keys() & parameters.keys():
        try:
            value = _checked(hints.get(name, Any), parameters[name])
            values[name] = _anchored(value, anchor, typing.get_args(hints.get(name, Any)))
        except ValueError as error:
            faults.append(f'parameter "{name}": {_reason(error)}, got {parameters[name]!r}')
    if faults:
        raise ConfigError("; ".join(sorted(faults)), where=where)
    return _construct(kind, values, where)


def plain_parameters(plugin: object) -> dict[str, Any]:
    """Read back the parameters that a plugin was made with, defaults included, as JSON.

    A path becomes its text, an enumeration's member its value, a set a sorted list.

    Raises
    ------
    PluginError
        The constructor does not store a parameter under its own name, or its value has no form in
        JSON; the parameter is named.
    """
    return {name: _read_back(plugin, name) for name in constructor_parameters(type(plugin))}


def path_parameters(plugin: object) -> dict[str, list[pathlib.Path]]:
    """Give the paths among the parameters that a plugin was made with, those in lists too.

    Returns
    -------
    dict[str, list[pathlib.Path]]
        By parameter; those without a path are left out.
    """
    names = constructor_parameters(type(plugin))
    found = {name: list(_paths(_stored(plugin, name))) for name in names}
    return {name: paths for name, paths in found.items() if paths}


def placeless(
    plugin: object, parameters: Mapping[str, Any], named: Iterable[str]
) -> dict[str, Any]:
    """Leave out the parameters that count by content, wherever it lies.

    Parameters
    ----------
    plugin
        As it was made, with its paths.
    parameters
        Its parameters, plain.
    named
        The names of its dependencies.
    """
    placed = {*path_parameters(plugin), *named}
    return {name: value for name, value in parameters.items() if name not in placed}


def _paths(value: Any) -> Iterator[pathlib.Path]:
    if isinstance(value, pathlib.Path):
        yield value
    elif isinstance(value, set | frozenset):
        yield from sorted(path for item in value for path in _paths(item))
    elif isinstance(value, tuple | list | collections.abc.Mapping):
        items = value.values() if isinstance(value, collections.abc.Mapping) else value
        for item in items:
            yield from _paths(item)


def _stored(plugin: object, name: str) -> Any:
    try:
        return getattr(plugin, name)
    except plugin_errors() as error:
        raise PluginError(
            f'the constructor does not store parameter "{name}" under its own name',
            where=_place(plugin),
            hint=f"set self.{name} = {name}: stored folds are known by their parameters",
        ) from error


def _place(plugin: object) -> str:
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}"


def _read_back(plugin: object, name: str) -> Any:
    value = _stored(plugin, name)
    try:
        written = plain(value)
        canonical_json(written)
    except (TypeError, ValueError) as error:
        raise PluginError(
            f'parameter "{name}" cannot be written as JSON: {value!r}',
            where=_place(plugin),
            hint="use strings, finite numbers, booleans, lists, tables, paths or enumerations",
        ) from error
    return written


def plain(value: Any) -> Any:
    """Give a parameter as JSON has it; see ``plain_parameters``."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=canonical_json)
    if isinstance(value, collections.abc.Mapping):
        return {name: plain(item) for name, item in value.items()}
    return str(value) if isinstance(value, pathlib.Path) else value


def _anchored(value: Any, anchor: pathlib.Path | None, choices: tuple[Any, ...]) -> Any:
    if {pathlib.Path, str} <= set(choices) and isinstance(value, pathlib.Path | str):
        return _path_or_name(pathlib.Path(value), anchor or pathlib.Path())
    if isinstance(value, list):
        return [_anchored(item, anchor, ()) for item in value]
    return anchor / value if anchor and isinstance(value, pathlib.Path) else value


def _path_or_name(value: pathlib.Path, anchor: pathlib.Path) -> pathlib.Path | str:
    place = anchor / value
    if place.exists():
        return place
    file, _, attribute = str(value).rpartition(":")
    if file.endswith(".py") and (anchor / file).exists():  # "file.py:name"
        return anchor / f"{file}:{attribute}"
    if value.exists():  # a library would take it: another one from another directory
        raise ValueError(
            f"there is nothing at {place}, and what the working directory has under that name is "
            "not taken: give its path from the config on, or an absolute one"
        )
    return value.as_posix()


def _construct(kind: type[Plugin], values: dict[str, Any], where: str) -> Plugin:
    try:
        with staying():
            return kind(**values)
    except EnsembleError as error:
        error.where = error.where or where
        raise
    except plugin_errors() as error:
        # A value that is refused is told in the plugin's words; anything else is its accident.
        text = str(error) if isinstance(error, TypeError | ValueError) else ""
        line = None if text else own_line(error)
        text = text or f"the constructor raised {type(error).__name__}: {error}"
        raise ConfigError(text, where=f"{where}, {line}" if line else where) from error


def constructor_parameters(kind: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Give the parameters that a config can set: those of a class, or of a function.

    Raises
    ------
    PluginError
        The constructor does not say them.
    """
    # Asked for every fold of every learner, and the same as long as the class is. Other things
    # that can be called may have no hash.
    return _kept_parameters(kind) if isinstance(kind, type) else _parameters(kind)


@lru_cache(maxsize=256)
def _kept_parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    return _parameters(kind)


def _parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(kind).parameters
    except plugin_errors() as error:
        raise PluginError(
            f"the constructor of {kind.__name__} does not say its parameters: {error}",
            where=f"{kind.__module__}.{kind.__qualname__}",
            hint="write def __init__(self, name: type = default, ...)",
        ) from error
    return {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    }


def _annotations(kind: type) -> Mapping[str, Any]:
    return _kept_annotations(cast("Any", kind))


@lru_cache(maxsize=256)
def _kept_annotations(kind: Any) -> Mapping[str, Any]:
    try:
        constructor = inspect.getattr_static(kind, "__init__")
        return typing.get_type_hints(constructor, localns=_NAMESPACE)
    except plugin_errors() as error:
        raise PluginError(
            f"the annotations of {kind.__name__} cannot be read: {error}",
            where=f"{kind.__module__}.{kind.__qualname__}.__init__",
            hint="import the name at run time, not under TYPE_CHECKING alone",
        ) from error


def _checked(annotation: Any, value: Any) -> Any:
    """Check a value as JSON, where a list may stand for a tuple and a string for a path."""
    try:
        text = json.dumps(value, allow_nan=False)
    except TypeError as error:
        raise ValueError("only strings, numbers, booleans, lists and tables can be used") from error
    return _adapter(annotation).validate_json(text, strict=True)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    """Make what checks values of a type, once for each: that takes longer than to check."""
    try:
        return _kept_adapter(annotation)
    except TypeError:  # an annotation without a hash
        return _new_adapter(annotation)


def _new_adapter(annotation: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


_kept_adapter = lru_cache(maxsize=1024, typed=True)(_new_adapter)


def _reason(error: ValueError) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return str(first["msg"][0].lower() + first["msg"][1:])
    return str(error)
