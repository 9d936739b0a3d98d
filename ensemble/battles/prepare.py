"""The first stage: sources in, one table of battles out, with the clusters of near duplicates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.corrections import corrections_of
from ensemble.battles.duplicates import find_duplicates
from ensemble.battles.embeddings import PARAPHRASE, read_embeddings
from ensemble.battles.load_reading import load_reading
from ensemble.battles.loading import combine
from ensemble.battles.metadata import combine_metadata
from ensemble.battles.prepare_key import (
    hash_lists,
    hash_loaded,
    hash_named,
    hash_reading,
    hash_rows,
    is_file,
    prepared_by,
    prepared_settings,
)
from ensemble.battles.prepare_record import describe_source
from ensemble.battles.prepared import VERSION, holds, read_summary
from ensemble.battles.source_files import source_files
from ensemble.errors import ArtifactError, DataError
from ensemble.memory import release_memory
from ensemble.plugin.code import told_difference
from ensemble.redact import without_home
from ensemble.run_dir.battles_record import BattlesRecord, VectorsRecord
from ensemble.run_dir.layout import (
    BATTLES,
    BATTLES_RECORD,
    CLUSTERS,
    CORRECTIONS,
    DUPLICATES,
    METADATA,
)
from ensemble.run_dir.tables import write_table
from ensemble.storage.hashing import fingerprint, hash_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl

    from ensemble.battles.embeddings import Embeddings
    from ensemble.config.settings import Config, Folds


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
    early = {at: load_reading(item, ties) for at, item in enumerate(readings) if not is_file(item)}
    hashes = [None if at in early else hash_reading(item) for at, item in enumerate(readings)]
    tables = {place: hash_loaded(loaded) for place, loaded in early.items()}
    vectors = config.folds.embeddings and hash_named(config.folds.embeddings, "folds.embeddings")
    lists = hash_lists(config)
    made_by = prepared_by(config, hashes, tables, vectors, lists)
    why = _why_again(run, made_by)
    if why is None:
        return False
    if why:
        tell(why)
    loaded = [early.get(place) or load_reading(item, ties) for place, item in enumerate(readings)]
    battles = combine(loaded)
    corrections = corrections_of(config, battles)
    files, told, content = _write_tables(
        run, battles, combine_metadata([one.metadata for one in loaded]), corrections, config.folds
    )
    sources = [
        describe_source(reading, rows, digest, tables.get(place), corrections)
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


def _why_again(run: Path, made_by: dict[str, Any]) -> str | None:
    """Say why battles are made anew: None where they are there, empty where nothing was."""
    if not any(os.path.lexists(run / name) for name in (BATTLES_RECORD, BATTLES)):
        return ""
    try:
        summary = read_summary(run)
    except ArtifactError as error:
        return f"{error.message} ({error.where})"
    if summary.key != fingerprint(made_by):
        return "; ".join(_told_changes(summary, made_by))
    damaged = [n for n, digest in summary.files.items() if not holds(run / n, digest)]
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
    apart = [] if corrections is None else [hash_rows(corrections)]
    return files, told, [hash_rows(battles), hash_rows(found.clusters), *apart]


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
