"""Data sets of the hub out of a cache that is made up here; nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ensemble.battles.files.hub import hub_files
from ensemble.battles.source_files import hash_source, load_source
from ensemble.config.settings import Source
from ensemble.errors import DataError

COMMIT = "0" * 39 + "1"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay a data set into a cache as the hub's library does, and forbid the network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    repo = tmp_path / "datasets--lab--votes"
    data = repo / "snapshots" / COMMIT / "data"
    data.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(COMMIT)
    (data.parent / "README.md").write_text("# votes")
    for name, ids in (("train-00000-of-00002", "ab"), ("train-00001-of-00002", "cd")):
        frame = pl.DataFrame({"id": list(ids)}).with_columns(
            prompt=pl.lit("q"), response_a=pl.lit("a"), response_b=pl.lit("b"), winner=pl.lit("tie")
        )
        frame.write_parquet(data / f"{name}.parquet")
    frame.write_parquet(data / "test-00000-of-00001.parquet")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return data


def source(**keys: str) -> Source:
    return Source.model_validate({"name": "s", "role": "train", "hub": "lab/votes", **keys})


@pytest.mark.parametrize("path", ["data/train-*", "data/train-*.parquet"])
def test_shards_of_the_cache_are_one_source(path: str, cached: Path) -> None:
    loaded = load_source(source(path=path), "s", "train")
    assert loaded.battles["id"].to_list() == ["a", "b", "c", "d"]
    pinned = source(path=path, revision=COMMIT)
    assert hash_source(pinned) == hash_source(source(path=path))


def test_several_tables_are_named(cached: Path) -> None:
    with pytest.raises(DataError, match="several tables: data/t.*(.|\n)*train"):
        load_source(source(), "s", "train")
    with pytest.raises(DataError, match="several tables: data/t"):
        load_source(source(path="data"), "s", "train")
    with pytest.raises(DataError, match=r"no file matches(.|\n)*data/train-00000-of-00002.parquet"):
        load_source(source(path="data/dev*"), "s", "train")


def test_a_shard_that_is_not_in_the_cache_is_missing(cached: Path) -> None:
    (cached / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="train-00001-of-00002.parquet is missing"):
        load_source(source(path="data/train-*"), "s", "train")


@pytest.mark.parametrize(
    ("name", "revision"), [("lab/other", None), ("lab/votes", "v2"), ("no name at all", None)]
)
def test_what_is_neither_cached_nor_reachable_is_an_error(
    name: str, revision: str | None, cached: Path
) -> None:
    with pytest.raises(DataError, match=f"cannot be had(.|\n)*{name}(.|\n)*offline"):
        hub_files(name, revision, "")
