"""Files of battles in several layouts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.loading import load_battles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEADER = [
    "id",
    "model_a",
    "model_b",
    "prompt",
    "response_a",
    "response_b",
    "winner_model_a",
    "winner_model_b",
    "winner_tie",
]


def make_row(identifier: str = "1", **cells: str) -> dict[str, str]:
    """Make one row of the competition's CSV."""
    default = dict(
        zip(HEADER, [identifier, "m1", "m2", '["p"]', '["a"]', '["b"]', "1", "0", "0"], strict=True)
    )
    return default | cells


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


def load(path: Path, **options: Any) -> pl.DataFrame:
    return load_battles(path, **({"source": "s", "role": "target"} | options)).battles


NATIVE = {"prompt": ["p", None], "response_a": ["a", "a2"], "response_b": ["b", ""]}


def conversation(*contents: str) -> list[dict[str, str]]:
    return [
        {"role": ("user", "assistant")[place % 2], "content": content}
        for place, content in enumerate(contents)
    ]
