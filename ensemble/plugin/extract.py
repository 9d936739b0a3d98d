"""The source of a class of a notebook or a script, with all that it refers to, as a module.

The whole of a notebook cannot be run again for one class of it. What the class needs is gathered:
imports, functions, other classes and plain values, and modules that lie beside the notebook.
"""

from __future__ import annotations

import ast
import builtins
import collections
import enum
import inspect
import linecache
import re
import symtable
import sys
import textwrap
import typing
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from ensemble.plugin.attributes import set_afterwards
from ensemble.plugin.functions import GENERATED, is_of_dataclass
from ensemble.plugin.modules import is_local, module_files
from ensemble.plugin.written import is_plain, is_written, spelled

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIN = "__main__"
_HEAD = "from __future__ import annotations\n"
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class UnportableError(Exception):
    """Why a class cannot be used outside its process."""


def extracted(target: type | FunctionType) -> dict[str, str]:
    """Give the source of a class or function of ``__main__`` as the files of a module.

    Parameters
    ----------
    target
        Defined at the top level.

    Returns
    -------
    dict[str, str]
        Texts by relative path; the first is the module that has it under its own name.

    Raises
    ------
    UnportableError
        Something that it needs has no source.
    """
    gathered = _Gathered()
    gathered.take(target.__name__, target)
    text = "\n\n".join([_HEAD + "\n".join(gathered.imports.values()), *gathered.parts.values()])
    return {f"{_module_name(target.__name__)}.py": text + "\n", **gathered.files}


