"""The files of runs on folds of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from tests.ensemble.fold_schemes.memory_runs import ROWS, MemoryPlugin, made_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import UsePlugins


@pytest.fixture
def place(tmp_path: Path, use_plugins: UsePlugins) -> Path:
    """Files with a session, a judge, a time and a fold beside their battles."""
    use_plugins(memory=MemoryPlugin())
    own = made_rows("t", ROWS, 0)
    number = np.arange(ROWS)
    days = [f"2024-05-{1 + i % 28:02d}T{i % 24:02d}:00:00" for i in number]
    said = {"session": [f"s{i // 4 % 30}" for i in number], "tstamp": days}
    folds = {"fold": [["first", "second", "last"][i % (ROWS // 2) % 3] for i in number]}
    pl.DataFrame({**own, **said, **folds}).write_csv(tmp_path / "train.csv")
    copies = pl.DataFrame({**own, "id": [f"e{i}" for i in number]})
    copies = copies.with_columns(tstamp=pl.Series(days[::-1]), session=pl.lit(None, pl.String))
    copies.write_csv(tmp_path / "extra.csv")
    copies.drop("tstamp").head(30).with_columns("u" + pl.col("id")).write_csv(
        tmp_path / "undated.csv"
    )
    test = pl.DataFrame(made_rows("x", 12, 5)).drop("winner")
    test.write_csv(tmp_path / "test.csv")
    return tmp_path
