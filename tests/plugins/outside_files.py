"""Files of predictions from outside, in every form, and what a learner makes of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble import FitContext
from ensemble.battles.schema import LOGIT_COLUMNS
from ensemble_plugins.precomputed import Precomputed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


IDS = ["07", "b", "c"]
LOGITS = np.array([[0.5, -0.5, 0.0], [1, 2, 3], [-1, 0, 4]], dtype=np.float32)
HARMLESS = np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])


def oof_table(ids: Sequence[str] = IDS, values: Any = LOGITS, names: Any = LOGIT_COLUMNS) -> Any:
    return pl.DataFrame({"id": ids, **dict(zip(names, np.asarray(values).T, strict=True))})


def battles_of(ids: Sequence[str]) -> pl.DataFrame:
    turns = pl.Series([["text"]] * len(ids), dtype=pl.List(pl.String))
    return pl.DataFrame({"id": ids, "prompt": turns, "response_a": turns, "response_b": turns})


def predict_from(ids: Sequence[str] = IDS, /, **parameters: Any) -> np.ndarray[Any, Any]:
    learner = Precomputed(**parameters)
    learner.check_ids(ids)
    learner.fit(battles_of(["x"]), np.eye(3)[:1], context=FitContext())
    return learner.predict_logits(battles_of(ids))


def write_jsonl(table: pl.DataFrame, path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dicts()))


def _write_npz(table: pl.DataFrame, path: Path) -> None:
    np.savez(path, id=np.array(table["id"].to_list()), oof=table.drop("id").to_numpy())


FORMS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "oof.csv": lambda table, path: table.write_csv(path),
    "oof.tsv": lambda table, path: table.write_csv(path, separator="\t"),
    "oof.parquet": lambda table, path: table.write_parquet(path),
    "oof.jsonl": write_jsonl,
    "oof.json": lambda table, path: path.write_text(json.dumps(table.to_dicts())),
    "oof.csv.gz": lambda table, path: path.write_bytes(gzip.compress(table.write_csv().encode())),
    "oof.npz": _write_npz,
}
