"""The source of plugins that are files, as a run keeps it: each version under its digest.

A run that is asked later, elsewhere, or after the file has changed, asks the code that made it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.config.plugin_files import split_reference
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.run_dir.layout import CONFIG, PLUGINS
from ensemble.storage.directories import MANIFEST, atomic_directory, read_manifest

if TYPE_CHECKING:
    from ensemble.plugin.snapshots import Snapshot


def keep_source(run: Path, snapshot: Snapshot) -> Path:
    """Write a plugin's source into a run, where it is not there yet.

    Returns
    -------
    Path
        The copy of the plugin's own file.

    Raises
    ------
    EnsembleError
        It cannot be written.
    """
    target = run / PLUGINS / snapshot.digest
    origin, place = snapshot.paths[snapshot.main], run / kept_place(snapshot)
    if origin == place or _is_whole(target):
        return place
    manifest = {"file": origin.relative_to(snapshot.root).as_posix(), "origin": str(origin)}
    with atomic_directory(target, manifest) as directory:
        for name, path in snapshot.paths.items():
            copy = directory / path.relative_to(snapshot.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(snapshot.texts[name])
    return place


def kept_place(snapshot: Snapshot) -> str:
    """Say where in a run a plugin's own file is kept."""
    inside = snapshot.paths[snapshot.main].relative_to(snapshot.root).as_posix()
    return f"{PLUGINS}/{snapshot.digest}/{inside}"


def kept_plugin(run: Path, source: object) -> str | None:
    """Give the plugin that a run keeps the source of, as ``"file.py:Name"`` with its path.

    Parameters
    ----------
    run
        The run directory.
    source
        What ``source_place`` said; None, and all that is not kept in the run, gives None.
    """
    found = split_reference(source) if isinstance(source, str) else None
    if found is None or found[0].parts[0] != PLUGINS or ".." in found[0].parts:
        return None
    path = (run / found[0]).resolve()
    return f"{path}:{found[1]}" if path.is_file() else None


def _kept_directory(path: Path) -> Path | None:
    """Find the directory that a copy in a run is of; None for a file of any other kind."""
    for directory in path.parents:
        if directory.parent.name == PLUGINS and _is_of_run(directory):
            return directory
    return None


def _is_of_run(directory: Path) -> bool:
    """Say whether a directory is a copy of a run, even where its manifest is gone."""
    return re.fullmatch("[0-9a-f]{16}|[0-9a-f]{64}", directory.name) is not None and (
        (directory / MANIFEST).is_file() or (directory.parent.parent / CONFIG).is_file()
    )


def origin_of(path: Path, digest: str) -> Path | None:
    """Say which file a copy in a run was made from; None for a file that is no copy.

    Parameters
    ----------
    path
        The file.
    digest
        Of what it holds now, with what it imports.

    Raises
    ------
    ArtifactError
        It is no longer what was copied.
    """
    directory = _kept_directory(path)
    if directory is None:
        return None
    manifest = read_manifest(directory)
    if directory.name != digest:
        raise ArtifactError(
            "the source that the run has kept is no longer what was copied",
            where=str(path),
            hint="delete its directory, and name your own file in the config",
        )
    return Path(manifest["origin"])


def _is_whole(directory: Path) -> bool:
    try:
        read_manifest(directory)
    except EnsembleError:
        return False
    return True
