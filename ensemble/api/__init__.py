"""A run from Python, in a script or a notebook: ``run`` makes one, ``Run`` reads one."""

from __future__ import annotations

from ensemble.api.frames import load_battles
from ensemble.api.runs import Run
from ensemble.api.start import plan, run

__all__ = ["Run", "load_battles", "plan", "run"]
