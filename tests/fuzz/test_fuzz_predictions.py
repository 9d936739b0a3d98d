"""Predictions, folds, vectors and lists of labels from outside, with damage of any kind."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble.battles.embeddings import read_embeddings
from ensemble.battles.fold_files import read_folds
from ensemble_plugins.prediction_arrays import load_arrays, read_ids
from tests.fuzz.harmless import bounded_memory, harmless, nothing_else_written
from tests.fuzz.mutations import mutants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IDS = [f"r{i}" for i in range(9)]


def _numpy(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    if "only" in arrays:
        np.save(buffer, arrays["only"], allow_pickle=False)
    else:
        np.savez(buffer, **arrays)
    return buffer.getvalue()


def _table(kind: str, **columns: Any) -> bytes:
    frame, buffer = pl.DataFrame(columns), io.BytesIO()
    if kind == "csv":
        return frame.write_csv().encode()
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in frame.to_dicts()).encode()
    frame.write_parquet(buffer)
    return buffer.getvalue()


LOGITS = np.arange(27, dtype=np.float32).reshape(9, 3)
READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "npy": ("p.npy", _numpy(only=LOGITS), load_arrays),
    "npz": ("p.npz", _numpy(id=np.asarray(IDS), logits=LOGITS), load_arrays),
    "ids.npy": ("i.npy", _numpy(only=np.asarray(IDS)), lambda p: read_ids(p, {})),
    "ids.bytes": ("i.npy", _numpy(only=np.asarray(IDS, "S4")), lambda p: read_ids(p, {})),
    "ids.txt": ("i.txt", "\n".join(IDS).encode(), lambda p: read_ids(p, {})),
    "ids.csv": ("i.csv", _table("csv", id=IDS), lambda p: read_ids(p, {})),
    "ids.parquet": ("i.parquet", _table("parquet", id=IDS), lambda p: read_ids(p, {})),
    **{
        f"folds.{kind}": (
            f"f.{kind}",
            _table(kind, id=IDS, fold=[0, 1, 2] * 3),
            lambda p: read_folds(p, "fold"),
        )
        for kind in ("csv", "jsonl", "parquet")
    },
    "vectors": (
        "v.parquet",
        _table("parquet", id=IDS, embedding=LOGITS.tolist()),
        lambda p: read_embeddings(p, 0.9),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_beside_the_battles_are_read_or_refused(name: str, tmp_path: Path) -> None:
    file, content, reader = READERS[name]
    path = tmp_path / file
    path.write_bytes(content)
    assert harmless(name, lambda: reader(path)) is None
    with nothing_else_written(tmp_path, path), bounded_memory():
        for told, mutant in mutants(name, content, 80):
            path.write_bytes(mutant)
            harmless(told, lambda: reader(path))
