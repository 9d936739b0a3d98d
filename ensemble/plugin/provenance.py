"""What a learner that brings its predictions says of the models that made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl


@dataclass(frozen=True, eq=False)
class Provenance:
    """Which model predicted each target row, and which rows each model was trained on.

    Parameters
    ----------
    predicted
        ``model`` (String), ``id`` (String): one row for each target row that is predicted.
    trained
        ``model``, ``id`` and ``text`` (String): the training rows of each model, those of its
        teachers and of the learners that labeled rows for it included. ``text`` names the row's
        prompt and responses, as ``ensemble.battles.feature_cache.row_keys`` gives it.
    origin
        Where all this is from, as JSON; the manifest keeps it.
    unknown
        Why the training rows are not known; empty where ``trained`` has all of them.
    """

    predicted: pl.DataFrame
    trained: pl.DataFrame
    origin: Mapping[str, Any] = field(default_factory=dict)
    unknown: str = ""
