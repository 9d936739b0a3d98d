"""Files of a format written, read, and told as plain rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from ensemble.battles.formats.layout import FormatOptions
from ensemble.battles.loading import Loaded, load_battles

Row = dict[str, Any]
Told = tuple[list[str | None], list[str | None], list[str | None], tuple[float, ...]]
A, B, TIE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
HUMAN, BOT = "\n\nHuman: ", "\n\nAssistant: "


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(path: Path, role: str = "train", drop: bool = False, **options: Any) -> Loaded:
    return load_battles(
        path,
        source="s",
        role=role,
        on_bad_rows="drop" if drop else "error",
        options=FormatOptions(**options),
    )


def told(battles: pl.DataFrame) -> list[Told]:
    """Give the battles with the answer that is named first in their ids' order as A."""
    columns = ("prompt", "response_a", "response_b", "label_a", "label_b", "label_tie")
    return [(p, a, b, tuple(label)) for p, a, b, *label in battles.select(columns).rows()]


def agrees(found: Told, due: Told) -> bool:
    prompt, a, b, label = found
    swapped = (prompt, b, a, (label[1], label[0], label[2]))
    return due in (found, swapped)


def check(loaded: Loaded, due: list[Any]) -> None:
    found = told(loaded.battles)
    assert len(found) == len(due)
    assert all(map(agrees, found, due)), found


def chat(*contents: Any) -> list[Row]:
    return [{"role": ("user", "assistant")[i % 2], "content": c} for i, c in enumerate(contents)]


def parts(*texts: str) -> list[Row]:
    return [{"type": "text", "text": text, "image": None, "mimeType": None} for text in texts]
