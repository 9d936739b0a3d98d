"""Which rows the training of each fold leaves out, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.fold_plan import TIME
from ensemble.battles.partition import connect_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.plugin.base import BoolArray, IntArray

LINKED = "linked through other rows"


def count_cuts(plan: FoldPlan, pairs: pl.DataFrame) -> list[dict[str, Any]]:
    """Count the rows that each fold leaves out, by source and reason.

    Parameters
    ----------
    plan
        The fold plan.
    pairs
        What joins clusters: ``id_a``, ``id_b``, ``kind``.
    """
    linked = _linked_by(plan, pairs)
    counts: list[dict[str, Any]] = []
    for fold in range(plan.n_splits):
        cut = plan.cut_rows(fold).with_columns(reason=pl.lit(LINKED))
        # From the loosest reason to the closest, so that the closest is what remains.
        for reason, rows in _reasons(plan, fold, linked):
            ids = plan.frame.filter(pl.Series(rows))["id"].implode()
            cut = cut.with_columns(
                reason=pl.when(pl.col("id").is_in(ids)).then(pl.lit(reason)).otherwise("reason")
            )
        table = cut.group_by("source", "role", "reason").len("rows").sort("source", "reason")
        counts += [{"fold": fold, **row} for row in table.to_dicts()]
    return counts


def _reasons(
    plan: FoldPlan, fold: int, linked: list[tuple[str, IntArray]]
) -> Iterator[tuple[str, BoolArray]]:
    """Give each reason with the rows that it holds for, the closest reason last."""
    held_out = plan.held_out(fold).to_numpy()
    if plan.is_ordered:
        late = plan.not_before(held_out)
        yield "not earlier than the fold", late
        yield "no time", late & plan.frame[TIME].is_null().to_numpy()
    yield "linked to the hold-out", plan.linked(plan.kept_to_the_end())
    yield LINKED, plan.linked(held_out)
    for kind, component in reversed(linked):
        yield kind, np.isin(component, component[held_out])


def _linked_by(plan: FoldPlan, pairs: pl.DataFrame) -> list[tuple[str, IntArray]]:
    """Components of rows that hang together by a kind of link and all closer ones.

    Returns
    -------
    list[tuple[str, IntArray]]
        Kinds from the closest (same text) to the loosest, with the component of each row. What
        columns of files join is looser than any likeness of texts.
    """
    columns = [kind for kind in pairs["kind"].unique().sort() if kind.startswith("the same ")]
    texts = [kind for kind in pairs["kind"].unique() if kind not in columns]
    kinds = [*sorted(texts, key=lambda kind: (not kind.startswith("same"), kind)), *columns]
    return [
        (kind, connect_rows(plan.frame["id"], pairs, kinds[: place + 1]))
        for place, kind in enumerate(kinds)
    ]
