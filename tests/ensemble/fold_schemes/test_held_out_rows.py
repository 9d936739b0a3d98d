"""Whole runs with a hold-out: a memory finds no leak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ensemble import errors, run
from ensemble.battles.fold_plan import FoldPlan
from ensemble.battles.schema import LABEL_COLUMNS, probability_frame
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.holdout_record import HoldoutRecord
from ensemble.storage.hashing import hash_file
from ensemble.submission.holdout import holdout_rows, score_each
from tests.ensemble.fold_schemes.memory_runs import ROWS, UNKNOWN, write_config
from tests.ensemble.report.pages import section

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("scheme", ["", 'scheme = "time"\ntime_column = "tstamp"'])
def test_the_hold_out_is_seen_by_the_last_score_alone(place: Path, scheme: str) -> None:
    done = run(write_config(place, f"n_splits = 3\nholdout = 0.2\n{scheme}"))
    kept = done.folds.filter(pl.col("role") == "holdout")
    assert 0.1 * ROWS < len(kept) <= 0.2 * ROWS
    last = done.holdout
    scored = {one["name"]: one["log_loss"] for one in (*last["candidates"], *last["learners"])}
    # Every prompt of it stands in the external source with its label; nobody has learned it.
    assert scored["memory"] == pytest.approx(UNKNOWN)
    assert (last["rows"], last["looks"]) == (len(kept), ())
    assert not set(done.oof("memory")["id"]) & set(kept["id"])
    for fit in (place / "run/learners/memory").glob("fold-*/train_ids.parquet"):
        trained = done.folds.filter(pl.col("id").is_in(pl.read_parquet(fit)["id"].implode()))
        assert not set(trained["cluster"]) & set(kept["cluster"])
    audit = done.audit(deep=True)
    assert audit.state == "passed", audit.sentence
    html = done.report().read_text()
    assert last["sentence"] in html
    (chosen,) = [one for one in last["candidates"] if one["name"] == last["chosen"]]
    few = chosen["low"] is None
    assert few is (not scheme), "one of the two has clusters enough for an interval"
    assert section(html, "holdout").count("95% interval") == (0 if few else 2)
    assert ("too few clusters" in last["sentence"]) is few
    assert done.submission["id"].len() == 12


def test_another_look_at_the_hold_out_is_counted(place: Path) -> None:
    folds = "n_splits = 3\nholdout = 0.2"
    first = run(write_config(place, folds)).holdout
    again = run(write_config(place, folds)).holdout
    assert again == first
    (place / "x").mkdir()
    done = run(write_config(place, folds, stack="lightgbm"))
    assert len(done.holdout["looks"]) == 1
    assert "looked at once before" in done.holdout["sentence"]
    # A larger one has rows that have been seen: another seed or share makes it no fresh one.
    larger = run(write_config(place, "n_splits = 3\nholdout = 0.4", stack="lightgbm"))
    assert len(larger.holdout["looks"]) == 2
    assert "looked at 2 times before" in larger.holdout["sentence"]
    done = run(write_config(place, folds, stack="lightgbm"))
    record = place / "run" / "holdout.json"
    record.write_text(record.read_text().replace('"accuracy": ', '"accuracy": 1'))
    assert done.audit().state == "failed"


def test_a_deep_audit_asks_for_the_hold_out_again(place: Path) -> None:
    done = run(write_config(place, "n_splits = 3\nholdout = 0.2"))
    title = "hold-out: the stored stack and learners predict it"
    assert title in [check.name for check in done.audit(deep=True).checks if check.ok]
    directory = place / "run"
    whole = HoldoutRecord.read_checksummed(directory / "holdout.json")
    learner = whole.learners[0]
    better = learner.model_copy(update={"log_loss": learner.log_loss / 2})
    whole.model_copy(update={"learners": (better, *whole.learners[1:])}).write(
        directory / "holdout.json"
    )
    assert done.audit().state == "passed"
    failed = [check for check in done.audit(deep=True).checks if not check.ok]
    assert [check.name for check in failed] == [title]
    # Predictions that are too good, with scores and hashes that hold.
    rows = holdout_rows(done.battles, open_workspace(done.config).plan)
    sure = np.clip(rows.select(LABEL_COLUMNS).to_numpy(), 0.01, 0.98)
    table = pl.read_parquet(directory / "holdout.parquet")
    forged = probability_frame(rows["id"], sure)
    names = table["candidate"].unique(maintain_order=True)
    pl.concat([forged.select(pl.lit(name).alias("candidate"), pl.all()) for name in names]).cast(
        table.schema
    ).write_parquet(directory / "holdout.parquet")
    update = {
        "candidates": score_each(dict.fromkeys(names, sure), rows),
        "sha256": hash_file(directory / "holdout.parquet"),
    }
    whole.model_copy(update=update).write(directory / "holdout.json")
    assert done.audit().state == "passed"
    (check,) = [check for check in done.audit(deep=True).checks if not check.ok]
    assert check.name == title
    assert "mean" in check.detail


def test_an_audit_finds_that_the_hold_out_was_learned_from(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(place, "n_splits = 3\nholdout = 0.2")
    with monkeypatch.context() as patched:
        linked = FoldPlan.linked
        patched.setattr(
            FoldPlan,
            "linked",
            lambda plan, rows: (
                linked(plan, rows) & ~plan.kept_to_the_end()
                if (rows != plan.kept_to_the_end()).any()
                else rows
            ),
        )
        with pytest.raises(errors.AuditError, match="saw nothing of the hold-out"):
            run(config)
