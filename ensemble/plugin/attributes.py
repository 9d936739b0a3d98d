"""Attributes that a class of a notebook got after its body: its source does not say them."""

from __future__ import annotations

import ast
import inspect
from abc import ABCMeta
from collections import Counter
from types import FunctionType
from typing import Any

from ensemble.plugin.written import is_written

_MADE = ("_abc_impl",)
_OPEN, _NOT_SAID = object(), object()
"""Stand for what a body computes, and for what it does not say."""


def set_afterwards(kind: type, node: ast.ClassDef) -> tuple[dict[str, Any], list[str]]:
    """Compare a class with what its body says.

    Parameters
    ----------
    kind
        The class as it is now.
    node
        Its source.

    Returns
    -------
    tuple
        Values by name that the body does not say, or says otherwise; and names that it gives a
        plain value to and that are gone. What a body computes counts as not said where it can be
        written down now. Methods, and what a decorator or a metaclass has made, are not looked at.
    """
    if type(kind) not in (type, ABCMeta) or issubclass(kind, tuple):
        return {}, []
    said, now = _said(node), vars(kind)
    found = {
        name: value
        for name, value in now.items()
        if not _is_made(name, value) and _is_other(said.get(name, _NOT_SAID), value)
    }
    decorated = bool(node.decorator_list) or _is_hooked(kind)
    if decorated:
        found = {name: value for name, value in found.items() if name in said or is_written(value)}
    gone = [n for n, value in said.items() if value is not _OPEN and n not in now]
    return found, [] if decorated else gone


def _said(node: ast.ClassDef) -> dict[str, Any]:
    """Give the names that a body binds, with their values where these are written down."""
    bound: dict[str, Any] = {}
    for one in node.body:
        bound |= dict.fromkeys(_bound(one), _OPEN)
        targets = one.targets if isinstance(one, ast.Assign) else []
        if isinstance(one, ast.AnnAssign):
            targets = [one.target]
        value = one.value if isinstance(one, ast.Assign | ast.AnnAssign) else None
        for target in targets:
            if isinstance(target, ast.Name) and value is not None:
                bound[target.id] = _value_of(value)
    times = Counter(name for one in node.body for name in _bound(one))
    return {
        _mangled(name, node.name): value if times[name] == 1 else _OPEN
        for name, value in bound.items()
    }


def _bound(node: ast.stmt) -> list[str]:
    """Name what a statement of a body binds or deletes there."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(one.asname or one.name).partition(".")[0] for one in node.names]
    if isinstance(node, ast.AnnAssign) and node.value is None:
        return []
    inside = list(ast.walk(node))
    names = [one.id for one in inside if isinstance(one, ast.Name) and _changes(one)]
    return names + [
        one.name
        for one in inside
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]


def _changes(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store | ast.Del)


def _value_of(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _OPEN


def _mangled(name: str, owner: str) -> str:
    is_private = name.startswith("__") and not name.endswith("__")
    return f"_{owner.lstrip('_')}{name}" if is_private else name


def _is_made(name: str, value: Any) -> bool:
    """Say whether Python makes it, or it is a method, whose code tells where it is from."""
    if (name.startswith("__") and name.endswith("__")) or name in _MADE:
        return True
    return isinstance(value, FunctionType | staticmethod | classmethod | type) or (
        inspect.isdatadescriptor(value) or hasattr(type(value), "__set_name__")
    )


def _is_other(said: Any, now: Any) -> bool:
    if said is _NOT_SAID:
        return True
    if said is _OPEN:
        return is_written(now)
    return type(said) is not type(now) or (said != now and repr(said) != repr(now))


def _is_hooked(kind: type) -> bool:
    """Say whether a parent changes the classes that are derived from it."""
    return any("__init_subclass__" in vars(base) for base in kind.__mro__[1:-1])
