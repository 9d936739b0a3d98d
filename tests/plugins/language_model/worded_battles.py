"""Battles of a few words, whose longer response wins."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

WORDS = ["hello", "world", "good", "bad", "long", "short", "yes", "no", "one", "two", "three"]


def make_battles(count: int, seed: int = 0, *, turns: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)

    def text(longest: int) -> list[str]:
        words = rng.choice(WORDS, rng.integers(1, longest))
        return [" ".join(words)] * turns

    rows = [(f"b{i}", text(6), text(20), text(20)) for i in range(count)]
    return pl.DataFrame(rows, ["id", "prompt", "response_a", "response_b"], orient="row")


def make_labels(battles: pl.DataFrame) -> Any:
    """Let the longer response win, and equal ones tie."""
    a, b = (battles[f"response_{s}"].list.first().str.len_chars().to_numpy() for s in "ab")
    return np.eye(3)[np.where(np.abs(a - b) < 5, 2, np.where(a > b, 0, 1))]
