"""Files of a run, read without belief: one that is damaged counts as not there, and is named."""

from __future__ import annotations

import time
import tomllib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError
from ensemble.run_dir.kept_config import is_not_as_written
from ensemble.run_dir.layout import CONFIG, FOLDS_RECORD, JOBS
from ensemble.storage.directories import MANIFEST
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import read_checksummed, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class RunFiles:
    """Reads the sealed files of a run; one that is damaged counts as not there, and is named.

    Attributes
    ----------
    damaged
        Their names, relative to the run.
    config
        The config that the run keeps; None where it is not there, or damaged.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.damaged = run, set[str]()
        self.config = self._config()

    def read(self, *names: str, exact: bool = False) -> dict[str, Any]:
        """Read a sealed file; nothing where it is not there, or damaged.

        With ``exact`` it has to be the same to the byte, as where its hash is compared.
        """
        path = self.run.joinpath(*names)
        with suppress(OSError):
            if path.exists():
                try:
                    return read_checksummed(path, hint="", exact=exact)
                except ArtifactError:
                    if path.exists():  # and not put away by whoever writes it anew
                        self.damaged.add(path.relative_to(self.run).as_posix())
        return {}

    def manifest(self, *names: str, exact: bool = False) -> dict[str, Any]:
        """Read the manifest of a directory, which is written last: one without it is damaged."""
        directory = self.run.joinpath(*names)
        if _lacks_manifest(directory):
            self.damaged.add((directory / MANIFEST).relative_to(self.run).as_posix())
        return self.read(*names, MANIFEST, exact=exact)

    def _config(self) -> dict[str, Any] | None:
        """Read the config; that it is gone is damage where there is what was made by one."""
        path = self.run / CONFIG
        with suppress(OSError, ValueError, RecursionError):
            if path.is_file() and not is_not_as_written(path):  # a pipe may never end
                return tomllib.loads(path.read_text(encoding="utf-8"))
        if path.exists() or any((self.run / name).exists() for name in (FOLDS_RECORD, JOBS)):
            self.damaged.add(CONFIG)
        return None

    def of_manifest(self, manifest: Mapping[str, Any], *names: str) -> dict[str, Any]:
        """Read a file that has no seal, and whose hash the manifest beside it holds."""
        path = self.run.joinpath(*names)
        with suppress(OSError, AttributeError):
            if hash_file(path) == manifest.get("files", {}).get(names[-1]):
                return read_unsealed(path)
        if manifest:
            self.damaged.add(path.relative_to(self.run).as_posix())
        return {}


def _lacks_manifest(directory: Path) -> bool:
    """Say whether a directory has no manifest; one that is put away for a new one just now has."""
    with suppress(OSError):
        before = directory.stat().st_ino
        return not (directory / MANIFEST).exists() and directory.stat().st_ino == before
    return False


def read_unsealed(path: Path) -> dict[str, Any]:
    """Read an object of JSON; nothing where it is not there, half written or something else."""
    with suppress(ArtifactError):
        content = read_json(path)
        if isinstance(content, dict):
            return content
    return {}


def age_of(path: Path) -> float:
    """Seconds since a file was written; 0 where a clock has gone back."""
    with suppress(OSError):
        return max(0.0, time.time() - path.stat().st_mtime)
    return 0.0
