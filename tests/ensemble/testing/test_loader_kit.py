"""The kit on loaders: sound ones pass, and each broken one is told what is wrong with it."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ensemble.testing import check_loader

READS: list[int] = []


def sound(path: Path, *, rows: int = 1000) -> pl.DataFrame:
    """Read a CSV file."""
    return pl.read_csv(path, infer_schema=False).head(rows)


def not_a_table(path: Path) -> Any:
    return sound(path).to_dicts()


def lazy(path: Path) -> Any:
    return sound(path).lazy()


def shuffles(path: Path) -> pl.DataFrame:
    return sound(path).sample(fraction=1.0, shuffle=True, seed=random.randrange(10**6))


def counts(path: Path) -> pl.DataFrame:
    READS.append(1)
    return sound(path).head(len(READS) + 5)


def float_ids(path: Path) -> pl.DataFrame:
    return sound(path).with_columns(pl.col("id").cast(pl.Float64))


def same_ids(path: Path) -> pl.DataFrame:
    return sound(path).with_columns(id=pl.lit("1"))


def no_texts(path: Path) -> pl.DataFrame:
    return sound(path).drop("response_a")


def null_texts(path: Path) -> pl.DataFrame:
    return sound(path).with_columns(response_a=pl.lit(None, pl.String))


def odd_labels(path: Path) -> pl.DataFrame:
    return sound(path).with_columns(winner_model_a=pl.lit("yes"))


def changes_directory(path: Path) -> pl.DataFrame:
    frame = sound(path)
    os.chdir(path.parent)
    return frame


def sets_environment(path: Path) -> pl.DataFrame:
    os.environ["DATA"] = str(path)
    return sound(path)


def moves_on(path: Path) -> pl.DataFrame:
    frame = sound(path)
    with path.open("a") as file:
        file.write("\n")
    return frame


def writes_beside(path: Path) -> pl.DataFrame:
    path.with_suffix(".log").write_text("read")
    return sound(path)


def relative(path: Path) -> pl.DataFrame:
    return sound(path).with_columns(prompt=pl.lit(f'["{Path.cwd()}"]'))


def takes_anything(path: Path, **options: Any) -> pl.DataFrame:
    return sound(path)


def shared_default(path: Path, columns: list[str] = []) -> pl.DataFrame:  # noqa: B006
    return sound(path)


def needs_more(path: Path, table: str) -> pl.DataFrame:
    return sound(path)


def ignores_path(path: Path) -> pl.DataFrame:
    place = path.with_name("train.csv")
    return sound(place)


def raises(path: Path) -> pl.DataFrame:
    raise KeyError("conversation")


BROKEN = {
    not_a_table: "returned list, not a polars DataFrame",
    lazy: "returned a LazyFrame",
    shuffles: "another table the second time",
    counts: "another table the second time",
    float_ids: "its ids are floats",
    same_ids: "does not take what it gives.*more than once|id",
    no_texts: "does not take what it gives.*response_a",
    null_texts: "response_a",
    odd_labels: "winner_model_a|label",
    changes_directory: "changes the working directory",
    sets_environment: "changes os.environ",
    moves_on: "it changes the file that it reads",
    writes_beside: "it writes files",
    relative: "from another working directory",
    takes_anything: "takes options that it does not know",
    shared_default: 'the default of option "columns" is shared',
    needs_more: "cannot be called as it will be",
    ignores_path: "for a file that is not there",
    raises: "the loader raised KeyError",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of battles."""
    from ensemble.datasets.battles import make_battles, write_battles

    write_battles(make_battles(target_rows=20, external_rows=2, test_rows=2), tmp_path)
    return tmp_path / "train.csv"


@pytest.mark.parametrize("loader", BROKEN, ids=lambda loader: loader.__name__)
def test_a_broken_loader_is_caught(loader: Any, file: Path) -> None:
    found = check_loader(loader, file, raises=False)
    told = [one.detail for one in (*found.failed, *found.warnings)]
    with pytest.raises(ValueError, match=f"(?s){BROKEN[loader]}"):
        raise ValueError("\n".join(told))


def test_a_sound_loader_passes(file: Path) -> None:
    assert check_loader(sound, file, options={"rows": 10}).warnings == ()
    assert check_loader(sound).ok
    test = check_loader(sound, file.with_name("test.csv"))
    assert test.ok


def test_a_loader_of_another_format_needs_a_file() -> None:
    found = check_loader(raises, raises=False)
    assert [one.ok for one in found.findings if one.what == "table"] == [None]
    assert "give it a file to read" in str(found)
