"""What the report takes from the run's config."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble.config.plugin_files import short_name, short_names
from ensemble.errors import ArtifactError
from ensemble.redact import without_secrets
from ensemble.run_dir.layout import CONFIG
from ensemble.run_dir.record import HINT


@dataclass(frozen=True)
class Configured:
    """The config of a run, as far as the report needs it.

    Parameters
    ----------
    text
        The file.
    learners
        Names, in the config's order.
    written
        Plugin and parameters of each learner, as they are written out.
    folder
        Where the run directory lay when the config was written; empty where that is not absolute.
    """

    text: str
    learners: tuple[str, ...]
    written: dict[str, tuple[str, dict[str, Any]]]
    folder: str


def read_config(run: Path) -> Configured | None:
    """Read ``config.toml``; None where there is none.

    Raises
    ------
    ArtifactError
        It is not TOML.
    """
    path = run / CONFIG
    if not path.exists():
        return None
    try:
        source = path.read_text(encoding="utf-8")
        config = tomllib.loads(source)
    except ValueError as error:
        raise ArtifactError(
            f"the run's config is not TOML: {error}", where=str(path), hint=HINT
        ) from error
    written = {one["name"]: _written(one) for one in config.get("learners", [])}
    return Configured(source, tuple(written), written, _folder(config, run))


def _written(learner: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    apart = ("name", "plugin", "stack")
    parameters = {k: v for k, v in learner.items() if k not in apart}
    return short_name(learner.get("plugin", "")), short_names(without_secrets(parameters))


def _folder(config: dict[str, Any], run: Path) -> str:
    recorded = Path(config.get("run_dir", run.resolve()))
    return str(recorded.parent) if recorded.is_absolute() else ""
