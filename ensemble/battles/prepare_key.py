"""What decides which battles a config gives: settings, files, loaders, by content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.formats.registry import VERSION as FORMATS_VERSION
from ensemble.battles.load_reading import load_reading
from ensemble.battles.prepared import VERSION
from ensemble.battles.source_files import hash_source
from ensemble.config.plugin_files import short_name
from ensemble.config.secrets import with_secrets
from ensemble.errors import DataError
from ensemble.plugin.manager import get_manager
from ensemble.redact import without_secrets
from ensemble.storage.hashing import fingerprint, hash_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from ensemble.battles.loading import Loaded
    from ensemble.config.settings import Config, Reading

_ROWS_AT_A_TIME = 1_024


def prepared_by(
    config: Config,
    hashes: Sequence[str | None],
    tables: Mapping[int, str],
    embeddings: str | None,
    lists: Mapping[str, str],
) -> dict[str, Any]:
    """Say as JSON all that decides which battles a config gives.

    Parameters
    ----------
    config
        The config.
    hashes
        SHA-256 of each reading's file; None for a reading that is no file.
    tables
        SHA-256 of what the loader makes of each of the latter, by its place.
    embeddings
        SHA-256 of the file of vectors; None where there is none.
    lists
        SHA-256 of each source's list of labels, by its name.
    """
    return {
        "version": VERSION,
        "formats": FORMATS_VERSION,
        "settings": prepared_settings(config),
        "files": list(hashes),
        "tables": [tables[place] for place in sorted(tables)],
        "embeddings": embeddings,
        "labels": dict(lists),
        "loaded_by": [_loaded_by(reading) for reading in config.readings()],
    }


def hash_lists(config: Config) -> dict[str, str]:
    """Name the lists of labels of all sources that have one, by source: 64 hex digits each.

    Raises
    ------
    DataError
        A file cannot be read.
    """
    return {s.name: hash_named(s.labels, "labels") for s in config.sources if s.labels is not None}


def hash_table(reading: Reading, *, ties: bool) -> str:
    """Name what a reading's loader makes of it now: 64 hex digits.

    Parameters
    ----------
    reading
        What is read.
    ties
        Whether the task has ties.

    Raises
    ------
    DataError
        It cannot be loaded.
    """
    return hash_loaded(load_reading(reading, ties))


def prepared_settings(config: Config) -> dict[str, Any]:
    """Say all that a config has to say about battles and clusters, beside where the files are.

    Neither a source's place nor what training makes of its rows is in it, so that a run can move
    with its files, and other weights leave the battles as they are.
    """
    apart = {"path", "weight", "share", "reweight", "logit_adjustment", "pseudo_labelers", "labels"}
    folds = config.folds
    return {
        "ties": config.task.ties,
        "near_duplicate_threshold": folds.near_duplicate_threshold,
        "embedding_threshold": folds.embedding_threshold if folds.embeddings else None,
        "readings": [_settings_of(reading, apart) for reading in config.readings()],
        "labels": [source.name for source in config.sources if source.labels is not None],
    }


def _settings_of(reading: Reading, apart: set[str]) -> dict[str, Any]:
    settings: dict[str, Any] = without_secrets(reading.model_dump(exclude=apart))
    return settings | {"loader": reading.loader and short_name(reading.loader)}


def is_file(reading: Reading) -> bool:
    """Say whether the content of a file names a reading; without a loader nothing else can."""
    return reading.loader is None or os.path.isfile(reading.named())  # noqa: PTH113 - never raises


def _loaded_by(reading: Reading) -> dict[str, Any] | None:
    if not reading.loader:
        return None
    return with_secrets(get_manager().loaders.entry(reading.loader).code(), reading.options)


def hash_reading(reading: Reading) -> str:
    """Name the content of a reading's file: 64 hex digits.

    Raises
    ------
    DataError
        It cannot be read.
    """
    try:
        return hash_source(reading)
    except OSError as error:
        raise _unreadable(error, str(error.filename or reading.named()), "path") from error


def hash_named(path: str, key: str) -> str:
    """Name the content of a file that a key of the config gives; errors as ``hash_reading``."""
    try:
        return hash_file(Path(path))
    except OSError as error:
        raise _unreadable(error, path, key) from error


def _unreadable(error: OSError, path: str, key: str) -> DataError:
    return DataError(
        f"the file cannot be read: {error.strerror}",
        where=path,
        hint=f"fix `{key}` in the config; it is taken from the config's own directory",
    )


def hash_loaded(loaded: Loaded) -> str:
    """Name what a loader has made of a reading: 64 hex digits."""
    return fingerprint([len(loaded.bad_rows), hash_rows(loaded.battles)])


def hash_rows(frame: pl.DataFrame) -> str:
    """Name the rows of a table: 64 hex digits."""
    digest = hashlib.sha256()
    for rows in frame.iter_slices(_ROWS_AT_A_TIME):
        digest.update(rows.write_ndjson().encode())
    return digest.hexdigest()
