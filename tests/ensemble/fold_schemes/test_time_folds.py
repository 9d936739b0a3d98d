"""Whole runs on blocks of time: a memory finds no leak."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ensemble import errors, run
from ensemble.battles.fold_plan import FoldPlan
from tests.ensemble.fold_schemes.memory_runs import (
    ROWS,
    UNKNOWN,
    log_loss_of_memory,
    read_fold_record,
    write_config,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_blocks_of_time_leak_nothing_and_the_first_is_counted_and_never_scored(
    place: Path,
) -> None:
    done = run(write_config(place, 'n_splits = 3\nscheme = "time"\ntime_column = "tstamp"'))
    plan = done.folds
    first = plan.filter((pl.col("role") == "target") & pl.col("fold").is_null())
    assert ROWS / 5 < len(first) < ROWS / 3
    assert first["time"].max() < plan.drop_nulls("fold")["time"].min()  # type: ignore[operator]
    assert log_loss_of_memory(done) == pytest.approx(UNKNOWN)
    oof = done.oof("memory")
    assert len(oof) == ROWS
    assert set(oof.filter(pl.col("logit_a").is_nan())["id"]) == set(first["id"])
    # The stack of a fold is fitted on earlier ones: the first of them is not scored either.
    candidates = json.loads((place / "run/stack/candidates.json").read_text())
    never = len(plan.filter(pl.col("fold") == 0)) + len(first)
    assert (candidates["rows_scored"], candidates["rows_missing"]) == (ROWS - never, never)
    assert done.probabilities()["winner_tie"].is_nan().sum() == never
    audit = done.audit(deep=True)
    assert audit.state == "passed", audit.sentence
    names = [check.name for check in audit.checks]
    assert "memory fold 2: trained on rows before the first that is scored" in names
    assert "stack fold 2: fitted on earlier folds alone, without its clusters" in names
    reasons = {cut["reason"] for cut in read_fold_record(place)["cuts"]}
    assert {"not earlier than the fold", "same prompt"} <= reasons
    assert f"{len(first)} target rows are never scored" in done.report().read_text()


def test_an_audit_finds_rows_that_are_not_earlier(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(place, 'n_splits = 3\nscheme = "time"\ntime_column = "tstamp"')
    with monkeypatch.context() as patched:
        none = lambda plan, _: np.zeros(len(plan.frame), dtype=bool)  # noqa: E731
        patched.setattr(FoldPlan, "not_before", none)
        with pytest.raises(errors.AuditError, match="before the first that is scored"):
            run(config)


@pytest.mark.parametrize("undated", ["cut", "train"])
def test_rows_without_a_time_are_cut_or_leave_the_run_unproven(place: Path, undated: str) -> None:
    folds = f'n_splits = 3\nscheme = "time"\ntime_column = "tstamp"\nundated = "{undated}"'
    done = run(write_config(place, folds, extra="undated.csv"))
    record = read_fold_record(place)
    assert record["undated_rows"] == 30
    assert any("30 rows of source extra have no time" in text for text in record["warnings"])
    audit = done.audit()
    if undated == "cut":
        assert audit.state == "passed", audit.sentence
        assert {c["rows"] for c in record["cuts"] if c["reason"] == "no time"} != {0}
    else:
        assert audit.state == "unproven"
        assert "without a time" in done.verdict["sentence"]
        assert not done.scores()["proven"].any()


@pytest.mark.parametrize(
    ("value", "told"), [("", "1 target rows have no time"), ("soon", "a time that is none")]
)
def test_a_time_that_is_none_is_named_with_its_row(place: Path, value: str, told: str) -> None:
    table = pl.read_csv(place / "train.csv")
    table = table.with_columns(
        tstamp=pl.when(pl.col("id") == "t7").then(pl.lit(value)).otherwise("tstamp")
    )
    table.write_csv(place / "train.csv")
    with pytest.raises(errors.FoldError, match=f"{told}(.|\n)*t7"):
        run(write_config(place, 'n_splits = 3\nscheme = "time"\ntime_column = "tstamp"'))
