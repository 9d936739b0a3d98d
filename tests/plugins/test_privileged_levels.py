"""Privileged columns as numbers: swaps, unknown values, and learners that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble import FitContext, errors
from ensemble.battles.swap import swap_battles
from ensemble.plugin.manager import get_manager
from ensemble_plugins.privileged_levels import MOST_LEVELS, Levels

COLUMNS = ("model_a", "model_b", "language")
VALUE = st.none() | st.sampled_from(["gpt-4", "claude", "llama", "x"])


def _table(rows: Any) -> pl.DataFrame:
    return pl.DataFrame(rows, dict.fromkeys(COLUMNS, pl.String), orient="row")


@given(
    st.lists(st.tuples(VALUE, VALUE, VALUE), min_size=1, max_size=20),
    st.lists(st.tuples(VALUE, VALUE, VALUE), min_size=1, max_size=20),
)
def test_exchanging_sides_turns_differences_and_leaves_sums(learned: Any, seen: Any) -> None:
    levels, rows = Levels.of(_table(learned), COLUMNS), _table(seen)
    swapped = swap_battles(rows)
    np.testing.assert_array_equal(levels.odd(swapped), -levels.odd(rows))
    np.testing.assert_array_equal(levels.even(swapped), levels.even(rows))
    width = levels.odd(rows).shape[1] + levels.even(rows).shape[1]
    assert width == len(levels.names)
    assert len(set(levels.names)) == width


def test_a_value_that_was_not_learned_is_0_everywhere() -> None:
    learned = _table([("a", "b", "en")] * 3 + [("once", "b", None)])
    levels = Levels.of(learned, COLUMNS)
    assert [values for _, values in levels.known] == [("b", "a"), ("en",)]
    odd = _table([("new", None, "fr"), ("once", "b", "en")])
    np.testing.assert_array_equal(levels.odd(odd), [[0, 0], [-1, 0]])
    np.testing.assert_array_equal(levels.even(odd), [[0, 0, 0], [1, 0, 1]])


def test_only_the_most_frequent_values_are_told_apart() -> None:
    rows = [(None, None, f"v{i % (MOST_LEVELS + 50)}") for i in range(3 * MOST_LEVELS)]
    assert len(Levels.of(_table(rows), COLUMNS).known[1][1]) == MOST_LEVELS


def test_battles_without_the_column_are_refused() -> None:
    levels = Levels.of(_table([("a", "b", "en")] * 3), COLUMNS)
    with pytest.raises(errors.LearnerError, match='privileged column "model_a"'):
        levels.odd(pl.DataFrame({"id": ["1"]}))


LEARNERS: dict[str, dict[str, Any]] = {
    "handcrafted": {"features": ["length"], "n_models": 2, "min_child_samples": 3},
    "tfidf": {"min_df": 2, "ridge": 0.5},
    "sklearn": {
        "estimator": "sklearn.linear_model.LogisticRegression",
        "features": ["length"],
        "scale": True,
    },
}


def _battles(rows: int, seed: int = 0) -> tuple[pl.DataFrame, Any]:
    """Battles whose winner is the stronger model, where the texts say nothing."""
    rng = np.random.default_rng(seed)
    names = [f"model {i}.0" for i in range(6)]
    pairs = np.array([rng.choice(6, 2, replace=False) for _ in range(rows)])
    battles = pl.DataFrame(
        {
            "id": [f"{seed}-{i}" for i in range(rows)],
            "prompt": [["say it"]] * rows,
            "response_a": [["the same words"]] * rows,
            "response_b": [["the same words"]] * rows,
            "model_a": [names[a] for a in pairs[:, 0]],
            "model_b": [names[b] for b in pairs[:, 1]],
        }
    )
    return battles, np.eye(3)[(pairs[:, 0] < pairs[:, 1]).astype(int)]


@pytest.mark.parametrize("plugin", ["handcrafted", "tfidf", "sklearn"])
def test_learners_see_them_in_fit_and_prediction_and_come_back_from_their_files(
    plugin: str, tmp_path: Path
) -> None:
    (battles, labels), (new, wanted) = _battles(300), _battles(60, seed=1)
    kind: Any = get_manager().base_learners.get(plugin)
    context = FitContext(privileged=("model_a", "model_b"))
    learner = kind(**LEARNERS[plugin]).fit(battles, labels, context=context)
    logits = learner.predict_logits(new)
    assert (logits.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.9
    swapped = learner.predict_logits(swap_battles(new))
    np.testing.assert_allclose(swapped[:, [1, 0, 2]], logits, atol=1e-5)
    strange = new.with_columns(model_a=pl.lit("nobody knows it"), model_b=pl.lit(None, pl.String))
    assert np.isfinite(learner.predict_logits(strange)).all()
    learner.save(tmp_path)
    again = kind(**LEARNERS[plugin]).load(tmp_path)
    np.testing.assert_array_equal(again.predict_logits(new), logits)
    with pytest.raises(errors.LearnerError, match="privileged column"):
        again.predict_logits(new.drop("model_a"))
    # Without the context a column of the table is nothing: it is not even looked at.
    blind = kind(**LEARNERS[plugin]).fit(battles, labels, context=FitContext())
    assert np.ptp(blind.predict_logits(new), axis=0).max() < 1e-6


@pytest.mark.parametrize("inputs", ["text", "columns"])
def test_estimators_on_texts_see_them_as_words_or_columns(inputs: str) -> None:
    from ensemble_plugins.sklearn_inputs import marked_texts, text_columns

    (battles, _), columns = _battles(2), ("model_a", "model_b")
    first = battles.row(0, named=True)
    for swapped in (False, True):
        a, b = (first[name] for name in (columns[::-1] if swapped else columns))
        if inputs == "columns":
            row = text_columns(battles, columns, swapped=swapped).row(0, named=True)
            assert (row["model_a"], row["model_b"]) == (a, b)
        else:
            text = marked_texts(battles, columns, swapped=swapped)[0]
            said = [word for word in text.split() if "_is_" in word]
            assert said == [
                f"model_{side}_is_{name.replace(' ', '_').replace('.', '_')}"
                for side, name in (("a", a), ("b", b))
            ]
