"""The first stage: sources in, one table of battles out, with the clusters of near duplicates."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.corrections import corrections_of, counts_of
from ensemble.battles.duplicates import find_duplicates
from ensemble.battles.embeddings import PARAPHRASE, read_embeddings
from ensemble.battles.files.raw import kinds_of
from ensemble.battles.formats.registry import VERSION as FORMATS_VERSION
from ensemble.battles.loading import combine
from ensemble.battles.metadata import combine_metadata
from ensemble.battles.schema import LABEL_COLUMNS, TEST_ROLE, TEST_SOURCE
from ensemble.battles.source_files import hash_source, load_source, source_files
from ensemble.config.plugin_files import short_name
from ensemble.config.secrets import with_secrets
from ensemble.config.settings import Source
from ensemble.errors import ArtifactError, DataError
from ensemble.memory import release_memory
from ensemble.plugin.code import told_difference
from ensemble.plugin.manager import get_manager
from ensemble.redact import mask_text, without_home, without_secrets
from ensemble.run_dir.battles_record import BadRow, BattlesRecord, SourceRecord, VectorsRecord
from ensemble.run_dir.layout import (
    BATTLES,
    BATTLES_RECORD,
    CLUSTERS,
    CORRECTIONS,
    DUPLICATES,
    METADATA,
)
from ensemble.run_dir.tables import read_table, write_table
from ensemble.storage.hashing import fingerprint, hash_file
from ensemble.storage.json_files import read_checksummed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ensemble.battles.embeddings import Embeddings
    from ensemble.battles.loading import Loaded
    from ensemble.config.settings import Config, Folds, Reading

VERSION = 11
"""Raise it when the same files come to give other battles or clusters, or another summary."""

_HINT = "run `ensemble prepare CONFIG`"
_SHOWN_BAD_ROWS = 20
_ROWS_AT_A_TIME = 1_024
SEVERAL = 20
"""Battles of a source in which each side should win now and then."""


def prepare(config: Config, tell: Callable[[str], None] = lambda _: None) -> bool:
    """Load all sources and the test file, find clusters, and write them to the run directory.

    Parameters
    ----------
    config
        The config.
    tell
        Told why what is there is made anew.

    Returns
    -------
    bool
        False where the run had all of it already.

    Raises
    ------
    DataError
        A file is missing or has rows that cannot be used.
    """
    run = Path(config.run_dir)
    readings, settings = config.readings(), prepared_settings(config)
    for reading in readings:
        if reading.loader is None:
            source_files(reading)
    # What is no file has no content to hash but the table that its loader makes of it.
    ties = config.task.ties
    early = {at: _load(item, ties) for at, item in enumerate(readings) if not _is_file(item)}
    hashes = [None if at in early else _hash_source(item) for at, item in enumerate(readings)]
    tables = {place: _hash_loaded(loaded) for place, loaded in early.items()}
    vectors = config.folds.embeddings and _hash_file(config.folds.embeddings, "folds.embeddings")
    lists = hash_lists(config)
    made_by = prepared_by(config, hashes, tables, vectors, lists)
    why = _why_again(run, made_by)
    if why is None:
        return False
    if why:
        tell(why)
    loaded = [early.get(place) or _load(item, ties) for place, item in enumerate(readings)]
    battles = combine(loaded)
    corrections = corrections_of(config, battles)
    files, told, content = _write_tables(
        run, battles, combine_metadata([one.metadata for one in loaded]), corrections, config.folds
    )
    sources = [
        _describe(reading, rows, digest, tables.get(place), corrections)
        for place, (reading, rows, digest) in enumerate(zip(readings, loaded, hashes, strict=True))
    ]
    embeddings = None
    if told is not None:
        embeddings = VectorsRecord(
            **told, path=without_home(config.folds.embeddings or ""), sha256=vectors
        )
    record = BattlesRecord(
        key=fingerprint(made_by),
        made_by=made_by,
        data=fingerprint([VERSION, settings, vectors, content]),
        settings=settings,
        files=files,
        sources=tuple(sources),
        embeddings=embeddings,
    )
    record.write(run / BATTLES_RECORD)
    return True


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
    return {s.name: _hash_file(s.labels, "labels") for s in config.sources if s.labels is not None}


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
    return _hash_loaded(_load(reading, ties))


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


def read_battles(run: Path) -> tuple[pl.DataFrame, str]:
    """Read the prepared battles and the key that names them.

    Returns
    -------
    tuple[pl.DataFrame, str]
        ``BATTLE_SCHEMA`` and 64 hex digits.

    Raises
    ------
    ArtifactError
        ``prepare`` has not been run, or its files are damaged.
    """
    return _read(run, BATTLES), read_summary(run).data


def read_clusters(run: Path) -> pl.DataFrame:
    """Read ``id``, ``cluster`` of every battle; errors as ``read_battles``."""
    return _read(run, CLUSTERS)


def read_pairs(run: Path) -> pl.DataFrame:
    """Read the verified duplicate pairs; errors as ``read_battles``."""
    return _read(run, DUPLICATES)


def read_stored_corrections(run: Path) -> pl.DataFrame | None:
    """Read the labels that training takes in place of others: ``CORRECTION_SCHEMA``, or None.

    Raises
    ------
    ArtifactError
        As ``read_battles``.
    """
    return _read(run, CORRECTIONS) if CORRECTIONS in read_summary(run).files else None


def read_metadata(run: Path) -> pl.DataFrame:
    """Read ``id`` and what the files say beside the battles; errors as ``read_battles``."""
    return _read(run, METADATA)


def read_summary(run: Path) -> BattlesRecord:
    """Read what ``prepare`` wrote; errors as ``read_battles``."""
    if not os.path.lexists(run / BATTLES_RECORD):
        raise ArtifactError("the battles have not been prepared", where=str(run), hint=_HINT)
    summary = read_checksummed(run / BATTLES_RECORD, hint=f"{_HINT} again")
    version = summary.get("made_by", {}).get("version")
    if version != VERSION:
        raise ArtifactError(
            "the battles were prepared by another version of the toolkit",
            where=str(run / BATTLES_RECORD),
            hint=f"{_HINT} again, with this version",
        )
    return BattlesRecord.validated(summary, run / BATTLES_RECORD, f"{_HINT} again")


def _read(run: Path, name: str) -> pl.DataFrame:
    path, hint = run / name, f"{_HINT} again"
    if not _holds(path, read_summary(run).files[name]):
        raise ArtifactError(
            "a file of the run is missing or not what was written", where=str(path), hint=hint
        )
    return read_table(path, hint=hint)


def _why_again(run: Path, made_by: dict[str, Any]) -> str | None:
    """Say why battles are made anew: None where they are there, empty where nothing was."""
    if not os.path.lexists(run / BATTLES_RECORD):
        return ""
    try:
        summary = read_summary(run)
    except ArtifactError as error:
        return f"{error.message} ({error.where})"
    if summary.key != fingerprint(made_by):
        return "; ".join(_told_changes(summary, made_by))
    damaged = [n for n, digest in summary.files.items() if not _holds(run / n, digest)]
    if damaged:
        return f"missing, or not what was written: {', '.join(damaged)}"
    return None


def _told_changes(summary: BattlesRecord, made_by: dict[str, Any]) -> Iterator[str]:
    """Say in what battles were made otherwise than they would be now."""
    before = summary.made_by
    names = [source.name for source in summary.sources]
    if len(names) == len(made_by["loaded_by"]):
        for name, then, now in zip(names, before["loaded_by"], made_by["loaded_by"], strict=True):
            if then and now and then != now:
                yield f"the loader of {name}: {told_difference(then, now)}"
    kinds = {
        "settings": "sources or settings of the config have changed",
        "files": "a file has changed",
        "tables": "what a loader reads has changed",
        "embeddings": "the vectors have changed",
        "labels": "a list of labels has changed",
    }
    yield from (told for name, told in kinds.items() if before.get(name) != made_by[name])


def _holds(path: Path, digest: str) -> bool:
    try:
        return hash_file(path) == digest
    except OSError:
        return False


def embeddings_of(folds: Folds) -> Embeddings | None:
    """Read the vectors that a config names; errors as ``read_embeddings``."""
    if folds.embeddings is None:
        return None
    return read_embeddings(Path(folds.embeddings), folds.embedding_threshold)


def _write_tables(
    run: Path,
    battles: pl.DataFrame,
    metadata: pl.DataFrame,
    corrections: pl.DataFrame | None,
    folds: Folds,
) -> tuple[dict[str, str], dict[str, int] | None, list[str]]:
    """Write battles, clusters, pairs, and corrections where there are any.

    Returns
    -------
    tuple
        The hash of each file; what vectors told; digests of the others by content.
    """
    embeddings = embeddings_of(folds)
    found = find_duplicates(
        battles, threshold=folds.near_duplicate_threshold, embeddings=embeddings
    )
    release_memory()
    tables = {
        BATTLES: battles,
        CLUSTERS: found.clusters,
        DUPLICATES: found.pairs,
        METADATA: metadata,
    }
    if corrections is not None:
        tables[CORRECTIONS] = corrections
    for name, frame in tables.items():
        write_table(run / name, frame)
    told = None
    if embeddings is not None:
        told = _told_by(embeddings, battles["id"], found.pairs, folds)
    files = {name: hash_file(run / name) for name in tables}
    apart = [] if corrections is None else [_hash_rows(corrections)]
    return files, told, [_hash_rows(battles), _hash_rows(found.clusters), *apart]


def _told_by(
    embeddings: Embeddings, ids: pl.Series, pairs: pl.DataFrame, folds: Folds
) -> dict[str, int]:
    """Count the battles with and without a vector, the vectors of no battle, and the pairs."""
    there = len(embeddings.rows(ids)[0])
    if not there:
        raise DataError(
            "no vector has the id of a battle",
            where=str(folds.embeddings),
            hint=f'ids are those of the run, with the id_prefix of the source, such as "{ids[0]}"'
            if len(ids)
            else None,
        )
    return {
        "with_vector": there,
        "without_vector": len(ids) - there,
        "unknown_ids": len(embeddings.ids) - there,
        "pairs": int((pairs["kind"] == PARAPHRASE).sum()),
    }


def _is_file(reading: Reading) -> bool:
    """Say whether the content of a file names a reading; without a loader nothing else can."""
    return reading.loader is None or os.path.isfile(reading.named())  # noqa: PTH113 - never raises


def _loaded_by(reading: Reading) -> dict[str, Any] | None:
    if not reading.loader:
        return None
    return with_secrets(get_manager().loaders.entry(reading.loader).code(), reading.options)


def _hash_source(reading: Reading) -> str:
    try:
        return hash_source(reading)
    except OSError as error:
        raise _unreadable(error, str(error.filename or reading.named()), "path") from error


def _hash_file(path: str, key: str) -> str:
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


def _hash_loaded(loaded: Loaded) -> str:
    return fingerprint([len(loaded.bad_rows), _hash_rows(loaded.battles)])


def _hash_rows(frame: pl.DataFrame) -> str:
    digest = hashlib.sha256()
    for rows in frame.iter_slices(_ROWS_AT_A_TIME):
        digest.update(rows.write_ndjson().encode())
    return digest.hexdigest()


def load_all(config: Config) -> pl.DataFrame:
    """Load all battles that a config names, ``BATTLE_SCHEMA``, and write nothing.

    Raises
    ------
    DataError
        A file is missing or has rows that cannot be used.
    """
    return combine([_load(reading, config.task.ties) for reading in config.readings()])


def _load(reading: Reading, ties: bool) -> Loaded:
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


def _one_sided(reading: Reading, battles: pl.DataFrame) -> list[str]:
    """Warn of a source in which a side never wins: "chosen" is A, say, and "rejected" is B."""
    masses = dict(zip("AB", battles.select(pl.col(LABEL_COLUMNS).sum()).row(0)[:2], strict=True))
    never = [side for side, mass in masses.items() if not mass]
    if len(battles) < SEVERAL or not any(masses.values()) or not never:
        return []
    return [
        f"in source {getattr(reading, 'name', TEST_SOURCE)} {never[0]} never wins in "
        f"{len(battles):,} battles: a model would learn that from the side alone, and an offset "
        'would take it for all that there is; sides = "hash" in the source draws them by its ids'
    ]


def _shares_before(loaded: Loaded) -> tuple[float, ...] | None:
    """Give the label shares with the rows that were left out, as far as these have labels."""
    lost = [row.label for row in loaded.bad_rows if row.label is not None]
    kept = loaded.battles.select(pl.col(LABEL_COLUMNS).sum()).row(0)
    masses = [mass + sum(label[i] for label in lost) for i, mass in enumerate(kept)]
    total = sum(masses)
    return tuple(mass / total for mass in masses) if total else None


def _describe(
    reading: Reading,
    loaded: Loaded,
    file_hash: str | None,
    table: str | None,
    corrections: pl.DataFrame | None,
) -> SourceRecord:
    battles, name = loaded.battles, getattr(reading, "name", TEST_SOURCE)
    return SourceRecord(
        name=name,
        corrected=counts_of(corrections, name),
        role=getattr(reading, "role", TEST_ROLE),
        path=without_home(mask_text(reading.named())),
        sha256=file_hash,
        table=table,
        rows=len(battles),
        label_shares=battles.select(pl.col(LABEL_COLUMNS).mean()).row(0),
        label_shares_before=_shares_before(loaded),
        multi_turn_rows=int((battles["prompt"].list.len() > 1).sum()),
        read_as=loaded.read_as,
        notes=loaded.notes,
        dropped_rows=len(loaded.bad_rows),
        dropped_for=kinds_of(loaded.bad_rows),
        warnings=tuple(_one_sided(reading, battles)),
        bad_rows=tuple(
            BadRow(file=row.file, line=row.line, reason=row.reason)
            for row in loaded.bad_rows[:_SHOWN_BAD_ROWS]
        ),
    )
