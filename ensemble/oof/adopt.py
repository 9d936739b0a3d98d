"""A fold that was fitted elsewhere takes its place in a run, once it is what it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.held_out import HeldOut
from ensemble.errors import ArtifactError
from ensemble.run_dir.fit_manifest import FitManifest
from ensemble.storage.atomic import flush, replace_directory, wrap_os_errors
from ensemble.storage.directories import MANIFEST, read_manifest
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.store import FoldStore


def refuse_other_fit(
    directory: Path, store: FoldStore, learner: str, fold: FoldLike, key: str
) -> dict[str, Any]:
    """Refuse a fold that is damaged, or another than was asked for.

    Parameters
    ----------
    directory
        Where it lies: beside its place, or in another run.
    store
        Of the run that it is for.
    learner, fold
        What it should be of.
    key
        The key that it should have been made under.

    Returns
    -------
    dict
        Its manifest.

    Raises
    ------
    ArtifactError
        Its hashes do not hold, or it is of something else.
    """
    manifest = read_manifest(directory)
    FitManifest.validated(manifest, directory / MANIFEST)
    wanted = {
        "plan": store.plan,
        "data": store.data,
        "learner": learner,
        "fold": HeldOut.of(fold).to_json(),
        "key": key,
    }
    for name, value in wanted.items():
        if manifest.get(name) != value:
            raise ArtifactError(f"it is of another {name}", where=str(directory))
    if fingerprint(manifest.get("key_parts")) != key:
        raise ArtifactError("its manifest does not hold its own key", where=str(directory))
    return manifest


def adopt(stage: Path, place: Path) -> None:
    """Move a directory that is whole, and beside its place, into it; a former one is replaced.

    Raises
    ------
    EnsembleError
        The disk cannot be written.
    """
    with wrap_os_errors(place):
        for path in sorted(stage.rglob("*")):
            if path.is_file():
                flush(path)
        for path in (stage, *(one for one in stage.rglob("*") if one.is_dir())):
            flush(path)
        replace_directory(stage, place)
