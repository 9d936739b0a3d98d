"""The first stages of a run, for tests of what comes after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.stages.fit import fit_stage
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.split import split_stage
from ensemble.stages.work import writing

if TYPE_CHECKING:
    from ensemble import Config


def prepare_and_split(config: Config) -> None:
    """Read the battles of a run and deal them to folds."""
    with writing(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)


def prepare_and_fit(config: Config, **options: Any) -> dict[str, Any]:
    """Go as far as the learners' fits; ``options`` are those of ``fit_stage``."""
    with writing(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
        return fit_stage(config, reporter, **options)
