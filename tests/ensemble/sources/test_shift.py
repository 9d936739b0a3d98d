from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from ensemble import Feature, FeatureSet
from ensemble.battles.features import compute_features
from ensemble.sources import shift
from ensemble.sources.boosting import assign_parts
from ensemble.sources.columns import compute_columns, feature_sets
from ensemble.sources.concept_shift import measure_concept_shift
from ensemble.sources.top_terms import top_features, top_terms


def _length(column: str) -> pl.Expr:
    return pl.col(column).list.join("").str.len_chars()


LENGTHS = FeatureSet(
    "lengths",
    (
        Feature("p", _length("prompt"), "Characters", "p"),
        Feature("a", _length("response_a"), "Characters", "b"),
        Feature("b", _length("response_b"), "Characters", "a"),
        Feature(
            "d", _length("response_a").cast(pl.Float64) - _length("response_b"), "Gap", "d", -1
        ),
        Feature("all", _length("prompt") + _length("response_a"), "Both", "all_b"),
        Feature("all_b", _length("prompt") + _length("response_b"), "Both", "all"),
    ),
)


def _battles(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    sizes = rng.integers(1, 60, (rows, 3))
    texts = [[["x" * int(n)] for n in row] for row in sizes]
    return pl.DataFrame(
        {
            "id": [str(i) for i in range(rows)],
            "prompt": [t[0] for t in texts],
            "response_a": [t[1] for t in texts],
            "response_b": [t[2] for t in texts],
        }
    )


def _labels(
    battles: pl.DataFrame, rng: np.random.Generator, slope: float, tie: float
) -> np.ndarray:
    gap = battles.select(_length("response_a").cast(pl.Float64) - _length("response_b"))
    odds = slope * gap.to_series().to_numpy() / 10
    first = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    drawn = np.where(rng.random(len(odds)) < tie, 2, np.where(first, 0, 1))
    return np.eye(3)[drawn]


def test_columns_are_sorted_by_what_they_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.sources.columns.feature_sets", lambda: [LENGTHS])
    columns = compute_columns(_battles(np.random.default_rng(0), 50), None)
    names = np.array(columns.matrix.names)
    assert names[columns.of_prompt].tolist() == ["p"]
    assert names[columns.of_responses].tolist() == ["a", "b", "d"]


def test_all_registered_sets_can_be_sorted_so(tmp_path: Path) -> None:
    columns = compute_columns(_battles(np.random.default_rng(0), 20), tmp_path)
    assert len(columns.matrix.names) == sum(len(s.features) for s in feature_sets())
    assert columns.of_prompt.any()
    assert columns.of_responses.any()
    assert not (columns.of_prompt & columns.of_responses).any()


def _rules(slope: float, tie: float) -> dict[str, Any]:
    """Compare a target (slope 2, 30% ties) with a source of another rule or other shares."""
    rng = np.random.default_rng(0)
    battles = _battles(rng, 1400)
    is_target = np.arange(1400) < 700
    labels = np.where(
        is_target[:, None], _labels(battles, rng, 2, 0.3), _labels(battles, rng, slope, tie)
    )
    matrix, clusters = compute_features(battles, [LENGTHS]), np.arange(1400)
    return measure_concept_shift(
        matrix, labels, is_target, clusters, assign_parts(clusters), threads=1
    )


def test_the_same_rule_shows_no_gap() -> None:
    found = _rules(2, 0.3)
    assert abs(found["on_target"]["gap"]["mean"]) < 0.02
    assert found["agreement"] > 0.9


def test_other_shares_are_a_gap_that_the_offset_closes() -> None:
    found = _rules(2, 0.06)["on_target"]
    assert found["gap"]["low"] > 0.1
    assert abs(found["gap_offset"]["mean"]) < found["gap"]["mean"] / 4


def test_the_opposite_rule_is_a_gap_that_no_offset_closes() -> None:
    found = _rules(-2, 0.3)
    for side in ("on_target", "on_source"):
        assert found[side]["gap"]["low"] > 0.3
        assert found[side]["gap_offset"]["low"] > 0.3
    assert found["agreement"] < -0.9


def test_a_few_rows_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    battles = _battles(rng, 100)
    matrix, clusters = compute_features(battles, [LENGTHS]), np.arange(100)
    side = clusters < 90
    found = measure_concept_shift(
        matrix, _labels(battles, rng, 2, 0.3), side, clusters, assign_parts(clusters), 1
    )
    assert not found["measured"]
    assert "fewer than 60" in found["reason"]


def test_words_of_one_side_tell_it() -> None:
    texts = ["please write some code"] * 40 + ["please tell a story"] * 40
    found = top_terms(texts, np.arange(80) < 40)
    assert {item["word"] for item in found["target"]} == {"write", "some", "code"}
    assert {item["word"] for item in found["source"]} == {"tell", "story"}
    assert found["source"][0] == {"word": "story", "target": 0.0, "source": 1.0}


def test_a_word_of_very_few_texts_tells_nothing() -> None:
    texts = ["please", "please rarely"] + ["please"] * 398
    found = top_terms(texts, np.arange(400) < 200)
    assert "rarely" not in [item["word"] for item in found["target"]]


def test_texts_without_a_word_tell_nothing() -> None:
    assert top_terms(["1 + 1", "2"], np.array([True, False])) == {"target": [], "source": []}


def test_a_column_and_its_mirror_image_count_as_one() -> None:
    matrix = compute_features(_battles(np.random.default_rng(0), 40), [LENGTHS])
    gains = np.array([5.0, 3.0, 4.0, 0.0, 0.0, 0.0])
    found = top_features(matrix, gains, np.arange(40) < 20)
    assert [(item["feature"], item["importance"]) for item in found] == [
        ("a", pytest.approx(7 / 12)),
        ("p", pytest.approx(5 / 12)),
    ]


def test_sides_are_whole_clusters_of_about_as_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "MOST_ROWS", 10)
    battles = _battles(np.random.default_rng(0), 120)
    clusters = [i // 3 for i in range(120)]
    frame = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(120)],
            "source": ["people"] * 60 + ["other"] * 60,
            "role": ["target"] * 60 + ["train"] * 60,
            "cluster": clusters,
        }
    )
    workspace: Any = SimpleNamespace(plan=SimpleNamespace(frame=frame), battles=battles)
    sides = shift.Sides.of(workspace, "other")
    assert (sides.is_target.sum(), (~sides.is_target).sum()) == (12, 12)
    assert (np.unique(sides.clusters, return_counts=True)[1] == 3).all()
    assert len(sides.battles) == 24
