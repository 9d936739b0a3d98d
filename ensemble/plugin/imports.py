"""Which modules a text imports, read from its text: nothing is run."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@lru_cache(maxsize=4096)
def imported_in(text: bytes, package: str) -> tuple[str, ...]:
    """Name what a module may import, wherever in it; parents of each come with it.

    Parameters
    ----------
    text
        Of its file. A mark or a line at its start may say how it is encoded.
    package
        The package that relative imports start from: its own name where it is a package.

    Returns
    -------
    tuple[str, ...]
        Dotted names. ``from a import b`` gives ``a`` and ``a.b``, of which one may be no module.
        Names that are given to ``import_module`` and ``__import__`` are among them where the text
        has them. Imports for type checkers alone are left out, and so is all where the text is no
        Python.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return ()
    found: dict[str, None] = {}
    for node in _run_nodes(tree):
        for module in _named(node, package):
            parts = module.split(".")
            found |= dict.fromkeys(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return tuple(found)


def _run_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a node and all within it but what is under ``if TYPE_CHECKING``."""
    yield node
    unread: list[ast.stmt] = []
    if isinstance(node, ast.If):
        if _is_type_checking(node.test):
            unread = node.body
        elif isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not):
            unread = node.orelse if _is_type_checking(node.test.operand) else []
    for child in ast.iter_child_nodes(node):
        if child not in unread:
            yield from _run_nodes(child)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test).rpartition(".")[2] == "TYPE_CHECKING"


def _named(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node.module or "", node.level, package)
        if base:
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif node.level:  # from the folder of a file that is of no package
            yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.Call):
        yield from _called_for(node, package)


def _called_for(call: ast.Call, package: str) -> Iterator[str]:
    """Name what a call of ``import_module`` or ``__import__`` is for, where its text says it."""
    if ast.unparse(call.func).rpartition(".")[2] not in ("import_module", "__import__"):
        return
    given = [*call.args, *(one.value for one in call.keywords if one.arg == "name")][:1]
    for name in given:
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            module = name.value.lstrip(".")
            found = _absolute(module, len(name.value) - len(module), package)
            if found:
                yield found


def _absolute(module: str, level: int, package: str) -> str:
    if not level:
        return module
    parts = package.split(".") if package else []
    start = parts[: len(parts) - level + 1]
    return ".".join([*start, *([module] if module else [])])
