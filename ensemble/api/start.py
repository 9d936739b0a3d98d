"""``ensemble.run``: from a config, or tables in memory, to a finished run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble import pipeline
from ensemble.api.inputs import store_inputs, with_stored_tables
from ensemble.api.runs import Run
from ensemble.battles.frames import is_table
from ensemble.config.load import check_config, load_config, parse_config
from ensemble.config.settings import Config
from ensemble.config.time_limit import parse_time_limit
from ensemble.errors import IncompleteRunError, InputError
from ensemble.oof.budget import Budget
from ensemble.plugin.given import named_plugins
from ensemble.run_dir.layout import CONFIG
from ensemble.stages.plan import Plan, make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.run_dir.reporter import ProgressDisplay


def run(
    config: str | Path | Mapping[str, Any] | Config,
    *,
    refit: Sequence[str] = (),
    keep: Sequence[str] = (),
    fail_fast: bool = False,
    time_limit: str | float | None = None,
    progress: bool | None = None,
) -> Run:
    """Do all of it: from the sources to submission and report.

    Parameters
    ----------
    config
        The path of a config, its tables as a dictionary, whose relative paths start in the current
        directory, or a ``Config``. In a dictionary a source, or the test set, may have ``data``, a
        table of Polars, pandas or Arrow, in place of ``path``; the run keeps a copy of it. A
        learner may be a class or an instance of one, by itself or as its ``plugin``; so may the
        ``meta_learner``.
    refit, keep
        Learners whose fits, where other code of their plugin has made them, are made anew or kept.
    fail_fast
        Whether the first learner that fails ends the run.
    time_limit
        How long all of it may take, as ``"90m"`` or in seconds; None sets no limit. Fits for which
        there is no time are left undone, and the stack is made of what is complete.
    progress
        Whether progress is shown; None shows it in a notebook and on a terminal.

    Returns
    -------
    Run
        The finished run; the same call again resumes it.

    Raises
    ------
    EnsembleError
        What went wrong, where, and how to fix it. Everything complete by then is kept.
    IncompleteRunError
        Learners or the meta-learner failed, or time was short, and all else is done: its
        ``failures`` say which and why, ``unfinished`` which fits are undone, and its ``run`` is the
        run with the stack and the submission of what is complete.

    Examples
    --------
    >>> import ensemble
    >>> run = ensemble.run("config.toml")  # doctest: +SKIP
    >>> run.verdict["sentence"]  # doctest: +SKIP
    """
    budget = None if time_limit is None else Budget(parse_time_limit(time_limit))
    settings, display = _settings(config), _display(progress)
    try:
        place = pipeline.run(
            settings, display, refit=refit, keep=keep, fail_fast=fail_fast, budget=budget
        )
    except IncompleteRunError as error:
        error.run = Run(settings.run_dir)
        if isinstance(config, str | Path):
            error.config = str(config)
        raise
    return Run(place)


def plan(config: str | Path | Mapping[str, Any] | Config) -> Plan:
    """Say what a config asks for before any of it starts: fits, minutes, hours, disk.

    Parameters
    ----------
    config
        As for ``run``.

    Returns
    -------
    Plan
        ``learners``, each with its fits, what is complete, and how long a fold takes, measured,
        estimated or unknown; ``wall_seconds``; ``to_json()``.

    Raises
    ------
    ConfigError
        Faults of the config or of plugins, all reported together.
    """
    return make_plan(_settings(config))


def _settings(config: str | Path | Mapping[str, Any] | Config) -> Config:
    if isinstance(config, Config):
        return check_config(config, Path.cwd())
    if isinstance(config, str | Path):
        return load_config(Path(config))
    raw, tables = with_stored_tables(named_plugins(dict(config)))
    settings = parse_config(_plain(raw), Path.cwd() / CONFIG)
    if tables:
        store_inputs(settings, tables)
    return settings


def _plain(value: Any) -> Any:
    """Write the paths among the values of a dictionary as TOML has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_table(value):
        raise InputError(
            "a table stands where a config has no table",
            hint='give it as the key "data" of a source, or of "test": {"data": frame}',
        )
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _display(progress: bool | None) -> ProgressDisplay | None:
    """Show progress where a person looks: a notebook or a terminal."""
    from ensemble.run_dir.progress import Terminal

    if progress is None:
        terminal = Terminal()
        return terminal if terminal.is_watched else None
    return Terminal() if progress else None
