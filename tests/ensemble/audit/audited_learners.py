"""Learners of runs that are audited."""

from __future__ import annotations

from typing import Any

LEARNERS: list[dict[str, Any]] = [
    {"name": "p", "plugin": "prior"},
    {"name": "q", "plugin": "prior", "shift": 0.2},
]
