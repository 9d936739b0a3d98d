"""What happens in a run as lines of JSON, for programs that follow it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ensemble import hookimpl
from ensemble.run_dir.layout import OBSERVERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class JsonlObserver:
    """Appends one line of JSON for each fold that is fitted, each stack, and each end of a run.

    Parameters
    ----------
    path
        The file; None is ``observers/events.jsonl`` in the run directory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path

    @hookimpl
    def fold_fitted(
        self,
        run_dir: Path,
        learner: str,
        fold: int | None,
        directory: Path,
        seconds: float,
        score: float | None,
        parameters: Mapping[str, Any],
    ) -> None:
        """Write learner, fold, log loss, time and parameters."""
        told = {"learner": learner, "fold": fold, "directory": str(directory)}
        more = {"seconds": seconds, "score": score, "parameters": dict(parameters)}
        self._write(run_dir, "fold_fitted", {**told, **more})

    @hookimpl
    def stack_decided(self, run_dir: Path, verdict: Mapping[str, Any], directory: Path) -> None:
        """Write the verdict."""
        told = {"directory": str(directory), "verdict": dict(verdict)}
        self._write(run_dir, "stack_decided", told)

    @hookimpl
    def run_finished(
        self,
        run_dir: Path,
        status: str,
        submission: Path | None,
        failures: Sequence[Mapping[str, Any]],
        error: str | None,
    ) -> None:
        """Write how the run ended."""
        told = {"submission": submission and str(submission), "failures": [*map(dict, failures)]}
        self._write(run_dir, "run_finished", {"status": status, **told, "error": error})

    def _write(self, run_dir: Path, event: str, told: Mapping[str, Any]) -> None:
        path = self.path or run_dir / OBSERVERS / "events.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "event": event, "run_dir": str(run_dir), **told}
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
