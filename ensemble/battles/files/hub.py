"""Files of a data set on the Hugging Face hub, or of what an earlier download has left here."""

from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.battles.files.paths import one_table
from ensemble.battles.files.suffixes import is_table_name
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence


def hub_files(name: str, revision: str | None, pattern: str | Sequence[str]) -> tuple[Path, ...]:
    """Fetch the files of a data set, and list those that make one table.

    Parameters
    ----------
    name
        ``owner/name`` of the data set.
    revision
        A branch, a tag or a commit; None is the main branch.
    pattern
        Which of its files, as ``data/train-*``; empty takes all tables.

    Raises
    ------
    DataError
        ``huggingface_hub`` is not installed; the data set cannot be reached and is not in the cache
        (``HF_HUB_OFFLINE`` is honored); its tables are several, or none matches.
    """
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    root = _snapshot(name, revision, [one for one in patterns if one])
    tables = sorted(file for file in root.rglob("*") if file.is_file() and is_table_name(file.name))
    chosen = [file for file in tables if _matches(file.relative_to(root).as_posix(), patterns)]
    where = f"hub data set {name}"
    if not chosen:
        listed = ", ".join(file.relative_to(root).as_posix() for file in tables[:10]) or "none"
        raise DataError("no file matches", where=where, hint=f"its tables here: {listed}")
    # A folder may hold the shards of several splits; only who writes a pattern has asked for them.
    asked = len(patterns) > 1 or any(mark in patterns[0] for mark in "*?[")
    return one_table(chosen, root, where, several=asked)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(not one or fnmatch(name, one) or name.startswith(f"{one}/") for one in patterns)


def _snapshot(name: str, revision: str | None, patterns: list[str]) -> Path:
    """Fetch what matches, or take what is in the cache where there is no network."""
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as error:
        raise DataError(
            "`hub` needs the package huggingface_hub",
            where=f"hub data set {name}",
            hint='pip install "preference-ensemble[hub]"',
        ) from error
    wanted = [*patterns, *(f"{one}/*" for one in patterns)] or None

    def take(*, local: bool) -> Path:
        return Path(
            snapshot_download(
                name,
                repo_type="dataset",
                revision=revision,
                allow_patterns=wanted,
                local_files_only=local,
            )
        )

    try:
        return take(local=constants.HF_HUB_OFFLINE)
    except Exception as error:  # of the hub's library, of its HTTP client, of the network
        with suppress(Exception):
            return take(local=True)
        raise DataError(
            f"the data set cannot be had: {str(error).splitlines()[0]}",
            where=f"hub data set {name}",
            hint="check name, revision and network; offline, it must be in the cache",
        ) from error
