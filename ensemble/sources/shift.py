"""How a source differs from the target, part by part: prompts, responses, labels, label rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.domain import domain_texts, score_domains
from ensemble.battles.schema import LABEL_COLUMNS, labels_of
from ensemble.battles.source_rows import rows_within
from ensemble.errors import DataError
from ensemble.evaluation.auc import auc_estimate
from ensemble.sources.boosting import assign_parts, tell_apart
from ensemble.sources.columns import Columns, compute_columns
from ensemble.sources.concept_shift import measure_concept_shift
from ensemble.sources.describe import label_shares
from ensemble.sources.top_terms import top_features, top_terms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray

STEPS = 4
"""How often a study of the shift says what it does."""
MOST_ROWS = 10_000
"""Rows of either side that are looked at; intervals are narrow by then."""
_TEXTS = {"prompts": ("prompt",), "responses": ("response_a", "response_b")}


@dataclass(frozen=True)
class Sides:
    """Rows of the target and of a source, to be told apart.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``.
    is_target
        ``(n,)``.
    clusters
        ``(n,)``.
    """

    battles: pl.DataFrame
    is_target: BoolArray
    clusters: IntArray

    @classmethod
    def of(cls, workspace: Workspace, source: str) -> Sides:
        """Take both sides out of a run, of each about ``MOST_ROWS`` at most, in whole clusters."""
        frame = workspace.plan.frame
        target = (frame["role"] == "target").to_numpy()
        own = (frame["source"] == source).to_numpy()
        some = [rows_within(frame, side, MOST_ROWS, "shift") for side in (target, own)]
        kept = np.flatnonzero(np.any(some, axis=0))
        return cls(workspace.battles[kept], target[kept], frame["cluster"].to_numpy()[kept])


def measure_shift(
    workspace: Workspace, source: str, cache_directory: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Measure how a source differs from the target.

    Parameters
    ----------
    workspace
        Of the run.
    source
        Name of the source.
    cache_directory
        Where features are kept.
    tell
        Told what is being measured.

    Returns
    -------
    dict[str, Any]
        ``prompts`` and ``responses``: AUC of a classifier of source against target, on text and on
        features, cross-validated by cluster, with the words and features that tell most; ``all``:
        the same on all features. ``labels``: shares, and their total variation distance (half the
        sum of absolute differences). ``rule``: see ``measure_concept_shift``.
    """
    sides = Sides.of(workspace, source)
    tell("features")
    columns = compute_columns(sides.battles, cache_directory)
    part = assign_parts(sides.clusters)
    kinds = {"prompts": columns.of_prompt, "responses": columns.of_responses}
    found: dict[str, Any] = {
        "rows": {"target": int(sides.is_target.sum()), "source": int((~sides.is_target).sum())}
    }
    for name, texts in _TEXTS.items():
        tell(name)
        found[name] = {
            **_by_text(sides, texts),
            **_by_features(sides, columns, kinds[name], part, workspace.threads),
        }
    everything = np.ones(len(columns.matrix.names), bool)
    found["all"] = _by_features(sides, columns, everything, part, workspace.threads)
    found["labels"] = _labels(workspace.battles, source)
    tell("label rule")
    found["rule"] = _rule(sides, columns, part, workspace.threads)
    return found


def _by_text(sides: Sides, columns: tuple[str, ...]) -> dict[str, Any]:
    texts = domain_texts(sides.battles, columns)
    words = top_terms(texts, sides.is_target)
    try:
        domain = score_domains(texts, sides.is_target, sides.clusters)
    except DataError as error:
        return {"text": _not_measured(error.message), "words": words}
    return {"text": _auc(domain.probability, sides), "words": words}


def _by_features(
    sides: Sides, columns: Columns, kept: BoolArray, part: IntArray, threads: int
) -> dict[str, Any]:
    values, places = columns.part(kept)
    if not len(places):
        return {"features": _not_measured("no feature set looks at it alone"), "telling": []}
    scores, gains = tell_apart(values, sides.is_target, part, threads)
    total = np.zeros(len(columns.matrix.names))
    total[places] = gains
    telling = top_features(columns.matrix, total, sides.is_target) if total.any() else []
    return {"features": _auc(scores, sides), "telling": telling}


def _auc(scores: FloatArray, sides: Sides) -> dict[str, Any]:
    there = np.isfinite(scores)
    if len(np.unique(sides.is_target[there])) < 2:
        return _not_measured("a side has too few clusters")
    found = auc_estimate(scores[there], sides.is_target[there], sides.clusters[there])
    return {"measured": True, "auc": found.mean, "low": found.low, "high": found.high}


def _labels(battles: pl.DataFrame, source: str) -> dict[str, Any]:
    target = label_shares(battles.filter(pl.col("role") == "target"))
    own = label_shares(battles.filter(pl.col("source") == source))
    if target is None or own is None:
        return _not_measured("the source has no labels")
    distance = float(np.abs(np.subtract(target, own)).sum() / 2)
    return {
        "measured": True,
        "target": list(target),
        "source": list(own),
        "total_variation": distance,
    }


def _rule(sides: Sides, columns: Columns, part: IntArray, threads: int) -> dict[str, Any]:
    labeled = sides.battles[LABEL_COLUMNS[0]].is_not_null().to_numpy()
    rows = np.flatnonzero(labeled)
    if sides.is_target[rows].all():
        return _not_measured("the source has no labels")
    return measure_concept_shift(
        columns.matrix.take(rows),
        labels_of(sides.battles[rows]),
        sides.is_target[rows],
        sides.clusters[rows],
        part[rows],
        threads,
    )


def _not_measured(reason: str) -> dict[str, Any]:
    return {"measured": False, "reason": reason}