def dashed(name: str) -> str:
    """Write the name of a class as those of learners are written.

    Examples
    --------
    >>> dashed("MyTFIDFModel2")
    'my-tfidf-model2'
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[^A-Za-z0-9]+", "-", apart).strip("-").lower() or "learner"


class _Gathered:
    """What was gathered so far, in the order in which it can be run."""

    def __init__(self) -> None:
        self.imports: dict[str, str] = {}
        self.parts: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self._begun: set[str] = set()

    def take(self, name: str, value: Any) -> None:
        """Have a name stand for a value in the module."""
        if name in self._begun:
            return
        self._begun.add(name)
        if isinstance(value, ModuleType):
            self._import(name, value.__name__, None)
        elif isinstance(value, type | FunctionType) and value.__module__ == MAIN:
            self._define(name, value)
        elif (home := _home_of(value, name)) is not None:
            self._import(name, *home)
        elif is_written(value):
            self.parts[name] = f"{name} = {self._written(value)}"
        else:
            raise UnportableError(
                f"it refers to {name}, a {type(value).__name__}, which no source says"
            )

    def _written(self, value: Any) -> str:
        """Write a value down; what it takes is imported."""
        made = None if is_plain(value) else spelled(value)
        if made is None:
            return repr(value)
        module, text = made
        self.imports[f"_{module}"] = f"import {module} as _{module}"
        return f"_{module}.{text}"

    def _define(self, name: str, value: type | FunctionType) -> None:
        if "<locals>" in value.__qualname__ or value.__name__ == "<lambda>":
            raise UnportableError(f"{value.__qualname__} is not defined at the top level")
        if value.__name__ != name:
            self.take(value.__name__, value)
            self.parts[name] = f"{name} = {value.__name__}"
            return
        text, node = _text_of(value)
        used, attributes = _names_in(text, node)
        space = vars(sys.modules[MAIN])
        for other in sorted(used & space.keys()):
            if other != name and getattr(builtins, other, None) is not space[other]:
                self.take(other, space[other])
                self._take_submodules(other, space[other], attributes)
        self.parts[name] = text + self._set_later(value, node)

    def _set_later(self, value: type | FunctionType, node: _Definition) -> str:
        """Write down the attributes that a class got after its body.

        Raises
        ------
        UnportableError
            One cannot be written down, or was deleted.
        """
        if not isinstance(value, type) or not isinstance(node, ast.ClassDef):
            return ""
        put, gone = set_afterwards(value, node)
        if gone:
            raise UnportableError(f"{value.__name__}.{gone[0]} was deleted after the class body")
        for name, held in put.items():
            if not is_written(held):
                raise UnportableError(
                    f"{value.__name__}.{name} was set after the class body, to a "
                    f"{type(held).__name__}, which no source says: set it in the body"
                )
        lines = [f"\n{value.__name__}.{name} = {self._written(v)}" for name, v in put.items()]
        return "\n" * bool(lines) + "".join(lines)

    def _take_submodules(self, name: str, value: Any, attributes: set[str]) -> None:
        """Import ``a.b`` too, where ``a`` is a module and the text may say ``a.b``."""
        if not isinstance(value, ModuleType) or value.__name__ != name:
            return
        for key in sorted(sys.modules):
            top, _, rest = key.partition(".")
            if top == name and rest and attributes.issuperset(rest.split(".")):
                self.imports[key] = f"import {key}"

    def _import(self, name: str, module: str, attribute: str | None) -> None:
        if is_local(module):
            self._bring(module)
        if attribute is not None:
            self.imports[name] = f"from {module} import {attribute} as {name}"
        elif name == module.partition(".")[0]:
            self.imports[name] = f"import {name}"
        else:
            self.imports[name] = f"import {module} as {name}"

    def _bring(self, module: str) -> None:
        """Copy a module that is not installed, and what it imports of its own folder."""
        for one, path in module_files(module).items():
            place = Path(*one.split("."))
            file = place / "__init__.py" if path.stem == "__init__" else place.with_suffix(".py")
            self.files[file.as_posix()] = path.read_text(encoding="utf-8")


def _module_name(name: str) -> str:
    return dashed(name).replace("-", "_")


def _home_of(value: Any, name: str) -> tuple[str, str] | None:
    """Find a module that has a value under its own name, or under the name at hand."""
    module = getattr(value, "__module__", None)
    keys: list[Any] = [getattr(value, "__qualname__", None), name]
    for key in keys:
        home: Any = sys.modules.get(module) if isinstance(module, str) else None
        if isinstance(key, str) and home is not None and vars(home).get(key) is value:
            return None if module == MAIN else (str(module), key)
    if is_plain(value):
        return None
    named = [
        key
        for key, home in list(sys.modules.items())
        if key != MAIN and getattr(home, "__dict__", {}).get(name) is value
    ]
    best = min(named, key=lambda key: (key.count("_"), key.count("."), key), default=None)
    return None if best is None else (best, name)


def _text_of(value: type | FunctionType) -> tuple[str, _Definition]:
    """Give the text of a definition, and its tree."""
    codes = _codes_of(value)
    if not codes:
        raise UnportableError(f"{value.__name__} has no code of its own to find its source by")
    lines = linecache.getlines(codes[0].co_filename)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError as error:
        raise UnportableError(f"the source of {value.__name__} cannot be read") from error
    first = min(code.co_firstlineno for code in codes)
    definitions = (n for n in ast.walk(tree) if isinstance(n, _Definition))
    node = next((n for n in definitions if _is_definition(n, value.__name__, first)), None)
    if node is None:
        raise UnportableError(f"the source of {value.__name__} is not here")
    for code in codes:
        if code.co_filename != codes[0].co_filename or not _start(node) <= code.co_firstlineno <= (
            node.end_lineno or 0
        ):
            raise UnportableError(f"{code.co_name} was put into {value.__name__} from elsewhere")
    text = textwrap.dedent("".join(lines[_start(node) - 1 : node.end_lineno])).rstrip()
    return text, node


def _names_in(text: str, node: _Definition) -> tuple[set[str], set[str]]:
    """Give all names that a definition takes from around it, and all attributes in it."""
    attributes = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    tables = symtable.symtable(text, node.name, "exec")
    return set(_global_names(tables)) | set(_annotated(node)), attributes


def _global_names(scope: symtable.SymbolTable) -> Iterator[str]:
    """Give the names that a text, and what is defined in it, take from around it.

    The body of a class may read a name from around it and then have one of its own by it.
    """
    is_function = scope.get_type() not in ("module", "class")
    for symbol in scope.get_symbols():
        if symbol.is_global() or (symbol.is_referenced() and not is_function):
            yield symbol.get_name()
    for inner in scope.get_children():
        yield from _global_names(inner)


def _annotated(node: ast.AST) -> Iterator[str]:
    """Give the names in annotations, also where these are written as strings."""
    for one in ast.walk(node):
        for said in (getattr(one, "annotation", None), getattr(one, "returns", None)):
            yield from _names_of(said) if isinstance(said, ast.expr) else ()


def _names_of(expression: ast.expr) -> Iterator[str]:
    for one in ast.walk(expression):
        if isinstance(one, ast.Name):
            yield one.id
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            with suppress(SyntaxError):
                yield from _names_of(ast.parse(one.value, mode="eval").body)


def _codes_of(value: type | FunctionType) -> list[Any]:
    if isinstance(value, FunctionType):
        return [value.__code__]
    held = [getattr(one, "__func__", getattr(one, "fget", one)) for one in vars(value).values()]
    functions: list[Any] = [
        inspect.unwrap(one)
        for one in held
        if isinstance(one, FunctionType) and not _comes_with(value, one)
    ]
    return [one.__code__ for one in functions if one.__code__.co_filename != GENERATED]


def _comes_with(kind: type, function: FunctionType) -> bool:
    """Say whether a class has a function by being a dataclass, an enumeration and the like."""
    home = function.__globals__
    return (
        is_of_dataclass(kind, function)
        or (issubclass(kind, enum.Enum) and home is vars(enum))
        or (issubclass(kind, tuple) and home is vars(collections))
        or (getattr(kind, "_is_protocol", False) and home is vars(typing))
    )


def _is_definition(node: _Definition, name: str, line: int) -> bool:
    return node.name == name and _start(node) <= line <= (node.end_lineno or 0)


def _start(node: _Definition) -> int:
    return min([node.lineno, *(one.lineno for one in node.decorator_list)])
