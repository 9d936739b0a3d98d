"""Names that code may reach a method by, read from its text: nothing is run.

What cannot be told from a text (an object that is handed to others, a text that is run) may reach
every method: ``ANY``.
"""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ANY = "*"
"""In a name it stands for anything; alone, for every method."""
_RUN_TEXT = ("eval", "exec")
_ONLY_LOOKS = (
    *("super", "isinstance", "getattr", "setattr", "hasattr", "vars", "id"),
    *("fields", "asdict", "__new__", "__setattr__"),
)
"""Functions of Python that call no method of a learner that they are given."""
_GIVES_ITSELF = ("fit", "pretrain", "load")
"""Methods that return the learner to the toolkit."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef
METHOD = _Function | ast.Lambda
"""What may be a method."""


def names_in_text(tree: ast.AST, kinds: frozenset[str]) -> set[str]:
    """Give the names that code may reach methods by, wherever in it.

    Parameters
    ----------
    tree
        The code.
    kinds
        Names of the learner's classes: who makes another one may hand it to anybody.

    Returns
    -------
    set[str]
        Attributes, and words of strings that may be names, or parts of one; ``ANY`` where it cannot
        be told.
    """
    nodes = list(ast.walk(tree))
    said = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and id(node) not in said:
            names |= _words(node.value)
        elif isinstance(node, ast.Call) and _reaches_any(node, kinds):
            names.add(ANY)
    return names


def names_in_class(kind: ast.ClassDef) -> set[str]:
    """Give the names that a class's own text may reach its methods by, beside those of any text."""
    names = {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)}
    return names | {ANY for method in _methods(kind.body) if hands_on_itself(method)}


def _methods(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda]:
    """Give the functions of a class, those under conditions and those without a name too."""
    for part in body:
        if isinstance(part, METHOD):
            yield part
        else:
            yield from (node for node in ast.walk(part) if isinstance(node, METHOD))


def reached(methods: frozenset[str], names: set[str]) -> frozenset[str]:
    """Give the methods that names may reach."""
    patterns = [name for name in names if ANY in name]
    return frozenset(
        method
        for method in methods
        if method in names or any(fnmatchcase(method, pattern) for pattern in patterns)
    )


def hands_on_itself(method: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> bool:
    """Say whether a method gives its object to others, who may call any method of it."""
    arguments = [*method.args.posonlyargs, *method.args.args]
    decorators = [_called(one) for one in getattr(method, "decorator_list", ())]
    if not arguments or "staticmethod" in decorators:
        return False
    own, name = arguments[0].arg, getattr(method, "name", "")
    return any(
        isinstance(child, ast.Name)
        and child.id == own
        and isinstance(child.ctx, ast.Load)
        and not _stays(parent, child, name)
        for parent in ast.walk(method)
        for child in ast.iter_child_nodes(parent)
    )


def classes_in(tree: ast.AST, place: str = "") -> Iterator[tuple[str, ast.ClassDef]]:
    """Give all classes of a module by qualified name, as Python names them."""
    for node in ast.iter_child_nodes(tree):
        inner = place
        if isinstance(node, ast.ClassDef):
            yield f"{place}{node.name}", node
            inner = f"{place}{node.name}."
        elif isinstance(node, _Function):
            inner = f"{place}{node.name}.<locals>."
        yield from classes_in(node, inner)


def _stays(parent: ast.AST, child: ast.Name, method: str) -> bool:
    if isinstance(parent, ast.Return):
        return method in _GIVES_ITSELF
    if isinstance(parent, ast.Call):
        return parent.func is not child and _called(parent.func) in _ONLY_LOOKS
    return isinstance(parent, ast.Attribute)


def _reaches_any(call: ast.Call, kinds: frozenset[str]) -> bool:
    called = _called(call.func)
    is_plain = isinstance(call.func, ast.Name)  # a model of torch has an `eval` of its own
    return called in kinds or called == "__class__" or (is_plain and called in _RUN_TEXT)


def _called(function: ast.AST) -> str:
    """Give the last part of a name; empty where there is none."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _words(value: object) -> set[str]:
    """Give the words of a string that may be names; a sentence is for people.

    What ends or begins with ``_`` may be put together with others (``"predict_" + what``).
    """
    if not isinstance(value, str) or re.search(r"\s", value):
        return set()
    words = set(re.findall(r"\w+", value))
    begins = {f"{word}{ANY}" for word in words if word.endswith("_") and word.strip("_")}
    ends = {f"{ANY}{word}" for word in words if word.startswith("_") and word.strip("_")}
    return words | begins | ends
