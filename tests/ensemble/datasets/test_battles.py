from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import CLASSES, make_battles
from ensemble.datasets.battles import (
    PLANTED_KINDS,
    TRUTH_COLUMNS,
    GeneratedBattles,
    best_log_loss,
    write_battles,
)

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["prompt", "response_a", "response_b"]
GOLDEN_MODELS = ["cedar-chat", "birch-34b", "birch-34b"]
GOLDEN_PROMPT = [
    "Explain to me how the seedling influences the nectar. I read in a book by Veditol that a "
    "famous trellis can change the shade as well."
]
GOLDEN_P_A = [0.40846703, 0.57375571, 0.69354052]


@pytest.fixture(scope="module")
def battles() -> GeneratedBattles:
    return make_battles(target_rows=2000, external_rows=1000, test_rows=400)


def _shingles(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(len(text) - 4)}


def _jaccard(left: str, right: str) -> float:
    one, other = _shingles(left), _shingles(right)
    return len(one & other) / len(one | other)


def _all_rows(battles: GeneratedBattles) -> dict[str, tuple[list[str], list[str], list[str]]]:
    tables = [battles.target, battles.external, battles.test]
    rows = pl.concat([table.select("id", *TEXTS) for table in tables]).rows()
    return {row[0]: row[1:] for row in rows}


def test_tables_have_the_competitions_columns(battles: GeneratedBattles) -> None:
    expected = ["id", "model_a", "model_b", *TEXTS, *CLASSES]
    assert battles.target.columns == battles.external.columns == expected
    assert battles.test.columns == ["id", *TEXTS]
    assert battles.target.schema["prompt"] == pl.List(pl.String)
    assert [len(t) for t in (battles.target, battles.external, battles.test)] == [2000, 1000, 400]


def test_same_seed_same_battles_whatever_the_hash_seed(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from ensemble.datasets.battles import make_battles;"
        "b = make_battles(target_rows=60, external_rows=40, test_rows=30, seed=3);"
        "pathlib.Path(sys.argv[1]).write_text(repr([t.rows() for t in"
        " (b.target, b.external, b.test, b.truth, b.planted)]))"
    )
    results = []
    for hash_seed in ("1", "2"):
        output = tmp_path / hash_seed
        command = [sys.executable, "-c", program, str(output)]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": hash_seed})
        results.append(output.read_text())
    assert results[0] == results[1]


def test_first_battles_are_what_they_always_were() -> None:
    battles = make_battles(target_rows=3, external_rows=2, test_rows=0)
    assert battles.target["id"].to_list() == ["30000000", "30000001", "30000002"]
    assert battles.target["model_a"].to_list() == GOLDEN_MODELS
    assert battles.target["prompt"][0].to_list() == GOLDEN_PROMPT
    np.testing.assert_allclose(battles.truth["p_a"].head(3), GOLDEN_P_A, atol=1e-6)


def test_a_longer_target_begins_with_the_shorter_one(battles: GeneratedBattles) -> None:
    short = make_battles(target_rows=300, external_rows=0, test_rows=0)
    assert short.target.equals(battles.target.head(300))
    assert short.truth.equals(battles.truth.head(300))


def test_another_seed_gives_other_rows_and_ids_of_the_same_world(
    battles: GeneratedBattles,
) -> None:
    other = make_battles(target_rows=2000, external_rows=10, test_rows=10, seed=1)
    assert not set(other.truth["id"]) & set(battles.truth["id"])
    assert set(other.target["model_a"]) == set(battles.target["model_a"])
    same = set(other.target["prompt"].list.join("\n")) & set(battles.target["prompt"].list.join(""))
    assert not same
    strong = {
        seed: drawn.target.filter(pl.col("model_a") == "aster-70b")["winner_model_a"].mean()
        for seed, drawn in enumerate((battles, other))
    }
    assert strong[0] == pytest.approx(strong[1], abs=0.12)


