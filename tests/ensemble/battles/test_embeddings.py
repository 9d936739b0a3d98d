"""Vectors that the user brings join what no text method finds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import errors, find_duplicates, run
from ensemble.audit.audit import audit_run
from ensemble.battles.embeddings import _BLOCK, PARAPHRASE, Embeddings, read_embeddings
from ensemble.battles.fold_plan import FoldPlan
from ensemble.battles.partition import Partition
from ensemble.battles.split import read_split
from ensemble.stages.fit import fit_stage
from ensemble.stages.work import writing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Project

QUESTIONS = {
    "en": "How long does a honey bee live?",
    "de": "Welche Lebensdauer hat eine Honigbiene?",
    "other": "Write a poem about the sea at night.",
    "none": "Explain the rules of chess to a child.",
}


def battles(questions: dict[str, str]) -> pl.DataFrame:
    rows = [(name, [text], [name], [name * 2]) for name, text in questions.items()]
    return pl.DataFrame(rows, schema=["id", "prompt", "response_a", "response_b"], orient="row")


def vectors(path: Path, rows: dict[str, list[float | None] | None]) -> Path:
    schema: dict[str, pl.DataType] = {"id": pl.String(), "embedding": pl.List(pl.Float64())}
    pl.DataFrame(list(rows.items()), schema=schema, orient="row").write_parquet(path)
    return path


def unit(ids: list[str], values: np.ndarray, threshold: float) -> Embeddings:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return Embeddings(pl.Series(ids), (values / lengths).astype(np.float32), threshold)


def test_a_translation_is_joined_by_its_vector_and_listed_with_its_cosine(tmp_path: Path) -> None:
    path = vectors(tmp_path / "v.parquet", {"de": [3.0, 4.0], "en": [8.0, 6.0], "other": [-1, 1]})
    table = battles(QUESTIONS)
    assert find_duplicates(table).clusters["cluster"].to_list() == [0, 1, 2, 3]
    found = find_duplicates(table, embeddings=read_embeddings(path, 0.95))
    assert found.clusters["cluster"].to_list() == [0, 0, 1, 2]
    assert found.pairs.drop("similarity").rows() == [("en", "de", PARAPHRASE)]
    assert found.pairs["similarity"][0] == pytest.approx(0.96, abs=1e-6)
    apart = find_duplicates(table, embeddings=read_embeddings(path, 0.97))
    assert apart.clusters["cluster"].to_list() == [0, 1, 2, 3]


def test_text_comes_first_and_vectors_only_connect_what_is_apart() -> None:
    table = battles({"a": QUESTIONS["en"], "b": QUESTIONS["en"], "c": QUESTIONS["de"]})
    same = unit(["a", "b", "c"], np.ones((3, 4)), 0.9)
    pairs = find_duplicates(table, embeddings=same).pairs
    assert sorted(pairs["kind"]) == [PARAPHRASE, "same prompt"]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.999))
def test_components_are_those_of_all_pairs(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(60, 3))
    ids = [str(i) for i in range(60)]
    found = unit(ids, values, threshold)
    rows = Partition(60)
    edges = found.pairs(pl.Series(ids), rows)
    exact = found.vectors.astype(np.float64) @ found.vectors.T.astype(np.float64)
    close = np.abs(exact - threshold) < 1e-6
    np.fill_diagonal(close, val=False)
    if close.any():
        return  # decided by rounding
    truth = Partition(60)
    truth.merge(*(side.astype(np.int64) for side in np.nonzero(exact >= threshold)))
    assert rows.labels.tolist() == truth.labels.tolist()
    assert (edges["similarity"] >= threshold).all()
    assert len(edges) == 60 - len(np.unique(truth.labels))


def test_blocks_are_compared_with_each_other() -> None:
    rows = _BLOCK + 10
    angles = np.linspace(0, np.pi, rows)
    values = np.column_stack([np.cos(angles), np.sin(angles)])
    values[-1] = values[0]
    ids = [str(i) for i in range(rows)]
    edges = unit(ids, values, 1 - 1e-9).pairs(pl.Series(ids), Partition(rows))
    assert edges.select("a", "b").rows() == [(0, rows - 1)]


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ({"a": [1.0, 2.0], "b": [1.0]}, '"b" has not 2 numbers'),
        ({"a": [1.0], "b": None}, '"b" has not 1 numbers'),
        ({"a": []}, '"a" has not any numbers'),
        ({"a": [1.0, 1.0], "b": [float("nan"), 1.0]}, '"b" holds a number that is missing'),
        ({"a": [1.0, 1.0], "b": [None, 1.0]}, '"b" holds a number that is missing'),
        ({"a": [0.0, 0.0]}, '"a" is 0 everywhere'),
        ({None: [1.0, 1.0]}, "has no id"),
    ],
)
def test_a_vector_that_says_nothing_is_named(
    tmp_path: Path, rows: dict[str, Any], what: str
) -> None:
    with pytest.raises(errors.DataError, match=what):
        read_embeddings(vectors(tmp_path / "v.parquet", rows), 0.9)


def test_lengths_beyond_the_range_of_floats_say_nothing(tmp_path: Path) -> None:
    path = vectors(tmp_path / "v.parquet", {"de": [3e300, 4e300], "en": [3e-300, 4e-300]})
    found = find_duplicates(battles(QUESTIONS), embeddings=read_embeddings(path, 0.999))
    assert found.clusters["cluster"].to_list() == [0, 0, 1, 2]


def test_files_that_hold_no_vectors(tmp_path: Path) -> None:
    twice = pl.concat([pl.read_parquet(vectors(tmp_path / "v.parquet", {"a": [1.0]}))] * 2)
    twice.write_parquet(tmp_path / "twice.parquet")
    twice.rename({"embedding": "vector"}).write_parquet(tmp_path / "named.parquet")
    (tmp_path / "text.parquet").write_text("id,embedding")
    for name, what in (
        ("twice", 'two vectors have the id "a"'),
        ("named", "columns id"),
        ("text", "cannot be read"),
        ("absent", "cannot be read"),
    ):
        with pytest.raises(errors.DataError, match=what):
            read_embeddings(tmp_path / f"{name}.parquet", 0.9)


def folds(**more: Any) -> dict[str, Any]:
    return {"n_splits": 3, "embeddings": "v.parquet", **more}


@pytest.mark.slow
def test_a_run_uses_them_says_so_and_its_audit_asks_for_the_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = pl.read_csv(project.path / "train.csv", schema_overrides={"id": pl.String})["id"]
    alone = run(project.config()).directory
    cluster_of = dict(pl.read_parquet(alone / "clusters.parquet").rows())
    one = ids[0]
    two = next(name for name in ids if cluster_of[name] != cluster_of[one])
    path = vectors(project.path / "v.parquet", {one: [1.0, 2.0], two: [1.0, 2.1], "x": [1, -1]})
    place = run(project.config(run_dir="other", folds=folds())).directory
    joined = dict(pl.read_parquet(place / "clusters.parquet").rows())
    assert joined[one] == joined[two]
    plan = json.loads((place / "folds.json").read_text())
    told = plan["embeddings"]
    assert (told["with_vector"], told["unknown_ids"], told["pairs"]) == (2, 1, 1)
    assert plan["embedding_threshold"] == 0.95
    page = (place / "report.html").read_text()
    assert "paraphrases from a cosine of 0.95" in page
    assert audit_run(place).ok
    before = path.read_bytes()
    vectors(path, {one: [1.0, 2.0], two: [-1.0, 2.1]})
    changed = audit_run(place)
    assert any("folds.embeddings" in check.detail for check in changed.checks if not check.ok)
    config = project.config(run_dir="other", folds=folds())
    with writing(config) as reporter, pytest.raises(errors.ArtifactError, match="file of vectors"):
        fit_stage(config, reporter)
    path.unlink()
    assert "source folds.embeddings" in audit_run(place).absent
    plan_of = read_split(place)
    apart = plan_of.frame.with_columns(
        fold=pl.when(pl.col("id") == two)
        .then((pl.col("fold") + 1) % 3)
        .otherwise("fold")
        .cast(pl.Int32)
    )
    monkeypatch.setattr("ensemble.audit.audit.read_split", lambda _: FoldPlan(apart, 3))
    failed = {check.name for check in audit_run(place).checks if not check.ok}
    assert "no recomputed cluster is split between folds" in failed
    monkeypatch.undo()
    path.write_bytes(before)
    assert audit_run(place).ok


def test_an_audit_finds_a_torn_cluster_of_paraphrases(project: Project) -> None:
    """A plan that was made without the vectors does not pass for one that was made with them."""
    ids = pl.read_csv(project.path / "train.csv", schema_overrides={"id": pl.String})["id"]
    place = run(project.config()).directory
    plan = pl.read_parquet(place / "folds.parquet").filter(pl.col("id").is_in(ids.implode()))
    one = plan.filter(pl.col("fold") == 0)["id"][0]
    two = plan.filter(pl.col("fold") == 1)["id"][0]
    vectors(project.path / "v.parquet", {one: [1.0, 2.0], two: [1.0, 2.1]})
    project.config(folds=folds())
    text = (place / "config.toml").read_text()
    named = f'[folds]\nembeddings = "{project.path / "v.parquet"}"\n'
    (place / "config.toml").write_text(text.replace("[folds]\n", named))
    failed = {check.name for check in audit_run(place).checks if not check.ok}
    assert "no recomputed cluster is split between folds" in failed


def test_ids_that_no_battle_has_are_refused_and_a_threshold_alone_is_too(project: Project) -> None:
    vectors(project.path / "v.parquet", {"nobody": [1.0, 2.0]})
    with pytest.raises(errors.DataError, match="no vector has the id of a battle"):
        run(project.config(folds=folds()))
    with pytest.raises(errors.ConfigError, match="folds.embeddings is missing"):
        project.config(folds={"embedding_threshold": 0.9})
