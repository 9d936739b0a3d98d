"""Whether a stored fold is whole, and the origin by which what is made from it names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import MODEL, OOF
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.storage.directories import read_manifest
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def is_complete(directory: Path, key: str) -> bool:
    """Say whether a fold is there, whole, and made under this key."""
    return complete_origin(directory, key) is not None


def complete_origin(directory: Path, key: str) -> dict[str, str] | None:
    """Give the origin of a fold that is there, whole, and made under this key; else None.

    A soup is no longer whole where a fold that it is the mean of is not there, or another one.
    """
    try:
        manifest = read_manifest(directory)
    except ArtifactError:
        return None
    is_current = manifest.get("key") == key and not list(other_models(directory, manifest))
    return origin_of(manifest) if is_current else None


def origin_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Name a fold for what is made from it: ``key``, and ``oof``, the hash of its OOF logits.

    The key alone does not name the logits: not every learner gives the same ones twice.
    """
    return {"key": manifest["key"], "oof": manifest["files"][OOF]}


def model_origin(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Name a fold's model for what is made from it: its origin, and ``model``, of all its files."""
    files = {name: digest for name, digest in manifest["files"].items() if _is_of_model(name)}
    return origin_of(manifest) | {"model": fingerprint(files)}


def _is_of_model(name: str) -> bool:
    return name.partition("/")[0] == MODEL


def other_models(
    directory: Path, manifest: Mapping[str, Any], *, may_lack: bool = False
) -> Iterator[str]:
    """Name the folds of a soup whose models are not those that it is the mean of.

    Parameters
    ----------
    directory
        Of the soup, beside those of the folds; of other fits nothing is named.
    manifest
        Its manifest.
    may_lack
        Whether folds that are not there are passed over.
    """
    for name, origin in manifest.get("models", {}).items():
        try:
            if model_origin(peek_manifest(directory.parent / name)) != origin:
                yield name
        except (ArtifactError, LookupError, TypeError, AttributeError):
            if not may_lack or (directory.parent / name).exists():
                yield name
