"""The real battles that the project is developed with, as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.loading import combine, load_battles

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl


def read_battles(data: Path) -> pl.DataFrame:
    """Read the arena's battles and all sources: ``BATTLE_SCHEMA``."""
    arena = {"arena": ("train.csv", "target", False), "test": ("test.csv", "test", True)}
    loaded = [
        load_battles(data / "arena" / name, source=source, role=role, is_test=is_test)
        for source, (name, role, is_test) in arena.items()
    ]
    loaded += [
        load_battles(path, source=path.stem, role="train", id_prefix=f"{path.stem}-")
        for path in sorted((data / "sources").glob("*.parquet"))
    ]
    return combine(loaded)
