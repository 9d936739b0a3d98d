"""Text and JSON on disk: written whole or not at all, and sealed where readers must trust it."""

from __future__ import annotations

import errno
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError
from ensemble.storage.atomic import atomic_path
from ensemble.storage.hashing import FileVersion, fingerprint, settled_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SEAL = "content"
_CHECKED: dict[Path, FileVersion] = {}
"""Files whose seal this process has checked, as they were then."""


def write_text(target: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8", newline="\n")


def write_json(target: Path, value: object) -> None:
    """Write JSON atomically, indented, without NaN."""
    write_text(target, _written(value))


def _written(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises
    ------
    ArtifactError
        The file is missing, cannot be read, or is not JSON.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would have its reader wait for ever
            raise OSError(errno.EINVAL, "it is no plain file")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            "a stored file is missing",
            where=str(path),
            hint="where it is of a run, `ensemble run CONFIG` makes it anew",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"a stored file cannot be read: {error}",
            where=str(path),
            hint="delete it; where it is of a run, `ensemble run CONFIG` then makes it anew",
        ) from error


def write_checksummed(target: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with the fingerprint of all of it, for ``read_checksummed`` to check.

    A former seal in it is replaced.
    """
    content = {name: item for name, item in value.items() if name != _SEAL}
    write_json(target, {**content, _SEAL: fingerprint(content)})


def read_checksummed(path: Path, *, hint: str, exact: bool = True) -> dict[str, Any]:
    """Read back what ``write_checksummed`` was given, so that no reader need doubt a key of it.

    Parameters
    ----------
    path
        The file.
    hint
        What makes it anew.
    exact
        Whether bytes that mean nothing have to be those that were written; without them hundreds
        of files are read in no time.

    Raises
    ------
    ArtifactError
        The file is missing, cannot be read, or is not what was written.
    """
    try:
        version = _version_of(path) if exact else None
        value = read_json(path)
        if version is None or _CHECKED.get(path) != version:
            _check_seal(path, value, exact=exact)
        if version is not None:
            _CHECKED[path] = version
    except ArtifactError as error:
        raise ArtifactError(error.message, where=str(path), hint=hint) from error
    del value[_SEAL]
    return dict(value)


def _version_of(path: Path) -> FileVersion | None:
    try:
        return settled_version(path)
    except OSError:  # reading it says why
        return None


def _check_seal(path: Path, value: Any, *, exact: bool) -> None:
    """See that not a byte differs from what was written, be it, where exact, one of no meaning."""
    # NaN and lone surrogates have no fingerprint, and were not written by us: ValueError.
    with suppress(ValueError, OSError):
        same = isinstance(value, dict)
        same = same and (not exact or path.read_bytes() == _written(value).encode())
        if same and value.get(_SEAL) == fingerprint({k: v for k, v in value.items() if k != _SEAL}):
            return
    raise ArtifactError("a stored file is damaged: it is not what was written")
