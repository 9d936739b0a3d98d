"""What jobs need on a node, by content: each file is put into the cluster once, whoever asks.

A node has no disk in common with this machine. It gets a file under its SHA-256, in parts, and
lays it out where the job looks for it; what it has already does not travel again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from ensemble.storage.hashing import files_below, fingerprint, hash_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    Files = Mapping[str, str]

PART = 32 << 20
"""Bytes that travel as one object."""
NODE = "ensemble-node:"
"""What a path begins with that only the node knows; the rest is taken from the node's depot."""


def tree_name(files: Files) -> str:
    """Name a directory by its files and their content: 64 hex digits."""
    return fingerprint(dict(files))


def tree_place(files: Files, inside: str) -> str:
    """Give the path, on whatever node, of a file or directory of a tree."""
    return f"{NODE}trees/{tree_name(files)}/{inside}"


class Shipment:
    """The files of jobs, in the cluster.

    Parameters
    ----------
    put
        Puts bytes into the cluster, and gives what they are asked for by.
    """

    def __init__(self, put: Callable[[bytes], Any]) -> None:
        self._put = put
        self._parts: dict[str, list[Any]] = {}

    def file(self, path: Path) -> str:
        """Put a file into the cluster; gives its SHA-256."""
        known = hash_file(path)
        if known in self._parts:
            return known
        digest, parts = hashlib.sha256(), []
        with path.open("rb") as file:
            while part := file.read(PART):
                digest.update(part)
                parts.append(self._put(part))
        return self._remember(digest.hexdigest(), parts)

    def data(self, content: bytes) -> str:
        """Put bytes into the cluster as a file; gives their SHA-256."""
        digest = hashlib.sha256(content).hexdigest()
        if digest in self._parts:
            return digest
        parts = [self._put(content[at : at + PART]) for at in range(0, len(content), PART)]
        return self._remember(digest, parts)

    def directory(self, place: Path, prefix: str = "") -> dict[str, str]:
        """Put all files of a directory into the cluster; gives names, after a prefix, to SHA-256.

        What is being written just now is left out.
        """
        names = (name for name in files_below(place) if ".tmp-" not in name)
        return {f"{prefix}{name}": self.file(place / name) for name in names}

    def parts(self, digests: Iterable[str]) -> dict[str, list[Any]]:
        """Give by what the parts of files are asked for."""
        return {digest: self._parts[digest] for digest in digests}

    def _remember(self, digest: str, parts: list[Any]) -> str:
        self._parts.setdefault(digest, parts)
        return digest
