"""Which rows of the sources are used, and how clusters are drawn by hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.groups import cluster_fractions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble.config.source_settings import SourceSettings
    from ensemble.plugin.base import BoolArray


def used_rows(plan: pl.DataFrame, uses: Mapping[str, SourceSettings]) -> pl.Series:
    """Mask of the rows that are used at all, whatever the fold.

    Parameters
    ----------
    plan
        ``PLAN_SCHEMA``.
    uses
        Use of each source. Rows of a source without one are not used, nor are those whose role is
        another than their source's use has.

    Notes
    -----
    A share takes whole clusters, by their hash: the rows of a smaller share are among those of a
    larger one, and sources that hold the same cluster agree on it.
    """
    table = {name: use for name, use in uses.items() if use.role != "ignore"}
    sources = pl.col("source")
    role = sources.replace_strict({n: u.role for n, u in table.items()}, default=None)
    share = sources.replace_strict({n: u.share for n, u in table.items()}, default=0.0)
    fractions = pl.Series(cluster_fractions(plan["cluster"].to_numpy(), "share"))
    used = (role == pl.col("role")) & (fractions < share.cast(pl.Float64))
    return plan.select(used.fill_null(value=False).alias("used")).to_series()


def rows_within(plan: pl.DataFrame, side: BoolArray, budget: int | None, purpose: str) -> BoolArray:
    """Mask of the rows of a side that a budget allows, by whole clusters in the order of a hash.

    Parameters
    ----------
    plan
        ``PLAN_SCHEMA``.
    side
        ``(n,)`` mask of the rows to choose from.
    budget
        Most of them; the last cluster may exceed it. None allows all.
    purpose
        Another one takes other clusters.
    """
    rows = np.flatnonzero(side)
    if budget is None or len(rows) <= budget:
        return side
    # Clusters are named by their first id among these rows: numbers change with other sources.
    names = plan[rows].select(pl.col("id").min().over("cluster")).to_series().to_numpy()
    fractions = cluster_fractions(names, purpose)
    mask = np.zeros(len(plan), dtype=bool)
    mask[rows[fractions <= np.sort(fractions)[budget - 1]]] = True
    return mask
