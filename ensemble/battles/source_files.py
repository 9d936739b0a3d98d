"""A source as a config names it: its files, their content, and its battles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.files.hub import hub_files
from ensemble.battles.files.paths import files_of
from ensemble.battles.formats.layout import FormatOptions
from ensemble.battles.loading import load_battles
from ensemble.battles.schema import TEST_ROLE
from ensemble.config.plugin_files import short_name
from ensemble.config.secrets import resolved_secrets
from ensemble.config.settings import Source
from ensemble.plugin.manager import get_manager
from ensemble.storage.hashing import fingerprint, hash_file

if TYPE_CHECKING:
    from ensemble.battles.loading import Loaded
    from ensemble.config.settings import Reading


def source_files(reading: Reading) -> tuple[Path, ...]:
    """List the files of a source that no loader reads; errors as ``files_of`` and ``hub_files``."""
    if reading.hub is not None:
        return hub_files(reading.hub, reading.revision, reading.path)
    return files_of(reading.path)


def hash_source(reading: Reading) -> str:
    """Name the content of a source's files, 64 hex digits; errors as ``source_files``.

    Raises
    ------
    OSError
        A file is not there or cannot be read.
    """
    if reading.loader is not None:
        return hash_file(Path(reading.named()))
    hashes = [hash_file(file) for file in source_files(reading)]
    return hashes[0] if len(hashes) == 1 else fingerprint(hashes)


def load_source(
    reading: Reading, source: str, role: str, path: Path | None = None, **options: Any
) -> Loaded:
    """Load the battles of a source, or of another file in the way of it.

    Parameters
    ----------
    reading
        How it is read.
    source, role
        What its rows are recorded under.
    path
        A file in the place of its own; None reads its own.
    options
        Further ones of ``load_battles``.
    """
    place: Path | list[str] = Path(reading.named()) if path is None else path
    if path is None and reading.loader is None:
        files = source_files(reading)
        place = files[0] if len(files) == 1 else [str(file) for file in files]
    return load_battles(
        place,
        source=source,
        role=role,
        is_test=role == TEST_ROLE,
        text_format=reading.text_format,
        options=format_options(reading),
        loader=get_manager().loaders.get(reading.loader) if reading.loader else None,
        loader_options=resolved_secrets(reading.options, f"options of {reading.named()}"),
        loader_name=short_name(reading.loader or ""),
        **options,
    )


def format_options(reading: Reading) -> FormatOptions:
    """Give what a config says of the columns of a source."""
    return FormatOptions(
        format=reading.format,
        columns=reading.columns,
        winner=reading.winner,
        pairs=reading.pairs,
        tie_below=reading.tie_below,
        temperature=reading.temperature,
        score=reading.score,
        ranking=reading.ranking,
        make_ids=reading.make_ids,
        sides=reading.sides if isinstance(reading, Source) else "auto",
    )
