"""Features that a plugin author declares: named columns, in families that sides exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ensemble.plugin.expressions import expression_digests
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl


@dataclass(frozen=True)
class Feature:
    """One named column of a feature set.

    Parameters
    ----------
    name
        Column name, unique over the registry.
    expression
        Polars expression over ``prompt``, ``response_a``, ``response_b``, the helpers and other
        features of its set; it yields one number (or null) a row, from that row alone.
    description
        What it measures, in one sentence, with its unit.
    swap
        Name of the column that takes this one's place when A and B are exchanged; its own name
        for a column that does not change sides.
    sign
        1, or -1 for a column that changes its sign when A and B are exchanged.
    """

    name: str
    expression: pl.Expr
    description: str
    swap: str
    sign: int = 1


@dataclass(frozen=True)
class FeatureSet:
    """A family of features.

    Parameters
    ----------
    name
        The name that configs use.
    features
        The columns, closed under swapping: each ``swap`` names a column of the same set.
    version
        Raise it when a column comes to mean something else though its expression stays as it is
        (a Python function in it changes, say): models and cached values are known by both.
    helpers
        Intermediate columns, by name, that the features share (token lists, say), so that they
        are computed once: expressions as those of features. Sets may have a helper in common by
        giving the same name the same expression.
    code
        Where expressions call Python: what names all that the functions do, such as the versions
        of their libraries. Values of such a set are cached only under it.
    """

    name: str
    features: tuple[Feature, ...]
    version: str = "1"
    helpers: Mapping[str, pl.Expr] = field(default_factory=dict)
    code: str | None = None

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        foreign = sorted({feature.swap for feature in self.features} - set(names))
        if foreign or len(set(names)) != len(names):
            raise ValueError(
                f'feature set "{self.name}": names must be unique, and swaps inside it: {foreign}'
            )

    def expressions(self) -> dict[str, pl.Expr]:
        """Give the expressions of helpers and features, by name."""
        return {**self.helpers, **{f.name: f.expression for f in self.features}}

    @cached_property
    def digests(self) -> Mapping[str, str | None]:
        """Digests of the expressions, by name; as ``expression_digests`` gives them."""
        return expression_digests(self.expressions())

    def identity(self) -> dict[str, Any]:
        """Say as JSON what a model fitted on the set depends on.

        Its version and code, its columns with their swaps and signs, and a digest of all
        expressions, in which one that calls Python counts by its name alone.
        """
        return {
            "version": self.version,
            "code": self.code,
            "columns": [[f.name, f.swap, f.sign] for f in self.features],
            "expressions": fingerprint(dict(self.digests)),
        }
