"""What the shared fixtures are, for the tests that take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from ensemble import Config

    Learners = Sequence[Mapping[str, Any]]
    """What a config says of its learners, one table each."""


class MakeBattles(Protocol):
    """Makes battles of one source."""

    def __call__(
        self,
        rows: int = ...,
        *,
        source: str = ...,
        role: str = ...,
        prompts: int = ...,
        seed: int = ...,
    ) -> pl.DataFrame: ...


class WriteCsv(Protocol):
    """Writes battles in the competition's form."""

    def __call__(self, battles: pl.DataFrame, path: Path) -> None: ...


class UsePlugins(Protocol):
    """Adds plugins, by name, to those that are installed and the fakes."""

    def __call__(self, **plugins: object) -> None: ...


class WriteConfig(Protocol):
    """Writes a config of the project with tables exchanged, and loads it."""

    def __call__(self, learners: Learners | None = None, **changes: Any) -> Config: ...


class RunOnce(Protocol):
    """Gives the config of a finished run, which is made once and copied for every further test."""

    def __call__(self, learners: Learners | None = None, **changes: Any) -> Config: ...


@dataclass(frozen=True)
class Project:
    """A directory with data files and a config."""

    path: Path
    config: WriteConfig
