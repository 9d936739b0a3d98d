"""One writer in a run directory at a time."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, SoftFileLock, Timeout

from ensemble.config.load import config_fault
from ensemble.errors import ConfigError, EnsembleError, RunLockedError
from ensemble.interrupts import uninterrupted, wake_by_signals
from ensemble.once import one_verb
from ensemble.oof.checkpoints import sweep_checkpoints
from ensemble.run_dir.damaged import WRITTEN_ANEW, damaged_records
from ensemble.run_dir.layout import (
    BATTLES_RECORD,
    CONFIG,
    EVENTS,
    FOLDS_RECORD,
    INPUTS,
    LEARNERS,
    LOCK,
    RUNNING,
)
from ensemble.run_dir.leftovers import sweep_temporary
from ensemble.run_dir.reporter import Reporter
from ensemble.run_dir.running import Running, told_writer
from ensemble.stacking.plugin_checks import check_plugins
from ensemble.stages.observed import observers_of
from ensemble.storage.atomic import how_to_mend
from ensemble.storage.strays import is_stray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filelock import BaseFileLock

    from ensemble.config.settings import Config
    from ensemble.run_dir.reporter import ProgressDisplay

_MARKS_OF_A_RUN = {EVENTS, BATTLES_RECORD, FOLDS_RECORD, INPUTS, LEARNERS, RUNNING}
"""Files of which a run has one at least, however early it ended or however it was copied."""


@contextmanager
def working(config: Config, display: ProgressDisplay | None = None) -> Iterator[Reporter]:
    """Hold the run directory to do what the config says: its plugins are checked first.

    Raises
    ------
    ConfigError
        Faults of plugins, all of them reported together.
    RunLockedError
        Another process writes to the run.
    """
    with one_verb():
        check_plugins(config, [lambda: observers_of(config)])
        with writing(config, display) as reporter:
            reporter.observers = observers_of(config)
            _tell_damage(Path(config.run_dir), reporter)
            yield reporter


def _tell_damage(run: Path, reporter: Reporter) -> None:
    """Name the files that are damaged, and that are written anew, or passed over, without them."""
    if fault := config_fault(run):
        reporter.event("damaged", name=CONFIG, why=fault, mended_by=WRITTEN_ANEW)
        reporter.log(f"{CONFIG} is damaged: {WRITTEN_ANEW}")
    for found in damaged_records(run):
        reporter.event("damaged", **found._asdict())
        reporter.log(found.sentence)


@contextmanager
def writing(config: Config, display: ProgressDisplay | None = None) -> Iterator[Reporter]:
    """Hold the run directory for one writer; the lock ends with the process, however it ends.

    Parameters
    ----------
    config
        The config.
    display
        Where a person watches.

    Raises
    ------
    RunLockedError
        Another process writes to the run.
    """
    directory = Path(config.run_dir)
    _refuse_strangers(directory)
    lock = FileLock(directory / LOCK, timeout=0)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunLockedError(
            f"another process writes to this run{told_writer(directory)}",
            where=str(directory),
            hint="wait for it (`ensemble status RUN` says how far it is), or give this run another "
            f"run_dir{_without_locks(lock)}",
        ) from error
    except NotImplementedError as error:  # of a filelock that makes no file in place of a lock
        raise EnsembleError(
            "this file system has no locks",
            where=str(directory),
            hint="give a run_dir on another disk, or install a newer filelock",
        ) from error
    except OSError as error:
        raise EnsembleError(
            f"the run directory cannot be written: {error.strerror or error}",
            where=str(directory),
            hint=how_to_mend(error) or "give another directory as run_dir",
        ) from error
    wake_by_signals()
    try:
        sweep_temporary(directory)
        sweep_checkpoints(directory)
        with Running(directory) as running:
            yield Reporter(directory, display, running)
    finally:
        with uninterrupted():
            # Workers that were ended in the midst of a fit could not put away what they wrote.
            with suppress(EnsembleError, OSError):
                sweep_temporary(directory)
            lock.release()


def _without_locks(lock: BaseFileLock) -> str:
    """Say what helps where the file system has no locks, so that a file stands in for one.

    It stays when its process is killed; and a run that a machine with locks has written has it too.
    """
    if not isinstance(lock, SoftFileLock):
        return ""
    return f"; this file system has no locks: if no process works on the run, remove {LOCK} in it"


def _refuse_strangers(directory: Path) -> None:
    """Refuse a directory with files of somebody else: those of a run would take their names.

    Raises
    ------
    ConfigError
        It is not empty and no run.
    """
    try:
        names = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
        names = {name for name in names if not is_stray(name)}
    except OSError:
        return  # it is not there, or whoever makes it says why not
    if names and not names & _MARKS_OF_A_RUN:
        raise ConfigError(
            f"the run directory is no run and not empty: it holds {', '.join(sorted(names)[:5])}",
            where=str(directory),
            hint="give a directory that is empty or not there as run_dir",
        )
