from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble import errors
from ensemble.battles.schema import LABEL_COLUMNS, labels_of
from ensemble.config.source_settings import SourceSettings
from ensemble.oof.row_weights import (
    GREATEST,
    LabeledBattles,
    RowWeights,
    label_ratios,
    prior_offset,
    weigh_rows,
)

if TYPE_CHECKING:
    from tests.fixture_types import MakeBattles

TARGET = SourceSettings("target")


def _rows(*frames: pl.DataFrame, first: int = 0) -> LabeledBattles:
    battles = pl.concat(frames)
    return LabeledBattles(battles, labels_of(battles), np.arange(len(battles)) + first)


def _labeled(battles: pl.DataFrame, *counts: int) -> pl.DataFrame:
    labels = np.repeat(np.eye(3), counts, axis=0)
    return battles.with_columns(
        pl.Series(name, labels[:, i]) for i, name in enumerate(LABEL_COLUMNS)
    )


def _weighed(make: MakeBattles, use: SourceSettings, *counts: int) -> RowWeights:
    """Treat a target with shares 2:2:4 beside a source."""
    target = _labeled(make(8), 2, 2, 4)
    source = _labeled(make(sum(counts), source="x", role=use.role), *counts)
    return weigh_rows(_rows(target, source), _rows(target), {"arena": TARGET, "x": use})


@pytest.mark.parametrize("wish", [{}, {"reweight": "labels"}, {"logit_adjustment": True}])
def test_text_is_copied_only_to_tell_domains(
    make_battles: MakeBattles, monkeypatch: pytest.MonkeyPatch, wish: dict[str, Any]
) -> None:
    monkeypatch.delattr(LabeledBattles, "take")
    assert len(_weighed(make_battles, SourceSettings("train", **wish), 3, 3, 2).weight) == 16
    with pytest.raises(AttributeError, match="take"):
        _weighed(make_battles, SourceSettings("train", reweight="importance"), 3, 3, 2)


def test_a_source_without_wishes_has_its_weight_and_no_offset(make_battles: MakeBattles) -> None:
    weighed = _weighed(make_battles, SourceSettings("train", weight=0.5), 3, 3, 2)
    assert weighed.weight.tolist() == [1.0] * 8 + [0.5] * 8
    assert weighed.offset is None
    assert weighed.record["x"] == {
        "role": "train",
        "rows": 8,
        "label_shares": [0.375, 0.375, 0.25],
        "weight": {"mean": 0.5, "least": 0.5, "greatest": 0.5},
        "clipped": 0.0,
        "offset": None,
        "reweight": "none",
    }


def test_label_matching_gives_a_source_the_shares_of_the_target(make_battles: MakeBattles) -> None:
    weighed = _weighed(
        make_battles, SourceSettings("train", weight=2.0, reweight="labels"), 6, 3, 1
    )
    labels = np.repeat(np.eye(3), (6, 3, 1), axis=0)
    own = weighed.weight[8:]
    np.testing.assert_allclose(own @ labels / own.sum(), [0.25, 0.25, 0.5])
    assert own.mean() == pytest.approx(2.0)
    assert weighed.weight[:8].tolist() == [1.0] * 8


def test_a_class_that_the_source_lacks_stays_lacking(make_battles: MakeBattles) -> None:
    weighed = _weighed(make_battles, SourceSettings("train", reweight="labels"), 6, 2, 0)
    own = weighed.weight[8:]
    assert np.isfinite(own).all()
    np.testing.assert_allclose([own[:6].sum(), own[6:].sum()], [4.0, 4.0])


def test_weights_are_clipped_before_they_are_scaled(make_battles: MakeBattles) -> None:
    weighed = _weighed(make_battles, SourceSettings("train", reweight="labels"), 99, 100, 1)
    own = weighed.weight[8:]
    assert own.max() / own.min() == pytest.approx(GREATEST / (0.25 / 0.5))
    assert weighed.record["x"]["clipped"] == pytest.approx(1 / 200)


def test_an_offset_is_the_log_ratio_of_label_shares_and_zero_for_the_target(
    make_battles: MakeBattles,
) -> None:
    weighed = _weighed(make_battles, SourceSettings("train", logit_adjustment=True), 6, 3, 0)
    wanted = np.log(np.array([7, 4, 1]) / 12) - np.log(np.array([3, 3, 5]) / 11)
    assert weighed.offset is not None
    np.testing.assert_allclose(weighed.offset[8:], np.tile(wanted - wanted.mean(), (9, 1)))
    assert not weighed.offset[:8].any()
    assert weighed.record["x"]["offset"] == weighed.offset[8].tolist()


def test_a_soft_label_has_the_mean_over_its_classes() -> None:
    labels = np.array([[1.0, 0, 0], [0.5, 0, 0.5]])
    target = np.eye(3)[[0, 2]]
    np.testing.assert_allclose(label_ratios(labels, target), [2 / 3, (2 / 3 + 2) / 2])


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(1, 5))
def test_shares_that_are_the_same_give_no_offset_however_many_rows(
    classes: list[int], times: int
) -> None:
    labels = np.eye(3)[classes]
    offset = prior_offset(labels, np.ones(len(labels)), labels)
    np.testing.assert_allclose(offset, 0, atol=1e-12)
    more = prior_offset(np.tile(labels, (times, 1)), np.ones(times * len(labels)), labels)
    assert np.isfinite(more).all()
    assert more.sum() == pytest.approx(0)


def test_importance_weighs_rows_by_how_like_the_target_they_are(make_battles: MakeBattles) -> None:
    target = make_battles(80, prompts=10)
    alike = make_battles(40, prompts=10).with_columns(source=pl.lit("x"), role=pl.lit("train"))
    foreign = make_battles(120, source="x", role="train", prompts=10).with_columns(
        response_a=pl.lit(["quite other words stand here"]), id="y" + pl.col("id")
    )
    use = SourceSettings("train", weight=0.5, reweight="importance")
    rows = _rows(alike, foreign, first=1000)
    weighed = weigh_rows(rows, _rows(target), {"arena": TARGET, "x": use})
    assert weighed.weight[:40].mean() > 2 * weighed.weight[40:].mean()
    assert weighed.weight.mean() == pytest.approx(0.5)
    assert 0.5 < weighed.record["x"]["domain_auc"] <= 1


def test_a_source_too_small_for_importance_is_named(make_battles: MakeBattles) -> None:
    with pytest.raises(errors.DataError, match='(.|\n)*source "x", reweight = "importance"'):
        _weighed(make_battles, SourceSettings("train", reweight="importance"), 1, 0, 0)


def test_each_source_is_held_against_the_target_by_itself(make_battles: MakeBattles) -> None:
    target = _labeled(make_battles(4), 1, 1, 2)
    ties = _labeled(make_battles(4, source="x"), 0, 0, 4)
    firsts = _labeled(make_battles(4, source="y"), 4, 0, 0)
    uses: dict[str, Any] = {"arena": TARGET} | {
        n: SourceSettings("train", logit_adjustment=True) for n in "xy"
    }
    alone = weigh_rows(_rows(ties), _rows(target), uses).offset
    both = weigh_rows(_rows(ties, firsts), _rows(target), uses).offset
    assert alone is not None
    assert both is not None
    assert np.array_equal(both[:4], alone)
    assert both[4].argmax() == 0