def test_truth_covers_every_row_and_labels_agree(battles: GeneratedBattles) -> None:
    tables = {"target": battles.target, "external": battles.external, "test": battles.test}
    for source, table in tables.items():
        truth = battles.truth.filter(pl.col("source") == source)
        assert truth["id"].to_list() == table["id"].to_list()
    joined = battles.target.join(battles.truth, on="id", maintain_order="left")
    drawn = joined.select(CLASSES).to_numpy().argmax(axis=1)
    assert (joined.select(pl.sum_horizontal(CLASSES)).to_series() == 1).all()
    np.testing.assert_array_equal(drawn, joined["label"].to_numpy())


def test_probabilities_are_distributions_and_labels_follow_them(battles: GeneratedBattles) -> None:
    target = battles.truth.filter(pl.col("source") == "target")
    p = target.select(TRUTH_COLUMNS).to_numpy()
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert (p >= 0).all()
    onehot = np.eye(3)[target["label"].to_numpy()]
    np.testing.assert_allclose(onehot.mean(axis=0), p.mean(axis=0), atol=0.04)
    sure = p[:, 0] > 0.7
    assert onehot[sure, 0].mean() == pytest.approx(p[sure, 0].mean(), abs=0.06)


def test_best_log_loss_leaves_something_to_learn(battles: GeneratedBattles) -> None:
    target = battles.truth.filter(pl.col("source") == "target")
    shares = battles.target.select(CLASSES).to_numpy().mean(axis=0)
    prior = float(-(shares * np.log(shares)).sum())
    assert 0.85 < best_log_loss(target) < 0.95 < 1.07 < prior
    p = target.select(TRUTH_COLUMNS).to_numpy()
    drawn = -np.log(p[np.arange(len(p)), target["label"].to_numpy()])
    assert drawn.mean() == pytest.approx(best_log_loss(target), abs=0.04)


def test_best_log_loss_of_certain_even_and_no_rows() -> None:
    truth = pl.DataFrame({"p_a": [1.0, 1 / 3], "p_b": [0.0, 1 / 3], "p_tie": [0.0, 1 / 3]})
    assert best_log_loss(truth.head(1)) == 0.0
    assert best_log_loss(truth) == pytest.approx(np.log(3) / 2)
    assert np.isnan(best_log_loss(truth.clear()))


def test_external_has_no_ties_and_another_rule(battles: GeneratedBattles) -> None:
    assert battles.external["winner_tie"].sum() == 0
    assert (battles.truth.filter(pl.col("source") == "external")["p_tie"] == 0).all()
    chars = pl.col("response_a").list.join("", ignore_nulls=True).str.len_chars()
    other = pl.col("response_b").list.join("", ignore_nulls=True).str.len_chars()
    longer = battles.external.filter(chars > 2 * other)["winner_model_a"].mean()
    people = battles.target.filter(chars > 2 * other)["winner_model_a"].mean()
    assert isinstance(longer, float)
    assert isinstance(people, float)
    assert longer > 0.8 > people + 0.2


def test_planted_pairs_are_what_they_say(battles: GeneratedBattles) -> None:
    rows = _all_rows(battles)
    assert set(battles.planted["kind"]) == set(PLANTED_KINDS)
    for id_a, id_b, kind in battles.planted.rows():
        (prompt, a, b), (other_prompt, other_a, other_b) = rows[id_a], rows[id_b]
        if kind == "near_prompt":
            assert prompt != other_prompt
            assert _jaccard(prompt[0], other_prompt[0]) >= 0.85
        elif kind == "same_responses":
            assert prompt != other_prompt
        else:
            assert prompt == other_prompt
        if kind in ("same_battle", "same_responses"):
            assert (a, b) == (other_a, other_b)
        if kind == "swap":
            assert (a, b) == (other_b, other_a)


def test_pairs_are_planted_across_all_sources(battles: GeneratedBattles) -> None:
    source = dict(battles.truth.select("id", "source").rows())
    pairs = {(source[a], source[b]) for a, b, _ in battles.planted.rows()}
    assert {("target", "target"), ("test", "target"), ("external", "target")} <= pairs
    assert {("external", "test"), ("test", "test"), ("external", "external")} <= pairs
    near = battles.planted.filter(pl.col("kind") != "same_prompt")
    assert 0.02 < len(near) / len(battles.truth) < 0.06


