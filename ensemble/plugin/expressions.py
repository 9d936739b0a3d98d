"""What an expression computes, as far as it can be told: for the names of caches and models."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from ensemble.plugin.faults import plugin_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

_FOREIGN_CODE = re.compile(r'"(?:Anonymous\w*|Ffi\w*|callback)":|\b128,[45],149\b')
"""Marks of a call out of Polars in the JSON form of an expression.

The keys of a Python function or of a compiled extension, or the first bytes of a pickle, which is
how Polars keeps Python functions: by value or, where they can be imported, by name alone.
"""


def expression_digests(expressions: Mapping[str, pl.Expr]) -> dict[str, str | None]:
    """Name each expression by 64 hex digits that change with whatever it computes.

    None where it calls Python or a compiled extension: what is known of such a function may be its
    name alone, so that nothing tells whether its body has changed.
    """
    return {name: _digest(expression) for name, expression in expressions.items()}


def serialized(expression: pl.Expr) -> bytes | None:
    """Write an expression down; None where it holds what cannot be written (a closure, say)."""
    try:
        return expression.meta.serialize()
    except plugin_errors():
        return None


def _digest(expression: pl.Expr) -> str | None:
    form = serialized(expression)
    if form is None or _FOREIGN_CODE.search(expression.meta.serialize(format="json")):
        return None
    return hashlib.sha256(form).hexdigest()
