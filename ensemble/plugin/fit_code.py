"""The part of a plugin's code that a fitted model depends on.

What is asked of a model after its fit may be mended without a new fit: hours of training do not
hang on a wrong shape. Everything else counts, ``save`` included, which has written the model; and
so does what other code of the plugin refers to, since a fit may call it.
"""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ensemble.artifacts import fingerprint
from ensemble.plugin.code import Members, is_foreign, module_texts, names_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

AFTER_FIT = frozenset({"predict_logits", "load", "check", "preflight"})
"""Methods that a model is asked by when it is fitted."""


@lru_cache(maxsize=256)
def fit_digest(kind: type[Any]) -> str:
    """Name the code that a fit of a class depends on: 64 hex digits.

    As ``code_digest`` does, but for the methods of ``AFTER_FIT`` that nothing else refers to.
    """
    kinds = [one for one in kind.__mro__ if not is_foreign(one)]
    own = Members(without=AFTER_FIT - _referred_to(kinds))
    # A class that says nothing but how to predict is, for a fit, the one that it is derived from.
    members = [said for one in kinds if (said := own.of_class(one))]
    texts: dict[str, str] = {}
    for one in kinds:
        texts |= module_texts(one.__module__, _text_digest)
    return fingerprint({"members": members, "modules": texts})


def _referred_to(kinds: Iterable[type]) -> set[str]:
    """Names that methods which count refer to."""
    return {
        name
        for kind in kinds
        for member, value in vars(kind).items()
        if member not in AFTER_FIT and isinstance(value, FunctionType)
        for name in names_in(value.__code__)
    }


@lru_cache(maxsize=4096)
def _text_digest(path: Path) -> str:
    """Name a module's code by what Python makes of it, without methods that do not count."""
    text = path.read_bytes()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return hashlib.sha256(text).hexdigest()
    _leave_out(tree, AFTER_FIT)
    referred = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    if referred & AFTER_FIT:
        tree = ast.parse(text)
        _leave_out(tree, AFTER_FIT - referred)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _leave_out(tree: ast.AST, names: frozenset[str]) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            kept = [p for p in node.body if not (_is_function(p) and p.name in names)]  # type: ignore[attr-defined]
            node.body = kept


def _is_function(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef)
