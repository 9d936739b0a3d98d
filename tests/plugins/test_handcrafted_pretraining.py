"""Offsets, judged rows and pretraining of the hand-crafted learner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import FitContext, errors
from ensemble.battles.swap import swap_battles, swap_classes
from ensemble.oof.row_weights import prior_offset
from ensemble.plugin.parameters import plain_parameters
from ensemble_plugins.binned_rows import BinnedRows
from ensemble_plugins.handcrafted import Handcrafted
from tests.plugins.handcrafted_rows import FAST, log_loss, make_rows

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray


def _beside_a_source_without_ties() -> tuple[pl.DataFrame, FloatArray, FloatArray]:
    """Battles of the target, and below them of a source that leaves its ties out; its offset."""
    target, labels, _ = make_rows(150)
    source, others, _ = make_rows(600, seed=3)
    decided = others[:, 2] == 0
    offset = np.zeros((150 + int(decided.sum()), 3))
    offset[150:] = prior_offset(others[decided], np.ones(int(decided.sum())), labels)
    battles = pl.concat([target, source.filter(decided)])
    return battles, np.concatenate([labels, others[decided]]), offset


def test_an_offset_takes_the_label_prior_of_a_source_out_of_what_is_learned() -> None:
    battles, labels, offset = _beside_a_source_without_ties()
    fresh, wanted, _ = make_rows(400, seed=9)
    losses = [
        log_loss(
            Handcrafted(**FAST)
            .fit(battles, labels, context=FitContext(offset=given))
            .predict_logits(fresh),
            wanted,
        )
        for given in (None, offset)
    ]
    assert losses[1] < losses[0] - 0.02


def test_an_offset_is_exchanged_with_the_sides() -> None:
    battles, labels, _ = make_rows(160)
    offset = np.tile([0.8, -0.5, 0.1], (160, 1))
    one = Handcrafted(**FAST).fit(battles, labels, context=FitContext(offset=offset))
    other = Handcrafted(**FAST).fit(
        swap_battles(battles), swap_classes(labels), context=FitContext(offset=swap_classes(offset))
    )
    wrong = Handcrafted(**FAST).fit(
        swap_battles(battles), swap_classes(labels), context=FitContext(offset=offset)
    )
    fresh, wanted, _ = make_rows(200, seed=9)
    losses = [log_loss(each.predict_logits(fresh), wanted) for each in (one, other, wrong)]
    assert losses[0] == pytest.approx(losses[1], abs=0.01)
    assert not np.allclose(one.predict_logits(fresh), wrong.predict_logits(fresh), atol=0.05)


@pytest.mark.parametrize(("size", "learned"), [(1, 225), (2, 150)], ids=["apart", "in pairs"])
def test_models_are_stopped_on_rows_that_the_learner_is_judged_on(
    size: int, learned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is near a watched row is not learned from, and all else is."""
    battles, labels, _ = make_rows(300)
    sizes = []
    train = BinnedRows.train

    def spy(self: BinnedRows, learned: Any, watched: Any, *others: Any, **named: Any) -> Any:
        sizes.append([int(rows.sum()) // 2 for rows in (learned, watched)])
        return train(self, learned, watched, *others, **named)

    monkeypatch.setattr(BinnedRows, "train", spy)
    context = FitContext(eval_mask=np.arange(300) % 2 == 0)
    groups = np.arange(300, dtype=np.int64) // size
    Handcrafted(**FAST).fit(battles, labels, groups=groups, context=context)
    assert sizes == [[learned, 75]] * 2


def test_too_few_groups_that_it_is_judged_on_are_an_error() -> None:
    battles, labels, _ = make_rows(20)
    with pytest.raises(errors.LearnerError, match=r"2 models .* on 1 groups"):
        Handcrafted(**FAST).fit(battles, labels, context=FitContext(eval_mask=np.arange(20) == 3))


def _pretrained() -> Handcrafted:
    """Pre-trained on many battles, fitted on a few."""
    learner = Handcrafted(**FAST)
    many, labels, groups = make_rows(500, seed=3)
    learner.pretrain(many, labels, groups=groups, context=FitContext(seed=1))
    few, labels, groups = make_rows(60)
    return learner.fit(few, labels, groups=groups, context=FitContext(seed=1))


@pytest.fixture(scope="module")
def pretrained() -> Handcrafted:
    return _pretrained()


def test_what_was_learned_in_pretraining_is_not_lost(pretrained: Handcrafted) -> None:
    few, labels, groups = make_rows(60)
    plain = Handcrafted(**FAST).fit(few, labels, groups=groups, context=FitContext(seed=1))
    fresh, wanted, _ = make_rows(400, seed=9)
    losses = [log_loss(each.predict_logits(fresh), wanted) for each in (plain, pretrained)]
    assert losses[1] < losses[0] - 0.01


def test_pretrained_scores_exchange_with_the_sides_too(pretrained: Handcrafted) -> None:
    battles, _, _ = make_rows(60, seed=6)
    logits = pretrained.predict_logits(battles)
    swapped = pretrained.predict_logits(swap_battles(battles))
    np.testing.assert_array_equal(swapped, swap_classes(logits))


def test_the_label_prior_of_pretraining_does_not_stay() -> None:
    """Pre-training never sees a tie; the shares that come out are those of `fit`."""
    learner, (many, others, _) = Handcrafted(**FAST), make_rows(500, seed=3)
    decided = others[:, 2] == 0
    learner.pretrain(many.filter(decided), others[decided], context=FitContext())
    few, labels, _ = make_rows(200)
    logits = learner.fit(few, labels, context=FitContext()).predict_logits(few).astype(float)
    ties = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[:, 2]
    assert ties.mean() == pytest.approx(labels[:, 2].mean(), abs=0.03)


def test_a_pretrained_model_comes_back_from_its_files(
    pretrained: Handcrafted, tmp_path: Path
) -> None:
    pretrained.save(tmp_path)
    names = ["model-0", "model-1", "pretrained-0", "pretrained-1"]
    assert sorted(path.stem for path in tmp_path.glob("*.txt")) == names
    battles, _, _ = make_rows(30, seed=8)
    loaded = Handcrafted(**plain_parameters(pretrained)).load(tmp_path)
    np.testing.assert_array_equal(
        loaded.predict_logits(battles), pretrained.predict_logits(battles)
    )
    place = tmp_path / "pretrained-1.txt"
    place.write_text(place.read_text().replace("tree", "tere", 1))
    with pytest.raises(errors.ArtifactError, match="is not what was saved(.|\n)*pretrained-1.txt"):
        Handcrafted(**plain_parameters(pretrained)).load(tmp_path)


def test_a_second_fit_does_not_start_from_what_the_first_was_given(
    pretrained: Handcrafted,
) -> None:
    battles, labels, groups = make_rows(60)
    learner = _pretrained()
    again = learner.fit(battles, labels, groups=groups, context=FitContext(seed=1))
    plain = Handcrafted(**FAST).fit(battles, labels, groups=groups, context=FitContext(seed=1))
    fresh, _, _ = make_rows(30, seed=8)
    np.testing.assert_array_equal(again.predict_logits(fresh), plain.predict_logits(fresh))
    assert not np.array_equal(again.predict_logits(fresh), pretrained.predict_logits(fresh))
