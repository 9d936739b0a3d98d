"""The battles of what a config reads: its sources and its test file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.loading import combine
from ensemble.battles.schema import TEST_ROLE, TEST_SOURCE
from ensemble.battles.source_files import load_source
from ensemble.config.settings import Source
from ensemble.memory import release_memory

if TYPE_CHECKING:
    import polars as pl

    from ensemble.battles.loading import Loaded
    from ensemble.config.settings import Config, Reading


def load_all(config: Config) -> pl.DataFrame:
    """Load all battles that a config names, ``BATTLE_SCHEMA``, and write nothing.

    Raises
    ------
    DataError
        A file is missing or has rows that cannot be used.
    """
    return combine([load_reading(reading, config.task.ties) for reading in config.readings()])


def load_reading(reading: Reading, ties: bool) -> Loaded:
    """Load what a config names; errors as ``load_all``."""
    try:
        return _load_source(reading, ties)
    finally:
        release_memory()  # that of the cells


def _load_source(reading: Reading, ties: bool) -> Loaded:
    if not isinstance(reading, Source):
        # A test row that is dropped would be missing from the submission.
        return load_source(reading, TEST_SOURCE, TEST_ROLE)
    return load_source(
        reading,
        reading.name,
        reading.role,
        on_bad_rows=reading.on_bad_rows,
        id_prefix=reading.id_prefix,
        ties=ties,
    )
