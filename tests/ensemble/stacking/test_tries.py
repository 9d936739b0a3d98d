from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ensemble.stacking.tries import Try, TryStore, candidate_try, learner_try

IDS = [f"b{i}" for i in range(6)]
ONE, TWO = Try("k1", "learner", "words"), Try("k2", "meta-learner", "lightgbm")


def losses(offset: float) -> np.ndarray:
    return np.arange(6) / 10 + offset


def test_what_was_scored_is_remembered_by_id(tmp_path: Path) -> None:
    store = TryStore(tmp_path, "rows")
    store.record(IDS, {ONE: losses(0.0)})
    store.record(IDS, {ONE: losses(5.0), TWO: losses(1.0)})
    found = TryStore(tmp_path, "rows").read([*IDS[::-1], "new"])
    assert list(found) == [ONE, TWO]
    np.testing.assert_allclose(found[ONE][:6], losses(0.0)[::-1], rtol=1e-6)
    assert np.isnan(found[ONE][6])


def test_what_is_known_is_not_written_again(tmp_path: Path) -> None:
    store = TryStore(tmp_path, "rows")
    for _ in range(3):
        store.record(IDS, {ONE: losses(0.0)})
    assert len(list(store.directory.iterdir())) == 2


def test_doubts_are_known_where_somebody_has_looked(tmp_path: Path) -> None:
    store = TryStore(tmp_path, "rows")
    assert store.doubts(ONE) is None
    store.record(IDS, {ONE: losses(0.0)})
    assert store.doubts(ONE) is None  # the stack scores learners, and does not look
    store.record(IDS, {TWO: losses(1.0)}, {TWO: ["too good"]})
    assert store.doubts(TWO) == ["too good"]


def test_other_rows_or_folds_start_anew(tmp_path: Path) -> None:
    TryStore(tmp_path, "rows").record(IDS, {ONE: losses(0.0)})
    assert TryStore(tmp_path, "others").read(IDS) == {}


def test_files_hold_ids_and_losses_alone(tmp_path: Path) -> None:
    store = TryStore(tmp_path, "rows")
    store.record(IDS, {ONE: losses(0.0), TWO: losses(1.0)})
    frame = pl.read_parquet(store.directory / "0000.parquet")
    assert dict(frame.schema) == {"id": pl.String, "k1": pl.Float32, "k2": pl.Float32}


def test_a_file_without_an_index_entry_is_ignored(tmp_path: Path) -> None:
    store = TryStore(tmp_path, "rows")
    store.record(IDS, {ONE: losses(0.0)})
    (store.directory / "0001.parquet").write_bytes(b"half")
    assert list(store.read(IDS)) == [ONE]
    store.record(IDS, {TWO: losses(1.0)})
    assert list(store.read(IDS)) == [ONE, TWO]


def test_that_an_index_is_gone_is_told(tmp_path: Path) -> None:
    store = TryStore(tmp_path, "rows")
    assert store.mend() is None, "nothing was tried"
    store.record(IDS, {ONE: losses(0.0)})
    assert store.mend() is None
    (store.directory / "index.json").unlink()
    told = "tries/rows/index.json is not there: what may have been tried is forgotten"
    assert store.mend() == told
    assert store.mend() is None, "it is said once"
    store.record(IDS, {TWO: losses(1.0)})
    assert list(store.read(IDS)) == [TWO]


def test_a_meta_learner_is_known_by_what_changes_its_predictions() -> None:
    parts = {"folds": {"a": {"fold-0": {"key": "x"}}}, "seed": 1, "meta_learner": {"leaves": 8}}

    def key(simple: bool = False, **changed: object) -> str:
        return candidate_try("lightgbm", {**parts, **changed}, simple=simple).key

    assert key() == key(settings={"choose": "mean", "resamples": 5})
    assert len({key(), key(seed=2), key(meta_learner={"leaves": 9}), key(folds={})}) == 4
    assert key(simple=True) == key(simple=True, seed=2) != key(simple=True, folds={})


def test_a_learner_is_known_by_its_folds() -> None:
    old, new = {"fold-0": {"key": "x", "oof": "1"}}, {"fold-0": {"key": "y", "oof": "1"}}
    assert learner_try("a", old).key == learner_try("renamed", old).key != learner_try("a", new).key
