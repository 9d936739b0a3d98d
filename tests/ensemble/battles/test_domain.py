from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from ensemble import errors
from ensemble.battles import domain
from ensemble.battles.domain import domain_texts, score_domains

WORDS = tuple(f"w{number}" for number in range(20))


def _texts(rows: int, seed: int, *own: str) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice([*WORDS, *own], 12)) for _ in range(rows)]


def test_sides_of_other_words_are_told_apart_and_those_of_the_same_are_not() -> None:
    side = np.arange(400) < 200
    other = score_domains(_texts(200, 0, "x1", "x2", "x3") + _texts(200, 1), side, np.arange(400))
    same = score_domains(_texts(400, 0), side, np.arange(400))
    assert other.auc > 0.8
    assert other.probability[side].mean() > other.probability[~side].mean() + 0.2
    assert same.auc == pytest.approx(0.5, abs=0.08)


def test_both_sides_weigh_the_same_however_many_they_are() -> None:
    side = np.arange(660) < 60
    found = score_domains(_texts(660, 3), side, np.arange(660))
    assert found.probability.mean() == pytest.approx(0.5, abs=0.15)


def test_a_row_is_told_by_a_model_that_has_not_seen_its_cluster() -> None:
    """Each cluster has a word of its own: whoever saw the cluster knows the side for certain."""
    clusters = np.arange(300) // 3
    side = clusters % 2 == 0
    texts = [f"{text} " + f"own{c} " * 20 for text, c in zip(_texts(300, 5), clusters, strict=True)]
    assert score_domains(texts, side, clusters).auc == pytest.approx(0.5, abs=0.12)
    assert score_domains(texts, side, np.arange(300)).auc > 0.9


def test_the_order_of_rows_and_the_number_at_a_time_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts, side = _texts(120, 0), np.arange(120) % 3 == 0
    first = score_domains(texts, side, np.arange(120))
    monkeypatch.setattr(domain, "_ROWS_AT_A_TIME", 7)
    again = score_domains(texts, side, np.arange(120))
    assert np.array_equal(first.probability, again.probability)
    order = np.random.default_rng(0).permutation(120)
    mixed = score_domains([texts[i] for i in order], side[order], order)
    np.testing.assert_allclose(mixed.probability, first.probability[order], atol=1e-4)


def test_models_learn_from_a_sample_and_tell_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "_LEARNED", 40)
    side = np.arange(400) < 200
    found = score_domains(_texts(200, 0, "x1", "x2", "x3") + _texts(200, 1), side, np.arange(400))
    assert len(found.probability) == 400
    assert found.auc > 0.65


def test_the_sample_of_a_side_is_never_one_cluster_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that a source asks over and over may have more rows than models learn from."""
    monkeypatch.setattr(domain, "_LEARNED", 40)
    side, texts = np.arange(300) >= 120, _texts(300, 7)
    for large in range(1000, 1020):  # whichever comes first by its hash
        clusters = np.concatenate([np.full(100, large), np.arange(20) % 3, np.arange(20, 200)])
        assert np.isfinite(score_domains(texts, side, clusters).probability).all()


def test_a_side_of_one_cluster_cannot_be_told_apart() -> None:
    with pytest.raises(errors.DataError, match="fewer than two clusters"):
        score_domains(_texts(4, 0), np.array([True, True, False, False]), np.array([0, 0, 1, 2]))


def test_only_the_beginning_of_each_text_is_read() -> None:
    battles = pl.DataFrame(
        {
            "prompt": [["p" * 2000, None]],
            "response_a": [["a", "b"]],
            "response_b": [["c" * 999, "dd"]],
        }
    )
    assert domain_texts(battles) == ["p" * 1000 + "\na\nb\n" + "c" * 999 + "\n"]
    assert domain_texts(battles, ["response_a"]) == ["a\nb"]
