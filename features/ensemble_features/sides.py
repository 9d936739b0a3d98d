"""Builders for columns that know what becomes of them when sides A and B are exchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ensemble.plugin.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT = "prompt"
RESPONSE_A = "response_a"
RESPONSE_B = "response_b"
_SUFFIX = {PROMPT: "prompt", RESPONSE_A: "a", RESPONSE_B: "b"}


def sided(
    name: str,
    measure: Callable[[str], pl.Expr],
    description: str,
    unit: str,
    *,
    prompt: bool = False,
) -> tuple[Feature, ...]:
    """Measure both responses, and the difference A minus B.

    Parameters
    ----------
    name
        Stem of the names: ``<name>_a``, ``<name>_b``, ``<name>_diff`` (and ``<name>_prompt``).
    measure
        Maps the name of a text column to an expression for its value.
    description
        What is measured; ``{}`` stands for the text it is measured on.
    unit
        Unit of the value, "count" for instance.
    prompt
        Whether to measure the prompt as well.
    """
    a, b = f"{name}_a", f"{name}_b"
    columns = (
        _one_side(a, measure(RESPONSE_A), description.format("response A"), unit, swap=b),
        _one_side(b, measure(RESPONSE_B), description.format("response B"), unit, swap=a),
        antisymmetric(
            f"{name}_diff",
            pl.col(a) - pl.col(b),
            f"{description.format('a response')}, A minus B",
            unit,
        ),
    )
    if not prompt:
        return columns
    text = description.format("the prompt")
    return (*columns, symmetric(f"{name}_prompt", measure(PROMPT), text, unit))


def symmetric(name: str, expression: pl.Expr, description: str, unit: str) -> Feature:
    """Make a column that stays as it is when sides are exchanged."""
    return Feature(name, expression.cast(pl.Float64), _sentence(description, unit), swap=name)


def antisymmetric(name: str, expression: pl.Expr, description: str, unit: str) -> Feature:
    """Make a column that changes its sign when sides are exchanged."""
    return Feature(
        name, expression.cast(pl.Float64), _sentence(description, unit), swap=name, sign=-1
    )


def on(column: str, name: str) -> pl.Expr:
    """Take the value of a sided feature on one text column, for a feature that builds upon it."""
    return pl.col(f"{name}_{_SUFFIX[column]}")


def log_ratio(name: str) -> pl.Expr:
    """Compare the sides of a sided feature by ln((1 + A) / (1 + B)), which a swap negates.

    Parameters
    ----------
    name
        Stem of the feature's names, as given to ``sided``.
    """
    return pl.col(f"{name}_a").log1p() - pl.col(f"{name}_b").log1p()


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Divide; undefined (null) where the whole is 0."""
    return pl.when(whole > 0).then(part / whole)


def _one_side(name: str, expression: pl.Expr, description: str, unit: str, *, swap: str) -> Feature:
    # Counts are unsigned: a difference of them would wrap around.
    return Feature(name, expression.cast(pl.Float64), _sentence(description, unit), swap=swap)


def _sentence(description: str, unit: str) -> str:
    return f"{description}; {unit}."
