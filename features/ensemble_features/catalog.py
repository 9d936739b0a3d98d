"""The table of all built-in columns, for the documentation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensemble.plugin.feature import Feature, FeatureSet

FAMILIES = (
    "length",
    "lexical",
    "markdown",
    "similarity",
    "refusal",
    "language",
    "conversation",
)
"""Names of the built-in feature sets; each is the module of that name in this package."""


def feature_sets() -> tuple[FeatureSet, ...]:
    """Import all built-in feature sets."""
    return tuple(import_module(f"ensemble_features.{family}").FEATURE_SET for family in FAMILIES)


def markdown_table() -> str:
    """Describe every column: one Markdown table, family by family, ending in a line break."""
    head = ["| set | column | on exchanging A and B | what it measures |", "|---|---|---|---|"]
    rows = [
        f"| {feature_set.name} | `{feature.name}` | {_on_swap(feature)} | "
        f"{feature.description.replace('|', chr(92) + '|')} |"
        for feature_set in feature_sets()
        for feature in feature_set.features
    ]
    return "\n".join([*head, *rows]) + "\n"


def _on_swap(feature: Feature) -> str:
    if feature.swap != feature.name:
        return f"becomes `{feature.swap}`"
    return "stays" if feature.sign == 1 else "changes sign"
