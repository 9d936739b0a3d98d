from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.fold_plan import PLAN_SCHEMA
from ensemble.battles.groups import cluster_fractions
from ensemble.battles.source_rows import rows_within, used_rows
from ensemble.config.source_settings import SourceSettings

TARGET = SourceSettings("target")


def _plan(sources: list[str], clusters: list[int], role: str = "train") -> pl.DataFrame:
    rows: dict[str, Any] = {
        "id": [str(i) for i in range(len(sources))],
        "source": sources,
        "role": ["target" if source == "arena" else role for source in sources],
        "cluster": clusters,
        "fold": [0 if source == "arena" else None for source in sources],
    }
    return pl.DataFrame(rows, schema=PLAN_SCHEMA)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=80), st.floats(0.05, 1), st.floats(0.05, 1)
)
def test_a_share_takes_whole_clusters_and_a_smaller_one_lies_in_a_larger(
    clusters: list[int], one: float, other: float
) -> None:
    plan = _plan(["x"] * len(clusters), clusters)
    small, large = (
        used_rows(plan, {"x": SourceSettings("train", share=share)})
        for share in sorted((one, other))
    )
    assert not (small & ~large).any()
    for mask in (small, large):
        kept = plan.filter(mask)["cluster"]
        assert plan["cluster"].is_in(kept.implode()).equals(mask)


def test_a_share_is_about_as_large_as_it_says_and_all_of_it_is_all() -> None:
    plan = _plan(["x"] * 4000, list(range(4000)))
    part = used_rows(plan, {"x": SourceSettings("train", share=0.3)})
    assert int(part.sum()) == pytest.approx(1200, abs=100)
    assert used_rows(plan, {"x": SourceSettings("train")}).all()


def test_sources_agree_on_a_cluster_that_both_hold() -> None:
    plan = _plan(["x", "y"] * 50, [i // 2 for i in range(100)])
    use = SourceSettings("train", share=0.5)
    mask = used_rows(plan, {"x": use, "y": use})
    taken = [set(plan.filter(mask & (plan["source"] == name))["cluster"]) for name in "xy"]
    assert taken[0] == taken[1]
    assert 0 < len(taken[0]) < 50


def test_the_target_is_used_whole_beside_a_share() -> None:
    plan = _plan(["arena", "x"] * 50, list(range(100)))
    mask = used_rows(plan, {"arena": TARGET, "x": SourceSettings("train", share=0.01)})
    assert mask.filter(plan["source"] == "arena").all()


def test_ignored_unknown_and_other_roles_reach_nothing() -> None:
    plan = _plan(["arena", "x", "y", "z"], [0, 1, 2, 3])
    uses = {"arena": TARGET, "x": SourceSettings("ignore"), "y": SourceSettings("pretrain")}
    assert used_rows(plan, uses).to_list() == [True, False, False, False]


def test_another_purpose_draws_clusters_in_another_order() -> None:
    clusters = np.arange(1000)
    one, other = (cluster_fractions(clusters, purpose) for purpose in ("share", "part"))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1
    assert one.min() >= 0
    assert one.max() < 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 60), st.data())
def test_a_budget_takes_whole_clusters_of_a_side_and_a_smaller_one_lies_in_a_larger(
    clusters: list[int], budget: int, data: st.DataObject
) -> None:
    plan = _plan(["x"] * len(clusters), clusters)
    side = np.array(data.draw(st.lists(st.booleans(), min_size=len(plan), max_size=len(plan))))
    kept, fewer = (rows_within(plan, side, most, "budget") for most in (budget, (budget + 1) // 2))
    assert not (kept & ~side).any()
    assert not (fewer & ~kept).any()
    numbers = plan["cluster"].to_numpy()
    assert (kept == side & np.isin(numbers, numbers[kept])).all()
    assert kept.sum() >= min(budget, side.sum())
    without_last = kept.sum() - np.unique(numbers[kept], return_counts=True)[1].max(initial=0)
    assert without_last < budget
    assert (rows_within(plan, side, None, "budget") == side).all()


def test_a_budget_does_not_look_at_the_numbers_of_clusters() -> None:
    plan = _plan(["x"] * 40, [i // 2 for i in range(40)])
    side = np.ones(40, bool)
    other = plan.with_columns(cluster=77 - pl.col("cluster"))
    masks = [rows_within(each, side, 10, "budget") for each in (plan, other)]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] != rows_within(plan, side, 10, "shift")).any()
