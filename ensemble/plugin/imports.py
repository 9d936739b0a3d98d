"""Which modules a file imports, read from its text: nothing is run."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@lru_cache(maxsize=4096)
def imported_by(path: Path, name: str, *, is_package: bool) -> tuple[str, ...]:
    """Name what a module may import, wherever in it; parents of each come with it.

    Parameters
    ----------
    path
        Its file.
    name
        Its dotted name, from which relative imports start.
    is_package
        Whether the file is a package's ``__init__``.

    Returns
    -------
    tuple[str, ...]
        Dotted names. ``from a import b`` gives ``a`` and ``a.b``, of which one may be no module.
        Imports for type checkers alone are left out, and so is all where the file is no Python.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return ()
    package = name if is_package else name.rpartition(".")[0]
    found: dict[str, None] = {}
    for node in _run_nodes(tree):
        for module in _named(node, package):
            parts = module.split(".")
            found |= dict.fromkeys(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return tuple(found)


def _run_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk all nodes but those under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from _run_nodes(other)
            continue
        yield child
        yield from _run_nodes(child)


def _named(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node.module or "", node.level, package)
        if base:
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _absolute(module: str, level: int, package: str) -> str:
    if not level:
        return module
    parts = package.split(".") if package else []
    start = parts[: len(parts) - level + 1]
    return ".".join([*start, *([module] if module else [])])
