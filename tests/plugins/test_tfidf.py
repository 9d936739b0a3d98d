from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import CLASSES, FitContext, errors, make_battles
from ensemble.battles.schema import learner_view
from ensemble.battles.swap import swap_battles, swap_classes
from ensemble.datasets.battles import GeneratedBattles
from ensemble.evaluation.losses import softmax
from ensemble.plugin.parameters import plain_parameters
from ensemble_plugins.tfidf import Tfidf

if TYPE_CHECKING:
    from pathlib import Path


def _labels(table: pl.DataFrame) -> np.ndarray:
    return table.select(CLASSES).to_numpy().astype(np.float64)


@pytest.fixture(scope="module")
def battles() -> GeneratedBattles:
    return make_battles(target_rows=800, external_rows=0, test_rows=400)


@pytest.fixture(scope="module")
def fitted(battles: GeneratedBattles) -> Tfidf:
    target = battles.target
    return Tfidf().fit(learner_view(target), _labels(target), context=FitContext())


def test_it_learns(battles: GeneratedBattles, fitted: Tfidf) -> None:
    classes = battles.truth.filter(pl.col("source") == "test")["label"].to_numpy()
    p = softmax(fitted.predict_logits(battles.test))
    prior = _labels(battles.target).mean(axis=0)
    loss = -np.log(p[np.arange(len(p)), classes]).mean()
    assert loss < -np.log(prior[classes]).mean() - 0.03


@pytest.mark.parametrize(
    "parameters",
    [{}, {"word_ngrams": (1, 2), "char_ngrams": ()}, {"word_ngrams": (1, 1)}],
    ids=["chars", "words", "both"],
)
def test_exchanging_the_responses_exchanges_the_logits(
    battles: GeneratedBattles, parameters: dict[str, Any]
) -> None:
    rows = learner_view(battles.target.head(120))
    model = Tfidf(min_df=2, **parameters)
    model.fit(rows, _labels(battles.target.head(120)), context=FitContext())
    swapped = model.predict_logits(swap_battles(battles.test))
    np.testing.assert_array_equal(swapped, swap_classes(model.predict_logits(battles.test)))


def test_a_row_alone_scores_as_in_a_batch(battles: GeneratedBattles, fitted: Tfidf) -> None:
    together = fitted.predict_logits(battles.test)
    for row in range(0, 400, 37):
        np.testing.assert_array_equal(fitted.predict_logits(battles.test[row])[0], together[row])


def test_fit_does_not_care_about_the_order_of_sides(battles: GeneratedBattles) -> None:
    rows, labels = learner_view(battles.target.head(150)), _labels(battles.target.head(150))
    flip = np.arange(150) % 2 == 0
    mixed = pl.concat(
        [swap_battles(rows[i]) if flip[i] else rows[i] for i in range(150)], how="vertical"
    )
    mixed_labels = np.where(flip[:, None], swap_classes(labels), labels)
    one = Tfidf().fit(rows, labels, context=FitContext()).predict_logits(battles.test)
    other = Tfidf().fit(mixed, mixed_labels, context=FitContext()).predict_logits(battles.test)
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_save_and_load_give_the_same_predictions(
    battles: GeneratedBattles, fitted: Tfidf, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"tfidf.safetensors", "tfidf.json"}
    restored = Tfidf(**plain_parameters(fitted)).load(tmp_path)
    expected = fitted.predict_logits(battles.test)
    np.testing.assert_array_equal(restored.predict_logits(battles.test), expected)


