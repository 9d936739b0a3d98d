"""A learner's spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemble.oof.spec import LearnerSpec


def make_spec(plugin: str, base: Path, **parameters: Any) -> LearnerSpec:
    return LearnerSpec("x", plugin, parameters, base)
