"""A run up to its folds: battles read and split, nothing fitted yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.battles.prepare import prepare
from ensemble.battles.split import split
from ensemble.oof.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from ensemble import Config


def prepared(config: Config) -> Workspace:
    """Read and split a config's battles, and open the workspace of its fits."""
    place = Path(config.run_dir)
    place.mkdir(exist_ok=True)
    prepare(config)
    split(place, config.folds, seed=config.seed)
    return open_workspace(config)
