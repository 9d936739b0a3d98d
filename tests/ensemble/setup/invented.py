"""Small files of invented battles, in several forms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WINNERS = ("model_a", "model_b", "tie")


def texts(rows: int, start: int = 0) -> dict[str, list[str]]:
    """Prompt and responses, each prompt in two rows."""
    at = range(start, start + rows)
    return {
        "prompt": [f"Question {i // 2} about topic {i // 2}?" for i in at],
        "response_a": [f"Answer number {i}, which is rather long." for i in at],
        "response_b": [f"Reply {i}." for i in at],
    }


def write_train(path: Path, rows: int = 60, start: int = 0, **more: Sequence[Any]) -> Path:
    """Write battles as the competition has them."""
    columns: dict[str, Any] = {"id": list(range(start, start + rows))}
    columns |= _as_lists(texts(rows, start))
    for place, name in enumerate(("winner_model_a", "winner_model_b", "winner_tie")):
        columns[name] = [int(i % 3 == place) for i in range(rows)]
    return write(path, columns | more)


def write_test(path: Path, rows: int = 9, start: int = 1000) -> Path:
    """Write battles without labels."""
    columns: dict[str, Any] = {"id": list(range(start, start + rows))}
    columns |= _as_lists(texts(rows, start))
    return write(path, columns)


def _as_lists(said: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: [json.dumps([text]) for text in cells] for name, cells in said.items()}


def write_plain(
    path: Path,
    winner: Sequence[Any],
    *,
    name: str = "winner",
    start: int = 0,
    rows: int = 60,
) -> Path:
    """Write battles of plain text; ``winner`` is repeated."""
    columns: dict[str, Any] = {"id": [f"row{i}" for i in range(start, start + rows)]}
    columns |= texts(rows, start)
    columns[name] = [winner[i % len(winner)] for i in range(rows)]
    return write(path, columns)


def write_pairs(path: Path, rows: int = 60) -> Path:
    """Write a chosen and a rejected answer a row."""
    said = texts(rows, 5000)
    names = {"prompt": "prompt", "chosen": "response_a", "rejected": "response_b"}
    return write(path, {ours: said[theirs] for ours, theirs in names.items()})


def write_rows(path: Path, ids: Sequence[Any], **columns: Any) -> Path:
    """Write ids and numbers; a single number is that of all rows."""
    cells = {n: v if isinstance(v, list) else [v] * len(ids) for n, v in columns.items()}
    return write(path, {"id": list(ids), **cells})


def write(path: Path, columns: dict[str, Any]) -> Path:
    """Write a table by the ending of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(columns, strict=False)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_csv(path)
    return path
