"""Whole runs on groups and own folds: a memory finds no leak."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import errors, run
from ensemble.battles.given_folds import given_folds
from ensemble.battles.plan import NO_METADATA
from ensemble.config.settings import Folds
from tests.ensemble.fold_schemes.memory_runs import (
    ROWS,
    UNKNOWN,
    log_loss_of_memory,
    read_fold_record,
    write_config,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_groups_join_clusters_in_the_plan_the_audit_and_the_report(place: Path) -> None:
    done = run(write_config(place, 'n_splits = 3\ngroup_columns = ["session"]'))
    frame = done.folds.filter(pl.col("role") == "target")
    session = pl.read_csv(place / "train.csv").select(id="id", session="session")
    joined = frame.join(session, on="id")
    assert (joined.group_by("session").agg(pl.col("fold").n_unique())["fold"] == 1).all()
    (group,) = read_fold_record(place)["groups"]
    assert (group["column"], group["rows"], group["values"]) == ("session", ROWS, 30)
    assert group["clusters_joined"] > 0
    assert "session joins" in done.report().read_text()
    assert done.audit().state == "passed"


def test_an_audit_joins_the_groups_itself(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(place, 'n_splits = 3\ngroup_columns = ["session"]')
    with monkeypatch.context() as patched:
        patched.setattr("ensemble.battles.plan.join_groups", lambda _ids, clusters, *_: clusters)
        with pytest.raises(errors.AuditError, match="split between folds"):
            run(config)


def test_a_column_that_no_source_has_is_refused_with_those_that_are_there(place: Path) -> None:
    with pytest.raises(errors.FoldError, match='"sesion"(.|\n)*session'):
        run(write_config(place, 'group_columns = ["sesion"]'))


def test_own_folds_keep_their_names_and_are_proven(place: Path) -> None:
    done = run(write_config(place, 'column = "fold"'))
    assert [fold["name"] for fold in read_fold_record(place)["folds"]] == [
        "first",
        "last",
        "second",
    ]
    assert done.audit().state == "passed"
    assert log_loss_of_memory(done) == pytest.approx(UNKNOWN)
    with pytest.raises(errors.FoldError, match="n_splits is 4"):
        run(write_config(place, 'column = "fold"\nn_splits = 4'))


def test_own_folds_that_split_clusters_are_used_only_where_allowed_and_never_proven(
    place: Path,
) -> None:
    ids = pl.read_csv(place / "train.csv")["id"]
    number = pl.int_range(ROWS, eager=True)
    # Of a pair of one prompt, the first has an even number of rows before it.
    torn = (number // (ROWS // 2)).alias("fold")
    pl.DataFrame({"id": ids, "fold": torn}).write_csv(place / "folds.csv")
    with pytest.raises(errors.FoldError, match="splits 80 clusters .* .160 rows"):
        run(write_config(place, 'file = "folds.csv"'))
    with pytest.raises(errors.FoldError, match="of near duplicates, or of the same session, "):
        run(write_config(place, 'file = "folds.csv"\ngroup_columns = ["session"]'))
    done = run(write_config(place, 'file = "folds.csv"\nallow_split_clusters = true'))
    assert log_loss_of_memory(done) < 0.1  # it leaks, as asked
    audit = done.audit()
    assert audit.state == "unproven"
    assert "80 clusters are split between folds" in audit.sentence
    assert "the folds split 80 clusters" in done.verdict["sentence"]
    assert not done.scores()["proven"].any()
    status = done.status()
    assert all(one["unproven"] for one in status["learners"])
    assert status["best"]["unproven"] == [one["name"] for one in status["learners"]]
    report = done.report().read_text()
    assert "unproven" in report
    assert "allow_split_clusters" in report
    assert "the folds split 80 clusters" in done.compare("memory", "prior")["sentences"][-1]
    (place / "folds.csv").unlink()
    assert any("file of folds" in one for one in done.audit().absent)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.head(150), "10 of 160 target rows have no fold"),
        (lambda t: pl.concat([t, t.head(2)]), "2 ids are there more than once"),
        (lambda t: t.with_columns(id=pl.col("id").replace("t0", "nobody")), "1 ids are unknown"),
        (lambda t: t.with_columns(id=pl.col("id").replace("t0", "e0")), "ids are of no target row"),
        (lambda t: t.with_columns(fold=pl.lit(1)), "there are 1 folds"),
        (lambda t: t.with_columns(fold=pl.col("fold") + 0.5), "is the name of no fold"),
        (lambda t: t.rename({"fold": "part"}), 'no column "fold"'),
    ],
)
def test_a_file_of_folds_that_does_not_fit_is_refused(place: Path, change: Any, told: str) -> None:
    ids = pl.read_csv(place / "train.csv")["id"]
    table = pl.DataFrame({"id": ids, "fold": np.arange(ROWS) % (ROWS // 2) % 4})
    change(table).write_parquet(place / "folds.parquet")
    with pytest.raises(errors.FoldError, match=told):
        run(write_config(place, 'file = "folds.parquet"'))


@pytest.mark.parametrize(
    ("folds", "told"),
    [
        ('scheme = "time"', "needs folds.time_column"),
        ('time_column = "t"', "is for folds.scheme"),
        ('column = "f"\nscheme = "time"\ntime_column = "t"', "makes folds"),
        ("allow_split_clusters = true", "that folds.column or folds.file gives"),
        ('group_columns = ["a", "a"]', "twice"),
    ],
)
def test_settings_of_folds_that_contradict_are_refused(place: Path, folds: str, told: str) -> None:
    with pytest.raises(errors.ConfigError, match=told):
        write_config(place, folds)


FORMS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    "folds.csv": lambda t: b"\xef\xbb\xbf" + t.write_csv().encode(),
    "folds.tab": lambda t: t.write_csv(separator="\t").encode(),
    "folds.csv.gz": lambda t: gzip.compress(t.write_csv().encode()),
    "folds.jsonl": lambda t: t.write_ndjson().encode(),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("kind", [pl.Int64, pl.Float64, pl.String])
def test_a_file_of_folds_may_be_any_table_and_write_its_ids_and_folds_as_it_likes(
    tmp_path: Path, name: str, kind: type[pl.DataType]
) -> None:
    ids = [str(i) for i in range(12)]
    table = pl.DataFrame({"id": range(12), "fold": [1, 2, 3, 10] * 3}).cast(kind)
    (tmp_path / name).write_bytes(FORMS[name](table))
    found = given_folds(
        Folds(file=str(tmp_path / name)),
        pl.Series("id", ids[::-1]),
        pl.Series("id", [], dtype=pl.String),
        NO_METADATA,
    )
    assert found.names == ("1", "2", "3", "10")
    assert found.folds.tolist() == [0, 1, 2, 3][::-1] * 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,fold\n1,a\n2,b\n3,nan\n4,\n", r"2 of 4 target rows have no fold \(3, 4\)"),
        ("id,fold\n1,a\n2,b,c\n3,a\n4,b\n", "1 rows cannot be read, such as .*folds.csv:3"),
        ("id;fold\n1;a\n", 'separated by ";"'),
        ("id,fold\n1,a\n2,b\n3,a\n4,b\n,a\n", "1 rows have no id"),
    ],
)
def test_a_file_of_folds_with_gaps_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "folds.csv").write_text(text)
    ids = pl.Series("id", ["1", "2", "3", "4"])
    with pytest.raises(errors.FoldError, match=told):
        given_folds(Folds(file=str(tmp_path / "folds.csv")), ids, ids.clear(), NO_METADATA)
