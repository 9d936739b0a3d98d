"""Functions, classes and values as they are at run time, told as JSON that is the same anywhere.

What has a file is known by the text of its module; what has none (a notebook, a script) by its
functions and all that they refer to. Objects are known by what they hold, those of libraries by
what they say of themselves to be copied. No address, no path of a module and no order of a set is
in it.
"""

from __future__ import annotations

import inspect
from functools import cached_property, partial, partialmethod
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.plugin.faults import plugin_errors
from ensemble.plugin.functions import (
    cell_content,
    function_text,
    imported_within,
    is_of_dataclass,
    names_in,
    plain_value,
    set_in,
)
from ensemble.plugin.modules import (
    is_fileless,
    is_local,
    is_of_core,
    is_of_python,
    module_files,
    text_digest,
)
from ensemble.plugin.snapshots import public_name, qualified_name
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_MADE_AT_RUN_TIME = 1 << 9
"""Flag of a class that a ``class`` statement made (``Py_TPFLAGS_HEAPTYPE``)."""
_PROTOCOL = 2
"""Of what objects say of themselves to be copied: one that says all in plain values."""
_DEEPEST = 32
"""Objects of libraries within each other that are looked into, so that chains of them have an end.
A number and not what the stack holds: who asks from deeper in it gets the same answer."""


