"""Learners of a run side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.compare.compare import compare, store_comparison
from ensemble.config.load import load_run_config
from ensemble.errors import EnsembleError
from ensemble.stages.work import writing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def compare_stage(
    run: Path, names: Sequence[str], by: Sequence[str] = ()
) -> tuple[dict[str, Any], Path | None, str | None]:
    """Compare learners of a run, and keep the result for the report.

    Returns
    -------
    tuple
        The comparison, and where it is stored, or None with why it is not: another process writes
        to the run, say, or the run cannot be written, which keep nobody from comparing.
    """
    result = compare(run, names, by)
    try:
        with writing(load_run_config(run)):
            return result, store_comparison(run, result), None
    except EnsembleError as error:
        return result, None, error.message
