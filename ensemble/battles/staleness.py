"""Whether prepared battles are still those that the config describes and the files hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.battles.prepare_key import hash_table, prepared_by, prepared_settings
from ensemble.battles.prepared import read_summary
from ensemble.battles.source_files import hash_source
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.plugin.code import as_known
from ensemble.run_dir.layout import BATTLES_RECORD
from ensemble.storage.hashing import fingerprint, hash_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.config.settings import Config, Reading
    from ensemble.run_dir.battles_record import BattlesRecord

VECTORS = "folds.embeddings"
"""Names the file of vectors among the sources."""
_HINT = "run `ensemble prepare CONFIG` again"


def check_settings(config: Config) -> None:
    """Refuse prepared battles that the config does not describe; no source need be there.

    Raises
    ------
    ArtifactError
        ``prepare`` has not been run, or ran with other sources, with other settings of theirs, or
        with another threshold.
    """
    run = Path(config.run_dir)
    summary = read_summary(run)
    are_all = len(summary.sources) == len([*config.readings()])
    if not are_all or summary.settings != prepared_settings(config):
        raise ArtifactError(
            "the battles were prepared with other sources or settings than the config now says",
            where=str(run / BATTLES_RECORD),
            hint=_HINT,
        )


def check_sources(config: Config) -> None:
    """Refuse prepared battles whose files have changed since, too.

    A file that is not there has not changed: a run directory goes where its sources do not.

    Raises
    ------
    ArtifactError
        A file has another content than was prepared; or as ``check_settings``.
    """
    check_settings(config)
    prepared = read_summary(Path(config.run_dir)).sources
    for reading, source in zip(config.readings(), prepared, strict=True):
        known = source.sha256
        now = _content_of(reading, config, is_file=True) if known else None
        if now is not None and now != known:
            raise ArtifactError(
                f'the file of source "{source.name}" is not the one that was prepared',
                where=reading.named(),
                hint=f"{_HINT}, or put the former file back",
            )
    summary = read_summary(Path(config.run_dir))
    for what, path, known in _beside_sources(config, summary):
        if _changed(path, known):
            told = "vectors" if what == VECTORS else what
            raise ArtifactError(
                f"the file of {told} is not the one that was prepared",
                where=path,
                hint=f"{_HINT}, or put the former file back",
            )


def compare_sources(config: Config) -> tuple[list[str], list[str]]:
    """Hold the sources and the test file, as they are now, against what was prepared from them.

    Returns
    -------
    tuple[list[str], list[str]]
        Names of the sources whose content is another, and of those that are not here: a run
        directory goes where its sources do not. What a loader reads that is no file is loaded
        again, as ``prepare`` does; where that fails, it is not here either. So are the file of
        vectors and lists of labels.

    Raises
    ------
    ArtifactError
        As ``check_settings``; or the same content is no longer what the battles are known by,
        since this version of the toolkit, or of a loader's package, is another.
    """
    check_settings(config)
    summary = read_summary(Path(config.run_dir))
    changed, absent = [], []
    for reading, source in zip(config.readings(), summary.sources, strict=True):
        known = source.sha256 or source.table
        now = _content_of(reading, config, is_file=source.sha256 is not None)
        if now is None:
            absent.append(source.name)
        elif now != known:
            changed.append(source.name)
    for what, path, digest in _beside_sources(config, summary):
        different = _changed(path, digest)
        if different is not False:
            (absent if different is None else changed).append(what)
    _check_key(config, summary)
    return changed, absent


def _beside_sources(
    config: Config, summary: BattlesRecord
) -> Iterator[tuple[str, str, str | None]]:
    """Give the files that battles rest on beside their sources: name, path, hash when prepared."""
    if config.folds.embeddings:
        yield VECTORS, config.folds.embeddings, _vectors_of(summary)
    lists = _lists_of(summary)
    for source in config.sources:
        if source.labels is not None:
            yield f"labels of {source.name}", source.labels, lists.get(source.name)


def _changed(path: str, known: str | None) -> bool | None:
    """Say whether a file is another than was prepared; None where it is not here."""
    try:
        return hash_file(Path(path)) != known
    except OSError:
        return None


def _lists_of(summary: BattlesRecord) -> dict[str, str]:
    return dict(summary.made_by.get("labels", {}))


def _content_of(reading: Reading, config: Config, *, is_file: bool) -> str | None:
    """Name the content of a reading as ``prepare`` does; None where it is not here."""
    try:
        return hash_source(reading) if is_file else hash_table(reading, ties=config.task.ties)
    except (EnsembleError, OSError, ValueError):
        return None


def _vectors_of(summary: BattlesRecord) -> str | None:
    return summary.embeddings.sha256 if summary.embeddings else None


def _check_key(config: Config, summary: BattlesRecord) -> None:
    sources = summary.sources
    hashes = [source.sha256 for source in sources]
    tables = {at: source.table for at, source in enumerate(sources) if source.table}
    try:
        made_by = prepared_by(config, hashes, tables, _vectors_of(summary), _lists_of(summary))
    except EnsembleError as error:  # a loader's plugin is not installed here
        raise ArtifactError(error.message, where=error.where, hint=error.hint) from error
    stored = summary.made_by["loaded_by"]
    if len(stored) == len(made_by["loaded_by"]):
        both = zip(made_by["loaded_by"], stored, strict=True)
        made_by["loaded_by"] = [now and as_known(now, then) for now, then in both]
    if fingerprint(made_by) != summary.key:
        raise ArtifactError(
            "the battles were prepared by another version of the toolkit or of a loader's package",
            where=str(Path(config.run_dir) / BATTLES_RECORD),
            hint=_HINT,
        )
