from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.fold_plan import PLAN_SCHEMA, FoldPlan
from ensemble.battles.held_out import REFIT, HeldOut, fold_pairs


@pytest.mark.parametrize(
    ("value", "name", "label"),
    [(None, "refit", "refit"), (3, "fold-3", "fold 3"), ((0, 3), "pair-0-3", "pair 0-3")],
)
def test_each_kind_has_its_name_and_comes_back_from_json(
    value: object, name: str, label: str
) -> None:
    held_out = HeldOut.of(value)  # type: ignore[arg-type]
    assert (held_out.name, held_out.label) == (name, label)
    assert HeldOut.of(json.loads(json.dumps(held_out.to_json()))) == held_out
    assert HeldOut.of(held_out) is held_out
    assert (held_out.is_refit, held_out.is_joint) == (name == "refit", name == "pair-0-3")


@pytest.mark.parametrize("folds", [(1, 0), (2, 2), (0, 2, 1)])
def test_folds_that_are_not_ascending_are_refused(folds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="different and ascending"):
        HeldOut(folds)


def test_several_folds_have_a_name_that_says_which() -> None:
    pair = HeldOut.of(3).joined(0)
    assert pair == HeldOut((0, 3))
    assert pair.joined(1).name == "triple-0-1-3"
    assert pair.joined(1).joined(7).name == "folds-0-1-3-7"
    for each in (HeldOut(), HeldOut.of(3), pair, pair.joined(1), pair.joined(1).joined(7)):
        assert HeldOut.named(each.name) == each


def test_every_pair_is_listed_once() -> None:
    assert [pair.folds for pair in fold_pairs(3)] == [(0, 1), (0, 2), (1, 2)]
    assert len(fold_pairs(5)) == 10


ROW = st.tuples(
    st.sampled_from(["target", "train", "pseudo", "pretrain", "test"]), st.integers(0, 12)
)


@pytest.mark.slow
@given(st.lists(ROW, min_size=1, max_size=60))
def test_a_pair_learns_from_no_row_whose_cluster_stands_in_either_fold(
    rows: list[tuple[str, int]],
) -> None:
    frame = pl.DataFrame(
        {
            "id": [str(i) for i in range(len(rows))],
            "source": [role for role, _ in rows],
            "role": [role for role, _ in rows],
            "cluster": [cluster for _, cluster in rows],
            "fold": [cluster % 4 if role == "target" else None for role, cluster in rows],
        },
        schema=PLAN_SCHEMA,
    )
    plan = FoldPlan(frame, 4)
    for pair in fold_pairs(4):
        held_out = frame.filter(plan.held_out(pair))
        assert set(held_out["fold"]) <= set(pair.folds)
        for roles in (("target", "train", "pseudo"), ("pretrain",)):
            learned = frame.filter(plan.training(pair, roles))
            assert not set(learned["cluster"]) & set(held_out["cluster"])
            # And nothing else is left out.
            both = [plan.training(fold, roles) for fold in pair.folds]
            assert learned["id"].to_list() == frame.filter(both[0] & both[1])["id"].to_list()
    assert plan.training(REFIT, ("target",)).sum() == len(frame.filter(role="target"))
    assert not plan.held_out(None).any()
