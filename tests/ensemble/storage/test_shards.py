from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble import errors
from ensemble.storage.shards import add_shard, read_shard, shard_paths


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_what_is_added_is_read_and_the_same_content_is_one_file(contents: list[bytes]) -> None:
    with TemporaryDirectory() as directory:
        place = Path(directory) / "new"
        for content in contents:
            add_shard(place, content, ".bin")
        paths = shard_paths(place, ".bin")
        assert paths == sorted(paths)
        assert {read_shard(path) for path in paths} == set(contents)
        assert len(paths) == len(set(contents))


@pytest.mark.parametrize("damaged", [b"contenT", b"content and more", b"cont", b""])
def test_a_damaged_file_is_removed_and_the_others_stay(tmp_path: Path, damaged: bytes) -> None:
    add_shard(tmp_path, b"content", ".bin")
    add_shard(tmp_path, b"other", ".bin")
    path = next(path for path in shard_paths(tmp_path, ".bin") if path.read_bytes() == b"content")
    path.write_bytes(damaged)
    assert read_shard(path) is None
    assert [read_shard(path) for path in shard_paths(tmp_path, ".bin")] == [b"other"]


def test_what_is_gone_or_no_file_holds_nothing(tmp_path: Path) -> None:
    assert read_shard(tmp_path / f"{'0' * 64}.bin") is None
    assert read_shard(tmp_path) is None
    assert tmp_path.is_dir()


def test_what_another_process_is_writing_and_other_files_are_left_alone(tmp_path: Path) -> None:
    add_shard(tmp_path, b"content", ".bin")
    (path,) = shard_paths(tmp_path, ".bin")
    for name in (f".tmp-{'0' * 32}-{path.name}", "abc.bin", f"{path.stem}.txt"):
        (tmp_path / name).write_bytes(b"half")
    assert shard_paths(tmp_path, ".bin") == [path]


def test_a_place_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(errors.EnsembleError, match="cannot write"):
        add_shard(tmp_path / "file" / "below", b"content", ".bin")
