"""What a node has of the files of jobs: each under its SHA-256, and laid out where jobs look.

::

    DEPOT/
      blobs/<sha256>               read-only, linked to from everywhere else
      trees/<digest>/              directories that parameters name, and sources of plugins
      rows/<data>/<plugin>/        values of single rows, for all jobs of the same battles
      work/<host>-<process>-<hex>/ the run that a worker fits in

The depot lies in the user's cache (``XDG_CACHE_HOME``). Nodes that share it lose nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ensemble.errors import ArtifactError, EnsembleError
from ensemble.oof.cluster.shipment import NODE, tree_name
from ensemble.oof.kept_fit import link
from ensemble.storage.atomic import remove, temp_path
from ensemble.storage.hashing import hash_file
from ensemble.storage.user_cache import user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Files = Mapping[str, str]
    Parts = Mapping[str, list[Any]]

_DAY = 86_400.0
_KEPT_DAYS = 7
"""Days after which a file that no job has asked for is removed."""


def depot_place() -> Path:
    """Say where this node keeps what jobs need."""
    return user_cache("cluster")


class Depot:
    """The files of jobs on this node.

    Parameters
    ----------
    root
        A directory; it is made.
    fetch
        Gives the bytes of a part.
    """

    def __init__(self, root: Path, fetch: Callable[[Any], bytes]) -> None:
        self.root, self._fetch = root, fetch
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("blobs", "trees", "rows", "work"):
            (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    def tree(self, files: Files, parts: Parts) -> Path:
        """Lay out a directory under the name of its content, unless it is there."""
        place = self.root / "trees" / tree_name(files)
        if not place.is_dir():
            with temp_path(place) as temporary, suppress(OSError):
                temporary.mkdir()
                self.lay(temporary, files, parts)
                temporary.rename(place)  # refused where another worker was faster
        self.lay(place, files, parts)
        _touch(place)
        return place

    def lay(self, directory: Path, files: Files, parts: Parts, *, writable: bool = False) -> None:
        """Fill a directory with files; what is there as it should be stays.

        Parameters
        ----------
        directory
            Where.
        files
            Relative name to SHA-256.
        parts
            By what to ask for the parts of each.
        writable
            Copy them, for a job to change.
        """
        for name, digest in files.items():
            target = directory / inside(name)
            if target.is_file() and hash_file(target) == digest:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            blob = self._blob(digest, parts)
            remove(target)
            if writable:
                shutil.copyfile(blob, target)
            else:
                link(str(blob), str(target))

    def resolve(self, value: Any, run: Path) -> Any:
        """Give nested tables and lists with the paths that only a node knows as they are here."""
        if isinstance(value, str) and value.startswith(NODE):
            rest = value.removeprefix(NODE)
            return str(run) if rest == "run" else str(self.root / rest)
        if isinstance(value, dict):
            return {key: self.resolve(item, run) for key, item in value.items()}
        return [self.resolve(item, run) for item in value] if isinstance(value, list) else value

    def new_run(self) -> Path:
        """Make a directory for a run, and remove those of workers that are gone."""
        host = socket.gethostname()
        for place in (self.root / "work").glob(f"{host}-*"):
            if not _is_alive(place.name.removeprefix(f"{host}-").partition("-")[0]):
                remove(place)
        self._forget_old()
        run = self.root / "work" / f"{host}-{os.getpid()}-{uuid4().hex[:8]}" / "run"
        run.mkdir(parents=True)
        return run

    def _blob(self, digest: str, parts: Parts) -> Path:
        place = self.root / "blobs" / digest
        if place.is_file() and hash_file(place) == digest:
            _touch(place)
            return place
        found = hashlib.sha256()
        with temp_path(place) as temporary:
            with temporary.open("wb") as file:
                for part in parts[digest]:
                    content = self._fetch(part)
                    found.update(content)
                    file.write(content)
            if found.hexdigest() != digest:
                raise EnsembleError("a file came to the node damaged", where=str(place))
            temporary.chmod(0o400)
            temporary.replace(place)
        return place

    def _forget_old(self) -> None:
        """Remove what no job has asked for in days."""
        oldest = time.time() - _KEPT_DAYS * _DAY
        for kind in ("blobs", "trees", "rows"):
            for place in (self.root / kind).iterdir():
                with suppress(OSError):  # another worker was faster
                    if place.stat().st_mtime < oldest:
                        remove(place)


def inside(name: str) -> Path:
    """Give a relative path that stays in its directory.

    Raises
    ------
    ArtifactError
        It does not.
    """
    path = Path(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name:
        raise ArtifactError(f"{name!r:.200} is no path inside a directory")
    return path


def _touch(place: Path) -> None:
    """Note that a file or directory is in use; rarely, since that makes it be hashed again."""
    with suppress(OSError):
        if place.stat().st_mtime < time.time() - _DAY:
            os.utime(place)


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True