def test_loading_under_other_ngrams_is_an_error(fitted: Tfidf, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    with pytest.raises(errors.ArtifactError, match="the stored model counts other n-grams"):
        Tfidf(char_ngrams=(3, 4)).load(tmp_path)


def test_columns_come_from_the_training_rows_alone() -> None:
    rows = pl.DataFrame(
        {
            "id": ["1", "2"],
            "prompt": [["zz"], ["zz"]],
            "response_a": [["ab"], ["ab"]],
            "response_b": [["cd"], ["ab"]],
        }
    )
    model = Tfidf(char_ngrams=(2, 2), min_df=2).fit(rows, np.eye(3)[:2], context=FitContext())
    # "cd" is in one response, "zz" in prompts only.
    assert len(model.columns_) == 1
    assert model.idf_[0] == pytest.approx(np.log(5 / 4) + 1)


def test_max_features_keeps_the_commonest() -> None:
    rows = pl.DataFrame(
        {
            "id": ["1", "2"],
            "prompt": [["p"], ["p"]],
            "response_a": [["a b c"], ["a b"]],
            "response_b": [["a"], ["a b"]],
        }
    )
    model = Tfidf(char_ngrams=(), word_ngrams=(1, 1), min_df=1, max_features=2)
    model.fit(rows, np.eye(3)[:2], context=FitContext())
    np.testing.assert_allclose(np.sort(model.idf_), np.sort(np.log([5 / 5, 5 / 4]) + 1), atol=1e-12)


def test_soft_labels_are_the_weighted_mix_of_hard_ones(battles: GeneratedBattles) -> None:
    rows = learner_view(battles.target.head(100))
    soft = np.tile([0.5, 0.3, 0.2], (100, 1))
    hard = np.concatenate([np.tile(row, (100, 1)) for row in np.eye(3)])
    weight = np.repeat([0.5, 0.3, 0.2], 100)
    tripled = pl.concat([rows, rows, rows])
    # min_df counts rows: three times as many for the same n-grams.
    one = Tfidf(min_df=3).fit(rows, soft, context=FitContext())
    other = Tfidf(min_df=9, ridge=12.0)
    other.fit(tripled, hard, sample_weight=weight, context=FitContext())
    np.testing.assert_array_equal(one.columns_, other.columns_)
    p, q = (softmax(model.predict_logits(battles.test)) for model in (one, other))
    np.testing.assert_allclose(p, q, atol=5e-3)


def test_the_scale_of_weights_does_not_matter(battles: GeneratedBattles) -> None:
    rows, labels = learner_view(battles.target.head(100)), _labels(battles.target.head(100))
    one, other = (
        Tfidf().fit(rows, labels, sample_weight=np.full(100, scale), context=FitContext())
        for scale in (1.0, 7.0)
    )
    np.testing.assert_allclose(one.model_.odd, other.model_.odd, atol=1e-6)


def test_an_offset_moves_what_is_learned_by_as_much(battles: GeneratedBattles) -> None:
    target = battles.target.head(300)
    offset = np.tile([-0.5, -0.5, 1.0], (300, 1))
    plain, moved = (
        Tfidf(min_df=2, ridge=1e6)
        .fit(learner_view(target), _labels(target), context=FitContext(offset=given))
        .predict_logits(battles.test)
        for given in (None, offset)
    )
    ties = [softmax(logits)[:, 2] for logits in (plain, moved)]
    gap = np.log(ties[0] / (1 - ties[0])) - np.log(ties[1] / (1 - ties[1]))
    np.testing.assert_allclose(gap, 1.5, atol=0.05)


def test_identical_and_empty_responses_are_likelier_ties(
    battles: GeneratedBattles, fitted: Tfidf
) -> None:
    same = battles.test.with_columns(response_b=pl.col("response_a"))
    empty = battles.test.with_columns(
        pl.lit([None], dtype=pl.List(pl.String)).alias(side)
        for side in ("response_a", "response_b")
    )
    usual = softmax(fitted.predict_logits(battles.test))[:, 2].mean()
    assert softmax(fitted.predict_logits(same))[:, 2].mean() > usual
    empty_logits = fitted.predict_logits(empty)
    assert np.isfinite(empty_logits).all()
    np.testing.assert_array_equal(empty_logits[:, 0], empty_logits[:, 1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"char_ngrams": ()}, "both empty"),
        ({"char_ngrams": (3, 2)}, "least, greatest"),
        ({"word_ngrams": (0, 1)}, "least, greatest"),
        ({"char_ngrams": (1, 2, 3)}, "least, greatest"),
        ({"min_df": 0}, "min_df and max_features must be 1 or more"),
        ({"ridge": 0.0}, "ridge above 0"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tfidf(**parameters)


def test_a_class_without_a_row_is_rare_and_not_impossible(battles: GeneratedBattles) -> None:
    decided = battles.target.filter(pl.col("winner_tie") == 0)
    model = Tfidf().fit(learner_view(decided), _labels(decided), context=FitContext())
    ties = softmax(model.predict_logits(battles.test))[:, 2]
    assert 0.2 / len(decided) < np.median(ties) < 20 / len(decided)
    assert ties.min() > 1e-5