def test_swapped_copy_has_the_swapped_truth_but_for_the_position_bias(
    battles: GeneratedBattles,
) -> None:
    truth = {row[0]: row[2:5] for row in battles.truth.rows()}
    people = set(battles.target["id"]) | set(battles.test["id"])
    swaps = battles.planted.filter(
        (pl.col("kind") == "swap") & pl.col("id_a").is_in(people) & pl.col("id_b").is_in(people)
    )
    assert len(swaps) > 5
    for id_a, id_b, _ in swaps.rows():
        (a, b, tie), (other_a, other_b, other_tie) = truth[id_a], truth[id_b]
        assert tie == pytest.approx(other_tie, abs=0.04)
        # log(a / b) is the gap plus the bias, in either order.
        assert np.log(a / b) + np.log(other_a / other_b) == pytest.approx(2 * 0.15)


def test_prompts_are_shared_and_conversations_vary(battles: GeneratedBattles) -> None:
    target = battles.target
    assert 0.25 < target["prompt"].list.first().is_duplicated().mean() < 0.40  # type: ignore[operator]
    assert 0.15 < (target["prompt"].list.len() > 1).mean() < 0.25  # type: ignore[operator]
    assert (target["prompt"].list.len() == target["response_a"].list.len()).all()
    text = target["response_a"].list.join("\n", ignore_nulls=True)
    nulls = target["response_a"].list.eval(pl.element().is_null()).list.any()
    assert 0 < nulls.sum() < 40
    assert (text == "").any()
    assert (target["response_a"] == target["response_b"]).any()
    assert text.str.contains("[\u4e00-\u9fff]").any()
    assert text.str.contains("\U0001f680").any()
    assert text.str.contains("```python").any()


def test_unrelated_prompts_are_no_near_duplicates() -> None:
    battles = make_battles(target_rows=900, external_rows=600, test_rows=0, seed=5)
    rows = _all_rows(battles)
    derived = set(battles.planted["id_a"])
    prompts = {row[0][0] for battle_id, row in rows.items() if battle_id not in derived}
    sets = [_shingles(prompt) for prompt in prompts]
    index: dict[str, int] = {}
    for shingles in sets:
        for shingle in shingles:
            index.setdefault(shingle, len(index))
    matrix = np.zeros((len(sets), len(index)), dtype=np.float32)
    for row, shingles in enumerate(sets):
        matrix[row, [index[shingle] for shingle in shingles]] = 1
    common, sizes = matrix @ matrix.T, matrix.sum(axis=1)
    similarity = common / (sizes[:, None] + sizes[None, :] - common)
    np.fill_diagonal(similarity, 0)
    assert similarity.max() < 0.8


def test_written_files_read_back(tmp_path: Path) -> None:
    battles = make_battles(target_rows=200, external_rows=30, test_rows=20)
    write_battles(battles, tmp_path / "data")
    names = {"train.csv", "external.parquet", "test.csv", "truth.parquet", "planted.parquet"}
    assert {path.name for path in (tmp_path / "data").iterdir()} == names
    with (tmp_path / "data" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == battles.target["id"].to_list()
    for name in TEXTS:
        assert [json.loads(row[name]) for row in rows] == battles.target[name].to_list()
    assert pl.read_parquet(tmp_path / "data" / "truth.parquet").equals(battles.truth)
    assert pl.read_csv(tmp_path / "data" / "test.csv").columns == ["id", *TEXTS]


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"target_rows": -1}, {"test_rows": 10_000_000}])
def test_rows_and_seed_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be >= 0, rows below"):
        make_battles(**wrong)


def test_no_rows_give_empty_tables_of_the_same_types(battles: GeneratedBattles) -> None:
    empty = make_battles(target_rows=0, external_rows=0, test_rows=0)
    assert empty.target.schema == battles.target.schema
    assert empty.test.schema == battles.test.schema
    assert empty.truth.schema == battles.truth.schema
    assert empty.planted.is_empty()
