"""Observers of a run: who the config asks for, and how a run ends, which all are told."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.secrets import resolved_secrets
from ensemble.errors import IncompleteRunError
from ensemble.plugin.manager import get_manager
from ensemble.plugin.observers import Observers, observe
from ensemble.plugin.parameters import build
from ensemble.run_dir.layout import SUBMISSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.config.settings import Config
    from ensemble.run_dir.reporter import Reporter


def observers_of(config: Config) -> Observers:
    """Make the observers that a config asks for.

    Raises
    ------
    ConfigError
        A parameter is wrong, or a class observes nothing.
    UnknownNameError
        There is no such observer.
    """
    made: list[tuple[str, object]] = []
    for number, asked in enumerate(config.observers, 1):
        kind = get_manager().observers.get(asked.plugin)
        where = f'observers[{number}], plugin "{asked.plugin}"'
        values = resolved_secrets(asked.parameters, where)
        made.append((asked.plugin, build(kind, values, where=where, anchor=Path(config.base_dir))))
    return Observers(made)


@contextmanager
def finishing(config: Config, reporter: Reporter) -> Iterator[None]:
    """Tell observers how a run ends."""
    try:
        yield
    except BaseException as error:
        status = "failed" if isinstance(error, Exception) else "interrupted"
        failures: list[dict[str, Any]] = []
        if isinstance(error, IncompleteRunError):
            status, failures = "incomplete", [one.to_json() for one in error.failures]
        _tell(config, reporter, status, failures, str(error) or type(error).__name__)
        raise
    _tell(config, reporter, "complete", [], None)


def _tell(
    config: Config,
    reporter: Reporter,
    status: str,
    failures: list[dict[str, Any]],
    error: str | None,
) -> None:
    path = Path(config.run_dir) / SUBMISSION
    told = {
        "status": status,
        "submission": path if path.exists() else None,
        "failures": failures,
        "error": error,
    }
    observe(reporter, "run_finished", lambda: told)
