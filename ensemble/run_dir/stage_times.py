"""How long the stages of a run took, as its list of events says."""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from typing import TYPE_CHECKING

from ensemble.run_dir.layout import EVENTS

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


def stage_seconds(run: Path, stages: Collection[str]) -> dict[str, float]:
    """Give how long each of some stages took when it last ran in a run, on this machine."""
    found: dict[str, float] = {}
    try:
        lines = (run / EVENTS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        if '"stage done"' not in line:
            continue
        with suppress(ValueError, LookupError, TypeError):
            told = json.loads(line)
            if told["stage"] in stages and told["host"] == platform.node():
                found[told["stage"]] = float(told["seconds"])
    return found
