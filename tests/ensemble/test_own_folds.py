"""Whole runs on groups, own folds, blocks of time and with a hold-out: a memory finds no leak."""

from __future__ import annotations

import gzip
import json
import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import pytest

from ensemble import BaseLearner, errors, hookimpl, run
from ensemble.battles.fold_plan import FoldPlan
from ensemble.battles.given_folds import given_folds
from ensemble.battles.plan import NO_METADATA
from ensemble.battles.schema import LABEL_COLUMNS, probability_frame
from ensemble.config.load import load_config
from ensemble.config.settings import Folds
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.holdout_record import HoldoutRecord
from ensemble.storage.hashing import hash_file
from ensemble.submission.holdout import holdout_rows, score_each

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble import Config, Run
    from ensemble.plugin.base import FloatArray, LogitArray, Register
    from tests.fixture_types import UsePlugins

ROWS, UNKNOWN = 160, math.log(3)


class Memory(BaseLearner):
    """Knows the label of each prompt that it has been taught, and nothing else."""

    version = "1"
    cheap = True

    def fit(self, battles: pl.DataFrame, labels: FloatArray, **_: Any) -> Self:
        prompts = [turns[0] for turns in battles["prompt"]]
        self.known = {p: label.tolist() for p, label in zip(prompts, labels, strict=True)}
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        known = [self.known.get(turns[0], [0.0] * 3) for turns in battles["prompt"]]
        return 4 * np.array(known, dtype=np.float32).reshape(-1, 3)

    def save(self, directory: Path) -> None:
        (directory / "known.json").write_text(json.dumps(self.known))

    def load(self, directory: Path) -> Self:
        self.known = json.loads((directory / "known.json").read_text())
        return self


class _Plugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("memory", Memory)


