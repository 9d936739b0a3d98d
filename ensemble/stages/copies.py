"""A copy of a run for a machine or a job of its own: battles and plan, and the fits that it asks.

Several may fit at a time, each in a directory and under a lock of its own; ``ensemble merge`` takes
what they have fitted.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.battles.prepared import read_summary
from ensemble.battles.split import read_split
from ensemble.errors import ArtifactError, ConfigError
from ensemble.oof.dependencies import is_labeler, is_teacher
from ensemble.oof.kept_fit import link
from ensemble.run_dir.layout import BATTLES_RECORD, CACHE, FOLDS, FOLDS_RECORD, KEPT, LEARNERS
from ensemble.stacking.settings import learner_specs
from ensemble.storage.atomic import replace_directory, temp_path, wrap_os_errors
from ensemble.storage.directories import MANIFEST, read_manifest
from ensemble.storage.foreign import directories
from ensemble.storage.hashing import hash_file

if TYPE_CHECKING:
    from ensemble.config.settings import Config


def copied(config: Config, place: Path) -> Config:
    """Give a run's config for a copy of the run.

    Parameters
    ----------
    config
        Of the run.
    place
        Where the copy is. It is fitted by one machine, so a cluster is not asked.

    Raises
    ------
    ConfigError
        That is the run itself, or a directory around it.
    """
    place, run = place.resolve(), Path(config.run_dir).resolve()
    if run.is_relative_to(place):
        raise ConfigError(
            "a copy of the run cannot be where the run is",
            where=str(place),
            hint="give a directory of its own, such as RUN/copies/one",
        )
    changed = {"run_dir": str(place)}
    execution = config.execution
    if execution.executor == "ray":
        alone = execution.model_copy(update={"executor": "auto", "address": None})
        return config.model_copy(update={**changed, "execution": alone})
    return config.model_copy(update=changed)


def fill_copy(config: Config, copy: Config) -> None:
    """Give a copy the battles and the plan of its run, and the fits of learners that others ask.

    Files that are there already, and the same, stay. Values of single rows are shared.

    Parameters
    ----------
    config
        Of the run.
    copy
        As ``copied`` gives it; its lock is held.

    Raises
    ------
    ArtifactError
        The run has no battles or no plan.
    """
    run, place = Path(config.run_dir), Path(copy.run_dir)
    names = [*read_summary(run).files, BATTLES_RECORD, FOLDS, FOLDS_RECORD, KEPT]
    read_split(run)
    with wrap_os_errors(place):
        for name in names:
            if (run / name).exists():
                _share(run / name, place / name)
        (run / CACHE).mkdir(exist_ok=True)
        if not os.path.lexists(place / CACHE):
            (place / CACHE).symlink_to(run / CACHE)
    for spec in learner_specs(config):
        if is_teacher(spec) or is_labeler(spec, config.source_uses()):
            for fit in directories(run / LEARNERS / spec.name):
                if not fit.startswith("."):
                    inside = Path(LEARNERS, spec.name, fit)
                    _share_fit(run / inside, place / inside)


def _share(source: Path, target: Path) -> None:
    if target.exists() and hash_file(target) == hash_file(source):
        return
    with temp_path(target) as temporary:
        link(str(source), str(temporary))
        temporary.replace(target)


def _share_fit(source: Path, target: Path) -> None:
    try:
        read_manifest(source)
    except ArtifactError:
        return  # not there yet
    if target.exists() and hash_file(target / MANIFEST) == hash_file(source / MANIFEST):
        return
    with temp_path(target) as temporary, wrap_os_errors(target):
        shutil.copytree(source, temporary, copy_function=link)
        replace_directory(temporary, target)
