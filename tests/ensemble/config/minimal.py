"""The least that a config says, and its text as it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.config.load import load_config

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble import Config

MINIMAL = """
run_dir = "run"
[[sources]]
name = "arena"
path = "train.csv"
role = "target"
"""


def load_text(directory: Path, text: str) -> Config:
    """Write a config of this text into a directory, and load it."""
    path = directory / "config.toml"
    path.write_text(text)
    return load_config(path)
