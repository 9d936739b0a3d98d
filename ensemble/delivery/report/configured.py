"""What the report takes from the run's config."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble.delivery.report.records import MEND
from ensemble.errors import ArtifactError


@dataclass(frozen=True)
class Configured:
    """The config of a run, as far as the report needs it.

    Parameters
    ----------
    text
        The file.
    learners
        Names, in the config's order.
    folder
        Where the run directory lay when the config was written; empty where that is not absolute.
    """

    text: str
    learners: tuple[str, ...]
    folder: str


def read_config(run: Path) -> Configured | None:
    """Read ``config.toml``; None where there is none.

    Raises
    ------
    ArtifactError
        It is not TOML.
    """
    path = run / "config.toml"
    if not path.exists():
        return None
    try:
        source = path.read_text(encoding="utf-8")
        config = tomllib.loads(source)
    except ValueError as error:
        raise ArtifactError(
            f"the run's config is not TOML: {error}", where=str(path), mend=MEND
        ) from error
    names = tuple(learner["name"] for learner in config.get("learners", []))
    return Configured(source, names, _folder(config, run))


def _folder(config: dict[str, Any], run: Path) -> str:
    recorded = Path(config.get("run_dir", run.resolve()))
    return str(recorded.parent) if recorded.is_absolute() else ""