def _rows(prefix: str, count: int, seed: int) -> dict[str, Any]:
    """Battles in pairs of one prompt and one label, so that a leaked prompt tells the label."""
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice(list("bcdfglmnprst"), 7)) for _ in range(600)])
    pair = np.arange(count) % (count // 2)
    prompts = [" ".join(rng.choice(words, 12)) for _ in range(count // 2)]
    return {
        "id": [f"{prefix}{i}" for i in range(count)],
        "prompt": [prompts[k] for k in pair],
        "response_a": [" ".join(rng.choice(words, 9)) for _ in range(count)],
        "response_b": [" ".join(rng.choice(words, 9)) for _ in range(count)],
        "winner": [("model_a", "model_b", "tie")[k % 3] for k in pair],
    }


@pytest.fixture
def place(tmp_path: Path, use_plugins: UsePlugins) -> Path:
    """Files with a session, a judge, a time and a fold beside their battles."""
    use_plugins(memory=_Plugin())
    own = _rows("t", ROWS, 0)
    number = np.arange(ROWS)
    days = [f"2024-05-{1 + i % 28:02d}T{i % 24:02d}:00:00" for i in number]
    said = {"session": [f"s{i // 4 % 30}" for i in number], "tstamp": days}
    folds = {"fold": [["first", "second", "last"][i % (ROWS // 2) % 3] for i in number]}
    pl.DataFrame({**own, **said, **folds}).write_csv(tmp_path / "train.csv")
    copies = pl.DataFrame({**own, "id": [f"e{i}" for i in number]})
    copies = copies.with_columns(tstamp=pl.Series(days[::-1]), session=pl.lit(None, pl.String))
    copies.write_csv(tmp_path / "extra.csv")
    copies.drop("tstamp").head(30).with_columns("u" + pl.col("id")).write_csv(
        tmp_path / "undated.csv"
    )
    test = pl.DataFrame(_rows("x", 12, 5)).drop("winner")
    test.write_csv(tmp_path / "test.csv")
    return tmp_path


def _config(place: Path, folds: str, extra: str = "extra.csv", stack: str = "none") -> Config:
    text = f"""
run_dir = "run"
seed = 5
[[sources]]
name = "arena"
path = "train.csv"
role = "target"
text_format = "plain"
[[sources]]
name = "extra"
path = "{extra}"
role = "train"
text_format = "plain"
[test]
path = "test.csv"
text_format = "plain"
[folds]
{folds}
[[learners]]
name = "memory"
plugin = "memory"
[[learners]]
name = "prior"
plugin = "prior"
[stack]
meta_learner = "{stack}"
resamples = 200
"""
    (place / "config.toml").write_text(text)
    return load_config(place / "config.toml")


def _log_loss_of_memory(done: Run) -> float:
    rows = done.scores().filter(pl.col("name") == "memory")
    return float(rows["log_loss"][0])


def _record(place: Path) -> dict[str, Any]:
    return dict(json.loads((place / "run" / "folds.json").read_text()))


def test_blocks_of_time_leak_nothing_and_the_first_is_counted_and_never_scored(
    place: Path,
) -> None:
    done = run(_config(place, 'n_splits = 3\nscheme = "time"\ntime_column = "tstamp"'))
    plan = done.folds
    first = plan.filter((pl.col("role") == "target") & pl.col("fold").is_null())
    assert ROWS / 5 < len(first) < ROWS / 3
    assert first["time"].max() < plan.drop_nulls("fold")["time"].min()  # type: ignore[operator]
    assert _log_loss_of_memory(done) == pytest.approx(UNKNOWN)
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
    reasons = {cut["reason"] for cut in _record(place)["cuts"]}
    assert {"not earlier than the fold", "same prompt"} <= reasons
    assert f"{len(first)} target rows are never scored" in done.report().read_text()


def test_an_audit_finds_rows_that_are_not_earlier(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(place, 'n_splits = 3\nscheme = "time"\ntime_column = "tstamp"')
    with monkeypatch.context() as patched:
        none = lambda plan, _: np.zeros(len(plan.frame), dtype=bool)  # noqa: E731
        patched.setattr(FoldPlan, "not_before", none)
        with pytest.raises(errors.AuditError, match="before the first that is scored"):
            run(config)


@pytest.mark.parametrize("undated", ["cut", "train"])
def test_rows_without_a_time_are_cut_or_leave_the_run_unproven(place: Path, undated: str) -> None:
    folds = f'n_splits = 3\nscheme = "time"\ntime_column = "tstamp"\nundated = "{undated}"'
    done = run(_config(place, folds, extra="undated.csv"))
    record = _record(place)
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


@pytest.mark.parametrize("scheme", ["", 'scheme = "time"\ntime_column = "tstamp"'])
def test_the_hold_out_is_seen_by_the_last_score_alone(place: Path, scheme: str) -> None:
    done = run(_config(place, f"n_splits = 3\nholdout = 0.2\n{scheme}"))
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
    assert last["sentence"] in done.report().read_text()
    assert done.submission["id"].len() == 12


def test_another_look_at_the_hold_out_is_counted(place: Path) -> None:
    folds = "n_splits = 3\nholdout = 0.2"
    first = run(_config(place, folds)).holdout
    again = run(_config(place, folds)).holdout
    assert again == first
    (place / "x").mkdir()
    done = run(_config(place, folds, stack="lightgbm"))
    assert len(done.holdout["looks"]) == 1
    assert "looked at once before" in done.holdout["sentence"]
    # A larger one has rows that have been seen: another seed or share makes it no fresh one.
    larger = run(_config(place, "n_splits = 3\nholdout = 0.4", stack="lightgbm"))
    assert len(larger.holdout["looks"]) == 2
    assert "looked at 2 times before" in larger.holdout["sentence"]
    done = run(_config(place, folds, stack="lightgbm"))
    record = place / "run" / "holdout.json"
    record.write_text(record.read_text().replace('"accuracy": ', '"accuracy": 1'))
    assert done.audit().state == "failed"


def test_a_deep_audit_asks_for_the_hold_out_again(place: Path) -> None:
    done = run(_config(place, "n_splits = 3\nholdout = 0.2"))
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
    config = _config(place, "n_splits = 3\nholdout = 0.2")
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


def test_groups_join_clusters_in_the_plan_the_audit_and_the_report(place: Path) -> None:
    done = run(_config(place, 'n_splits = 3\ngroup_columns = ["session"]'))
    frame = done.folds.filter(pl.col("role") == "target")
    session = pl.read_csv(place / "train.csv").select(id="id", session="session")
    joined = frame.join(session, on="id")
    assert (joined.group_by("session").agg(pl.col("fold").n_unique())["fold"] == 1).all()
    (group,) = _record(place)["groups"]
    assert (group["column"], group["rows"], group["values"]) == ("session", ROWS, 30)
    assert group["clusters_joined"] > 0
    assert "session joins" in done.report().read_text()
    assert done.audit().state == "passed"


def test_an_audit_joins_the_groups_itself(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(place, 'n_splits = 3\ngroup_columns = ["session"]')
    with monkeypatch.context() as patched:
        patched.setattr("ensemble.battles.plan.join_groups", lambda _ids, clusters, *_: clusters)
        with pytest.raises(errors.AuditError, match="split between folds"):
            run(config)


def test_a_column_that_no_source_has_is_refused_with_those_that_are_there(place: Path) -> None:
    with pytest.raises(errors.FoldError, match='"sesion"(.|\n)*session'):
        run(_config(place, 'group_columns = ["sesion"]'))


def test_own_folds_keep_their_names_and_are_proven(place: Path) -> None:
    done = run(_config(place, 'column = "fold"'))
    assert [fold["name"] for fold in _record(place)["folds"]] == ["first", "last", "second"]
    assert done.audit().state == "passed"
    assert _log_loss_of_memory(done) == pytest.approx(UNKNOWN)
    with pytest.raises(errors.FoldError, match="n_splits is 4"):
        run(_config(place, 'column = "fold"\nn_splits = 4'))


def test_own_folds_that_split_clusters_are_used_only_where_allowed_and_never_proven(
    place: Path,
) -> None:
    ids = pl.read_csv(place / "train.csv")["id"]
    number = pl.int_range(ROWS, eager=True)
    # Of a pair of one prompt, the first has an even number of rows before it.
    torn = (number // (ROWS // 2)).alias("fold")
    pl.DataFrame({"id": ids, "fold": torn}).write_csv(place / "folds.csv")
    with pytest.raises(errors.FoldError, match="splits 80 clusters .* .160 rows"):
        run(_config(place, 'file = "folds.csv"'))
    with pytest.raises(errors.FoldError, match="of near duplicates, or of the same session, "):
        run(_config(place, 'file = "folds.csv"\ngroup_columns = ["session"]'))
    done = run(_config(place, 'file = "folds.csv"\nallow_split_clusters = true'))
    assert _log_loss_of_memory(done) < 0.1  # it leaks, as asked
    audit = done.audit()
    assert audit.state == "unproven"
    assert "80 clusters are split between folds" in audit.sentence
    assert "the folds split 80 clusters" in done.verdict["sentence"]
    assert not done.scores()["proven"].any()
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
        run(_config(place, 'file = "folds.parquet"'))


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
        run(_config(place, 'n_splits = 3\nscheme = "time"\ntime_column = "tstamp"'))


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
        _config(place, folds)


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
