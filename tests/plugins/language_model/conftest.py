"""Checkpoints of tiny models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a function that gives the checkpoint of a family, which no test changes."""
    tiny_models = importlib.import_module("tests.plugins.language_model.tiny_models")
    made: dict[str, Path] = {}

    def give(family: str) -> Path:
        if family not in made:
            made[family] = tiny_models.save_checkpoint(family, tmp_path_factory.mktemp(family))
        return made[family]

    return give
