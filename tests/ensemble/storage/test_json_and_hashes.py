from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble import errors
from ensemble.storage.atomic import atomic_path
from ensemble.storage.directories import MANIFEST, atomic_directory, read_manifest
from ensemble.storage.hashing import canonical_json, fingerprint, hash_file
from ensemble.storage.json_files import read_checksummed, read_json, write_checksummed, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_canonical_json_reads_back_and_ignores_the_order_of_keys(value: object) -> None:
    assert json.loads(canonical_json(value)) == value
    shuffled = json.loads(json.dumps(value), object_pairs_hook=lambda p: dict(reversed(p)))
    assert fingerprint(shuffled) == fingerprint(value)


def test_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


@given(st.dictionaries(st.text().filter(lambda key: key != "content"), JSON, max_size=3))
def test_sealed_json_reads_back(value: dict[str, Any]) -> None:
    with TemporaryDirectory() as place:
        path = Path(place) / "x.json"
        write_checksummed(path, value)
        assert read_checksummed(path, hint="") == value


@pytest.mark.parametrize(
    "text",
    ["null", "[1]", "{}", "{", '{"a": 1}', '{"a": NaN, "content": "x"}', "[" * 100_000, "\x00"],
)
def test_json_that_is_not_as_it_was_sealed_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(errors.ArtifactError, match="(damaged|cannot be read)(.|\n)*make it anew"):
        read_checksummed(tmp_path / "x.json", hint="make it anew")


def test_sealed_json_that_lost_a_key_is_refused(tmp_path: Path) -> None:
    write_checksummed(tmp_path / "x.json", {"a": 1, "b": 2})
    sealed = read_json(tmp_path / "x.json")
    del sealed["b"]
    write_json(tmp_path / "x.json", sealed)
    with pytest.raises(errors.ArtifactError, match="not what was written"):
        read_checksummed(tmp_path / "x.json", hint="make it anew")


def test_atomic_path_shows_nothing_until_it_is_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "deep" / "file") as path:
        path.write_text("half")
        assert not (tmp_path / "deep" / "file").exists()
    assert (tmp_path / "deep" / "file").read_text() == "half"


def test_a_file_that_changes_under_the_same_times_has_another_hash(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before, times = hash_file(path), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hash_file(path) != before


def test_a_file_that_stands_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.storage.hashing._SETTLED", -(10**18))
    (tmp_path / "file").write_bytes(b"one")
    before = hash_file(tmp_path / "file")
    monkeypatch.setattr("ensemble.storage.hashing._CHUNK", 0)  # reads nothing
    assert hash_file(tmp_path / "file") == before
    (tmp_path / "file").write_bytes(b"other")
    assert hash_file(tmp_path / "file") != before


def _verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory that this process has verified, with everything settled."""
    monkeypatch.setattr("ensemble.storage.hashing._SETTLED", -(10**18))
    directory = tmp_path / "d"
    with atomic_directory(directory, {}) as place:
        (place / "inner").mkdir()
        (place / "inner" / "x").write_text("one")
    read_manifest(directory)
    return directory


def test_a_directory_that_stands_is_verified_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = _verified(tmp_path, monkeypatch)
    monkeypatch.setattr("ensemble.storage.directories._check_files", None)
    assert set(read_manifest(directory)["files"]) == {"inner/x"}


def _alter(directory: Path) -> None:
    path = directory / "inner" / "x"
    times = path.stat()
    path.write_text("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _replace(directory: Path) -> None:
    shutil.copytree(directory, directory.with_name("copy"))
    (directory.with_name("copy") / "inner" / "x").write_text("two")
    shutil.rmtree(directory)
    directory.with_name("copy").rename(directory)


@pytest.mark.parametrize(
    "change",
    [
        _alter,
        _replace,
        lambda directory: (directory / "inner" / "y").write_text("foreign"),
        lambda directory: (directory / "inner" / "x").unlink(),
        lambda directory: (directory / MANIFEST).write_text("{}"),
    ],
)
def test_what_changes_after_it_was_verified_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    directory = _verified(tmp_path, monkeypatch)
    change(directory)
    with pytest.raises(errors.ArtifactError, match="damaged"):
        read_manifest(directory)
