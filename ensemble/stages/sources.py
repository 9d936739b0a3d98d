"""What each source does to the score on the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.sources.settings import StudySettings
from ensemble.sources.study import study_sources
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.split import split_stage

if TYPE_CHECKING:
    from ensemble.config.settings import Config
    from ensemble.run_dir.reporter import Reporter
    from ensemble.sources.study import SourceStudy


def sources_stage(
    config: Config,
    reporter: Reporter,
    settings: StudySettings = StudySettings(),  # noqa: B008 - frozen
) -> list[SourceStudy]:
    """Say of every source whether it helps; no part of a run, which it leaves as it is.

    Prepares and splits where that has not been done.
    """
    prepare_stage(config, reporter)
    split_stage(config, reporter)
    with reporter.stage("sources"):
        return study_sources(config, reporter, settings)