class Members:
    """Functions and values as they are at run time, each followed once.

    Parameters
    ----------
    without
        Names of members of classes that do not count.
    own
        Top-level packages whose objects are followed, though they may be installed.

    Attributes
    ----------
    bindings
        What was looked up by name, where nothing else says that it is another by now.
    files
        The modules whose texts count.
    """

    def __init__(
        self, without: frozenset[str] = frozenset(), own: frozenset[str] = frozenset()
    ) -> None:
        self._seen: set[int] = set()
        self._made: list[object] = []  # while they are there, no other object has their place
        self._looks_inside = True
        self._depth = 0
        self._without, self._own = without, own
        self.bindings: list[tuple[Mapping[str, Any], str, object]] = []
        self.files: dict[str, Path] = {}

    def texts(self, name: str) -> dict[str, str]:
        """Give the texts that a module is, those that were not given before."""
        found = {} if name in self.files else module_files(name)
        new = {one: path for one, path in found.items() if one not in self.files}
        self.files |= new
        return {public_name(one): text_digest(one, path) for one, path in new.items()}

    def of_class(self, kind: type) -> dict[str, Any]:
        """Describe what a class holds; what Python adds by itself is left out."""
        if id(kind) in self._seen:
            return {}
        self._seen.add(id(kind))
        # With a file, its text says how objects begin; what is in them by now does not.
        bare = is_fileless(kind.__module__)
        members = {
            name: value
            for name, value in sorted(vars(kind).items())
            if name not in self._without
            and not _is_made_by_python(kind, name, value)
            and (bare or not isinstance(value, list | dict | set | np.ndarray))
        }
        if bare:
            self._bind(vars(kind), members)
        else:  # who asks for a class counts the text of its module, or as much of it as matters
            self.files |= module_files(kind.__module__)
        before, self._looks_inside = self._looks_inside, bare
        try:
            return {name: self.of(value) for name, value in members.items()}
        finally:
            self._looks_inside = before

    def of(self, value: object) -> Any:
        """Describe a value as JSON: functions by their code, plain values by what they are."""
        if isinstance(value, staticmethod | classmethod):
            return self.of(value.__func__)
        if isinstance(value, property):
            return [self.of(part) for part in (value.fget, value.fset, value.fdel)]
        if isinstance(value, cached_property):
            return self.of(value.func)
        if isinstance(value, partial | partialmethod):
            return [self.of(part) for part in (value.func, value.args, value.keywords)]
        if isinstance(value, MethodType):
            return [self.of(value.__self__), self.of(value.__func__)]
        if isinstance(value, FunctionType):
            return self._of_function(value)
        if isinstance(value, type):
            return self._of_type(value)
        if isinstance(value, ModuleType):
            return self._of_module(value, frozenset())
        if callable(value) and hasattr(value, "__wrapped__"):
            return self.of(inspect.unwrap(value))
        return self._of_value(value)

    def state_of(self, value: object) -> dict[str, Any]:
        """Describe what an object holds, by attribute."""
        slots = [n for kind in type(value).__mro__ for n in _slots(kind) if hasattr(value, n)]
        held = {**{name: getattr(value, name) for name in slots}, **getattr(value, "__dict__", {})}
        self._bind(getattr(value, "__dict__", {}), held)
        return {str(name): self.of(item) for name, item in sorted(held.items())}

    def _bind(self, space: Mapping[str, Any], held: Mapping[str, Any]) -> None:
        """Note what names stand for; where nothing stood, something may be put while it works."""
        named = ((name, held[name]) for name in held if name in space)
        self.bindings += [(space, name, value) for name, value in named if value is not None]

    def _is_followed(self, module: str) -> bool:
        """Say whether more counts of what is in a module than its name."""
        is_own = module.partition(".")[0] in self._own
        return is_own or is_fileless(module) or is_local(module)

    def _of_function(self, function: FunctionType) -> Any:
        name = qualified_name(function)
        if id(function) in self._seen:
            return name
        self._seen.add(id(function))
        module = str(function.__globals__.get("__name__"))
        cells = [cell_content(cell) for cell in function.__closure__ or ()]
        return {
            "text": function_text(function, module) if self._is_followed(module) else name,
            "defaults": [self.of(item) for item in function.__defaults__ or ()],
            "options": {k: self.of(v) for k, v in (function.__kwdefaults__ or {}).items()},
            "closure": [self.of(item) for item in cells],
            "globals": dict(self._globals(function, module)),
            "modules": self.texts(module) if is_local(module) else {},
        }

    def _globals(self, function: FunctionType, module: str) -> Iterator[tuple[str, Any]]:
        """Describe what a function refers to; of one with a file, the module's text says it."""
        if not is_fileless(module):
            return
        names, space = names_in(function.__code__), function.__globals__
        held = {name: space[name] for name in sorted(names) if name in space}
        self._bind(space, {k: v for k, v in held.items() if k not in set_in(function.__code__)})
        for name, value in held.items():
            is_module = isinstance(value, ModuleType)
            yield name, self._of_module(value, names) if is_module else self.of(value)
        for name in sorted(imported_within(function.__code__)):
            if is_local(name):
                yield f"import {name}", self.texts(name)

    def _of_module(self, module: ModuleType, names: frozenset[str]) -> Any:
        """Describe a module by its text, with the modules inside it that names lead to."""
        name = module.__name__
        if is_of_python(name) or is_of_core(name):
            return name
        inside = {n: vars(module).get(n) for n in sorted(names)}
        inner = [
            self._of_module(one, names)
            for one in inside.values()
            if isinstance(one, ModuleType) and one.__name__.startswith(f"{name}.")
        ]
        return [public_name(name), self.texts(name) if is_local(name) else {}, inner]

    def _of_type(self, kind: type) -> Any:
        if is_foreign(kind):
            return qualified_name(kind)
        if not is_fileless(kind.__module__):
            texts = self.texts(kind.__module__) if is_local(kind.__module__) else {}
            return [qualified_name(kind), texts]
        parents = [self.of(parent) for parent in kind.__bases__]
        return [kind.__qualname__, self.of_class(kind), parents]

    def _of_value(self, value: object) -> Any:
        if isinstance(value, tuple | list):
            return [self.of(item) for item in value]
        if isinstance(value, dict | MappingProxyType):
            return [[self.of(key), self.of(item)] for key, item in value.items()]
        if isinstance(value, set | frozenset):
            return sorted(fingerprint(self.of(item)) for item in value)
        plain, kind = plain_value(value), type(value)
        if plain is not None:
            return plain
        if id(value) in self._seen:
            return kind.__qualname__
        self._seen.add(id(value))
        if is_foreign(kind) or not self._is_followed(kind.__module__):
            looks_inside = self._looks_inside and self._depth < _DEEPEST
            return [qualified_name(kind), self._copied(value) if looks_inside else None]
        return [self._of_type(kind), self.state_of(value)]

    def _copied(self, value: object) -> Any:
        """Describe what a library's object says of itself to be copied; None where it cannot be."""
        try:
            told = value.__reduce_ex__(_PROTOCOL)
            # Beside what makes it: its state, and iterators over what it holds.
            parts = [told] if isinstance(told, str) else [*told[:3], *map(_listed, told[3:5])]
        except plugin_errors():
            return None
        self._made.append(parts)
        self._depth += 1
        try:
            return [self.of(part) for part in parts]
        finally:
            self._depth -= 1


def is_foreign(kind: type) -> bool:
    """Say whether a class is of the core, of Python or built in: no plugin's."""
    if kind.__module__ == "builtins":  # what `exec` makes says so too
        return not kind.__flags__ & _MADE_AT_RUN_TIME
    return is_of_core(kind.__module__) or is_of_python(kind.__module__)


def _is_made_by_python(kind: type, name: str, value: object) -> bool:
    """Say whether a member follows from the others: how it looks differs between versions."""
    is_special = name.startswith("__") and name.endswith("__")
    function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if not isinstance(function, FunctionType):
        return name == "_abc_impl" or (is_special and not isinstance(function, property))
    return is_special and is_of_dataclass(kind, function)


def _slots(kind: type) -> list[str]:
    slots = vars(kind).get("__slots__", ())
    return [slots] if isinstance(slots, str) else list(slots)


def _listed(items: Iterable[Any] | None) -> list[Any] | None:
    return None if items is None else list(items)
