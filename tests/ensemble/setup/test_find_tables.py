"""Paths that a user names: which tables they are, and how a config names these."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.errors import DataError
from ensemble.setup.files import find_tables, path_from


def touch(directory: Path, *names: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_text("x")


def stems(paths: list[Path]) -> list[tuple[str, int]]:
    return [(table.stem, len(table.files)) for table in find_tables(paths)[0]]


def test_a_directory_gives_its_tables_and_says_what_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "train.csv", "test.csv", "notes.txt", ".hidden.csv")
    touch(tmp_path / "more", "x.csv")
    tables, left = find_tables([tmp_path])
    assert [table.stem for table in tables] == ["test", "train"]
    assert [(Path(one.path).name, one.reason) for one in left] == [
        ("more", "a directory in another: name it to look into it"),
        ("notes.txt", "no table by its name"),
    ]


def test_the_directory_of_a_run_is_not_read(tmp_path: Path) -> None:
    touch(tmp_path / "run", ".lock", "battles.json", "battles.parquet")
    tables, left = find_tables([tmp_path / "run"])
    assert not tables
    assert left[0].reason == "the directory of a run"


def test_shards_are_one_table_however_they_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test.parquet")
    every = [("test", 1), ("train", 2)]
    assert sorted(stems([tmp_path])) == every
    assert sorted(stems([tmp_path / "*.parquet"])) == every
    assert sorted(stems(sorted(tmp_path.iterdir()))) == every
    table = next(one for one in find_tables([tmp_path])[0] if one.stem == "train")
    assert table.path_in(tmp_path) == "train-*-of-00002.parquet"


def test_names_that_count_are_one_table_and_names_with_a_size_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "part-0.csv", "part-1.csv", "part-2.csv", "arena_33k.csv", "arena_55k.csv")
    assert sorted(stems([tmp_path])) == [("arena_33k", 1), ("arena_55k", 1), ("part", 3)]


def test_a_file_that_is_named_twice_is_there_once(tmp_path: Path) -> None:
    touch(tmp_path, "train.csv")
    assert stems([tmp_path, tmp_path / "train.csv", tmp_path / "t*.csv"]) == [("train", 1)]


def test_one_shard_may_be_named_by_its_own_path_alone(tmp_path: Path) -> None:
    touch(tmp_path, "train-00000-of-00002.csv")
    (table,) = find_tables([tmp_path / "train-00000-of-00002.csv"])[0]
    assert not table.is_whole
    assert find_tables([tmp_path])[0][0].is_whole


@pytest.mark.parametrize(
    ("name", "told"), [("absent.csv", "no such file"), ("*.parquet", "no file matches")]
)
def test_a_path_that_names_nothing_is_an_error(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        find_tables([tmp_path / name])


def test_paths_are_relative_where_a_project_may_move_with_them(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b" / "c"
    assert path_from(home, home / "data" / "x.csv") == "data/x.csv"
    assert path_from(home, tmp_path / "a" / "x.csv") == "../../x.csv"
    assert path_from(home, tmp_path / "x.csv") == str(tmp_path / "x.csv")
    assert path_from(home, home / "~x.csv") == "./~x.csv"
    assert path_from(Path("/tmp"), Path("/data/x.csv")) == "/data/x.csv"  # noqa: S108
