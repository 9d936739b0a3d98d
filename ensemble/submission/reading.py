"""How a file of new rows is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.battles.schema import TEST_ROLE, TEST_SOURCE
from ensemble.battles.source_files import load_source
from ensemble.config.settings import Reading
from ensemble.errors import ConfigError
from ensemble.redact import remember_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from ensemble.battles.turns import TextFormat
    from ensemble.config.settings import Config


def reading_options(
    config: Config,
    *,
    loader: str | None = None,
    options: Mapping[str, Any] | None = None,
    text_format: TextFormat | None = None,
) -> Reading:
    """Say how a file of new rows is read: as the run's test file, but for what is given here.

    Parameters
    ----------
    config
        The run's own config.
    loader
        Registered name of a loader, or ``"none"`` for the toolkit's own readers. Options of the
        run's loader are not taken for another one.
    options
        For the loader; they are put over those of the run.
    text_format
        As in ``[test]``.

    Raises
    ------
    ConfigError
        There are options and no loader.
    """
    base = config.test or Reading()
    named = base.loader if loader is None else (None if loader == "none" else loader)
    kept = base.options if named is not None and named == base.loader else {}
    merged = {**kept, **(options or {})}
    remember_secrets(merged)
    if merged and named is None:
        raise ConfigError(
            f"options are for a loader, and none is given: {', '.join(merged)}",
            hint="name one with --loader",
        )
    given = {"path": "", "hub": None, "revision": None, "loader": named, "options": merged}
    return base.model_copy(update=given | {"text_format": text_format or base.text_format})


def read_test(path: Path, reading: Reading) -> pl.DataFrame:
    """Read a file of new rows; errors as ``load_battles``."""
    return load_source(reading, TEST_SOURCE, TEST_ROLE, path).battles
