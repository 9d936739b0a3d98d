"""Predictions of a part of the target, in many files and forms, from the file to the verdict."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import CLASSES, FitContext, errors, run
from ensemble.battles.schema import LOGIT_COLUMNS
from ensemble.plugin.parameters import build
from ensemble_plugins.precomputed import Precomputed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.fixture_types import Project

IDS = ["07", "b", "c"]
LOGITS = np.array([[0.5, -0.5, 0.0], [1, 2, 3], [-1, 0, 4]], dtype=np.float32)
FULL = {"name": "h", "plugin": "handcrafted", "n_models": 2}
HARMLESS = np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])


def _table(ids: Sequence[str] = IDS, values: Any = LOGITS, names: Any = LOGIT_COLUMNS) -> Any:
    return pl.DataFrame({"id": ids, **dict(zip(names, np.asarray(values).T, strict=True))})


def _battles(ids: Sequence[str]) -> pl.DataFrame:
    turns = pl.Series([["text"]] * len(ids), dtype=pl.List(pl.String))
    return pl.DataFrame({"id": ids, "prompt": turns, "response_a": turns, "response_b": turns})


def _predicted(ids: Sequence[str] = IDS, /, **parameters: Any) -> np.ndarray[Any, Any]:
    learner = Precomputed(**parameters)
    learner.check_ids(ids)
    learner.fit(_battles(["x"]), np.eye(3)[:1], context=FitContext())
    return learner.predict_logits(_battles(ids))


def _write_jsonl(table: pl.DataFrame, path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dicts()))


def _write_npz(table: pl.DataFrame, path: Path) -> None:
    np.savez(path, id=np.array(table["id"].to_list()), oof=table.drop("id").to_numpy())


FORMS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "oof.csv": lambda table, path: table.write_csv(path),
    "oof.tsv": lambda table, path: table.write_csv(path, separator="\t"),
    "oof.parquet": lambda table, path: table.write_parquet(path),
    "oof.jsonl": _write_jsonl,
    "oof.json": lambda table, path: path.write_text(json.dumps(table.to_dicts())),
    "oof.csv.gz": lambda table, path: path.write_bytes(gzip.compress(table.write_csv().encode())),
    "oof.npz": _write_npz,
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_logits_and_nan_for_rows_it_lacks(
    tmp_path: Path, name: str
) -> None:
    FORMS[name](_table(), tmp_path / name)
    found = _predicted(["c", "absent", "07", "b"], oof=tmp_path / name)
    np.testing.assert_allclose(found[[2, 3, 0]], LOGITS, atol=1e-6)
    assert len(_predicted(oof=str(tmp_path / name))) == 3
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize("name", ["oof.csv", "oof.parquet", "oof.npz"])
def test_probabilities_are_recognized(tmp_path: Path, name: str) -> None:
    FORMS[name](_table(values=HARMLESS, names=CLASSES), tmp_path / name)
    np.testing.assert_allclose(_predicted(oof=tmp_path / name), np.log(HARMLESS), rtol=1e-5)


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    names = ["p_a", "p_b", "p_tie"]
    table = _table(values=HARMLESS, names=names).rename({"id": "key"})
    table.write_csv(tmp_path / "oof.csv")
    columns = {"id": "key", **dict(zip(CLASSES, names, strict=True))}
    found = _predicted(oof=tmp_path / "oof.csv", columns=columns)
    np.testing.assert_allclose(found, np.log(HARMLESS), rtol=1e-5)
    with pytest.raises(errors.DataError, match="columns are missing: winner_model_a") as error:
        _predicted(oof=tmp_path / "oof.csv", columns={"id": "key"}, kind="probabilities")
    assert "there are: key, p_a, p_b, p_tie" in str(error.value)
    with pytest.raises(ValueError, match='"winner_a".*did you mean'):
        Precomputed(oof=tmp_path / "oof.csv", columns={"winner_a": "p_a"})


def test_what_is_stated_goes_before_names_of_columns(tmp_path: Path) -> None:
    _table(names=CLASSES).write_csv(tmp_path / "oof.csv")
    found = _predicted(oof=tmp_path / "oof.csv", kind="logits")
    np.testing.assert_allclose(found, LOGITS, atol=1e-6)


@pytest.mark.parametrize("ids", ["ids.txt", "ids.csv", "ids.npy", "ids.jsonl"])
def test_an_array_takes_its_ids_from_a_file(tmp_path: Path, ids: str) -> None:
    np.save(tmp_path / "oof.npy", LOGITS)
    frame = pl.DataFrame({"id": IDS, "prompt": ["x", "y", "z"]})
    forms: dict[str, Callable[[Path], Any]] = {
        ".txt": lambda path: path.write_text("\n".join(IDS) + "\n"),
        ".csv": lambda path: frame.write_csv(path),
        ".npy": lambda path: np.save(path, np.array(IDS)),
        ".jsonl": lambda path: _write_jsonl(frame, path),
    }
    forms[Path(ids).suffix](tmp_path / ids)
    found = _predicted(oof=tmp_path / "oof.npy", ids=tmp_path / ids)
    np.testing.assert_array_equal(found, LOGITS)


def test_files_of_folds_are_put_together(tmp_path: Path) -> None:
    for fold, name in enumerate(IDS):
        _table([name], LOGITS[[fold]]).write_csv(tmp_path / f"oof-fold{fold}.csv")
    found = _predicted(oof=tmp_path / "oof-fold*.csv")
    np.testing.assert_allclose(found, LOGITS, atol=1e-6)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_rows_of_several_seeds_are_averaged_by_id(tmp_path: Path, average: Any) -> None:
    """Three seeds: one in another order, and one that lacks a row."""
    seeds = [LOGITS, LOGITS + np.diag([1, 2, 3]), LOGITS * 2]
    orders = [[0, 1, 2], [2, 0, 1], [0, 2]]
    paths = [tmp_path / f"seed{i}.parquet" for i in range(3)]
    for path, values, order in zip(paths, seeds, orders, strict=True):
        _table([IDS[i] for i in order], values[order]).write_parquet(path)
    found = _predicted(oof=paths, average=average)
    means = []
    for row in range(3):
        own = [v[row] for v, order in zip(seeds, orders, strict=True) if row in order]
        if average == "probabilities":
            own = [np.exp(v) / np.exp(v).sum() for v in own]
        mean = np.mean(own, axis=0)
        means.append(np.log(mean) if average == "probabilities" else mean)
    np.testing.assert_allclose(found, means, atol=1e-5)
    told = Precomputed(oof=paths).describe()
    assert told == {"oof": {"files": 3, "rows": 3, "rows_by_files": {"2": 1, "3": 2}}}


@pytest.mark.parametrize("name", ["oof.csv", "oof.parquet", "oof.npz"])
def test_rows_without_any_number_were_not_predicted(tmp_path: Path, name: str) -> None:
    values = np.array([LOGITS[0], [np.nan] * 3, LOGITS[2]])
    FORMS[name](_table(values=values), tmp_path / name)
    found = _predicted(oof=tmp_path / name)
    np.testing.assert_allclose(found[[0, 2]], LOGITS[[0, 2]], atol=1e-6)
    assert np.isnan(found[1]).all()
    FORMS[name](_table(values=values * np.nan), tmp_path / name)
    with pytest.raises(errors.DataError, match="no row of the file has a prediction"):
        _predicted(oof=tmp_path / name)
    values[1, 1] = 0.5
    FORMS[name](_table(values=values), tmp_path / name)
    with pytest.raises(errors.DataError, match=r"empty, NaN or infinite: 'b' \(1\)"):
        _predicted(oof=tmp_path / name)


def test_an_array_that_was_filled_in_part_is_refused_where_its_zeros_would_count(
    tmp_path: Path,
) -> None:
    ids = [f"{name}{i}" for i in range(20) for name in IDS]
    for values, kind, told in (
        (LOGITS * [[1], [0], [1]], "logits", "all logits are 0 in some rows: 'b0', 'b1'"),
        (HARMLESS * [[1], [0], [1]], "probabilities", "do not sum to 1: 'b0', 'b1'"),
    ):
        np.savez(tmp_path / "oof.npz", id=np.array(ids), oof=np.tile(values, (20, 1)))
        with pytest.raises(errors.DataError, match=told):
            _predicted(ids, oof=tmp_path / "oof.npz", kind=kind)
    # A few of them may well be meant: even odds.
    np.savez(tmp_path / "oof.npz", id=np.array(IDS), oof=LOGITS * [[1], [0], [1]])
    assert (_predicted(oof=tmp_path / "oof.npz", kind="logits")[1] == 0).all()


def test_a_text_file_of_ids_may_begin_with_a_mark_and_end_with_blank_lines(tmp_path: Path) -> None:
    np.save(tmp_path / "oof.npy", LOGITS)
    (tmp_path / "ids.txt").write_text("\ufeff" + "\n".join(IDS) + "\n\n", encoding="utf-8")
    np.testing.assert_array_equal(
        _predicted(oof=tmp_path / "oof.npy", ids=tmp_path / "ids.txt"), LOGITS
    )


TWO = {"logits": ("logit_a", "logit_b"), "probabilities": CLASSES[:2]}


def _two(name: str, kind: str, path: Path) -> None:
    """Write predictions of A and B alone, each kind in either form."""
    values = LOGITS[:, :2] if kind == "logits" else np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    FORMS[name](_table(values=values, names=TWO[kind]), path / name)


@pytest.mark.parametrize("kind", TWO)
@pytest.mark.parametrize("name", ["oof.csv", "oof.npz"])
def test_files_of_two_classes_serve_a_task_without_ties_alone(
    tmp_path: Path, name: str, kind: str
) -> None:
    _two(name, kind, tmp_path)
    learner = Precomputed(oof=tmp_path / name)
    learner.check_ids(IDS)
    learner.fit(_battles(["x"]), np.eye(3)[:1], context=FitContext(ties=False))
    found = learner.predict_logits(_battles(IDS))
    expected = LOGITS[:, :2] if kind == "logits" else np.log([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    np.testing.assert_allclose(found[:, :2], expected, atol=1e-6)
    assert (found[:, 2] < found[:, :2].min(axis=1) - 50).all()
    with pytest.raises(errors.DataError, match="A and B alone, and the task has ties") as error:
        _predicted(oof=tmp_path / name)
    assert "ties = false" in str(error.value)


def test_a_tie_that_is_mapped_has_to_be_there(tmp_path: Path) -> None:
    _two("oof.csv", "probabilities", tmp_path)
    with pytest.raises(errors.DataError, match="columns are missing: p_tie"):
        _predicted(oof=tmp_path / "oof.csv", columns={"winner_tie": "p_tie"})


def test_files_of_two_classes_are_scored_as_they_are(project: Project) -> None:
    path = project.path / "train.csv"
    table = pl.read_csv(path, infer_schema=False).filter(pl.col("winner_tie").cast(float) == 0)
    table.write_csv(path)
    shares = np.tile([0.75, 0.25], (len(table), 1))
    _table(table["id"].to_list(), shares, CLASSES[:2]).write_csv(project.path / "two.csv")
    tests = pl.read_csv(project.path / "test.csv", infer_schema=False)["id"].to_list()
    np.savez(project.path / "two.npz", id=np.array(tests), p=np.tile([0.6, 0.4], (len(tests), 1)))
    outside = {"name": "o", "plugin": "precomputed", "oof": "two.csv", "test": "two.npz"}
    learners = [outside, {"name": "p", "plugin": "prior"}]
    with pytest.raises(errors.EnsembleError, match="A and B alone, and the task has ties"):
        run(project.config(learners, run_dir="with-ties"))
    config = project.config(learners, task={"ties": False}, stack={"meta_learner": "none"})
    done = run(config)
    a = table["winner_model_a"].cast(float).to_numpy()
    loss = -(a * np.log(0.75) + (1 - a) * np.log(0.25)).mean()
    scores = {row["name"]: row["log_loss"] for row in done.scores().iter_rows(named=True)}
    assert scores["o"] == pytest.approx(loss, abs=1e-6)


def _pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_pickled, "Python objects"),
        (lambda path: np.save(path, LOGITS[:, :1]), r"shape \(3, 1\), not \(rows, 3\)"),
        (lambda path: np.save(path, LOGITS[0]), r"shape \(3,\)"),
        (lambda path: np.save(path, LOGITS[:2]), "3 ids for 2 rows"),
        (
            lambda path: np.save(path, LOGITS + np.array([[0], [np.inf], [0]])),
            r"infinite: 'b' \(1\)",
        ),
        (lambda path: np.save(path, LOGITS.astype(str)), "holds <U32, not numbers"),
        (lambda path: np.save(path, HARMLESS / 2), "may be logits"),
        (
            lambda path: np.save(path, HARMLESS + np.diag([0, 0, 0.9])),
            r"do not sum to 1: 'c' \(1\)",
        ),
        (lambda path: path.write_bytes(b""), "no sound NumPy file"),
        (lambda path: path.write_bytes(b"\x80\x04K\x01."), "pickle"),
        (lambda path: None, "no such file"),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused(
    tmp_path: Path, write: Callable[[Path], Any], message: str
) -> None:
    write(tmp_path / "oof.npy")
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    with pytest.raises(errors.DataError, match=message) as error:
        _predicted(oof=tmp_path / "oof.npy", ids=tmp_path / "ids.txt")
    assert str(tmp_path) in str(error.value)


def test_archives_of_arrays_that_are_unclear_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "oof.npz"
    np.savez(path, oof=LOGITS)
    with pytest.raises(errors.DataError, match="there are no ids"):
        _predicted(oof=path)
    np.savez(path, id=np.array(IDS), oof=LOGITS, test=LOGITS)
    with pytest.raises(errors.DataError, match="which array holds the predictions is not clear"):
        _predicted(oof=path)
    np.savez(path, id=np.array(IDS, dtype=object), oof=LOGITS)
    with pytest.raises(errors.DataError, match="Python objects"):
        _predicted(oof=path)
    np.savez(path, id=np.array([1.0, 2.0, 3.0]), oof=LOGITS)
    with pytest.raises(errors.DataError, match="the ids are an array of float64"):
        _predicted(oof=path)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"oof": "none-*.csv"}, "no file matches"),
        ({"oof": ["one.csv", "one.csv"]}, "listed twice"),
        ({"oof": []}, "list of paths is empty"),
        ({"oof": "."}, "this is a directory"),
        ({"oof": "one.csv", "ids": "one.csv"}, "`ids` is for .npy"),
        ({"oof": "twice.csv"}, r"ids stand twice: '07' \(1\)"),
        ({"oof": "both.csv"}, "both logits and probabilities"),
        ({"oof": "foreign.csv"}, r"foreign 'x' \(1\)"),
        ({"oof": "empty.csv"}, "holds no predictions"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(
    tmp_path: Path, parameters: dict[str, Any], message: str
) -> None:
    _table().write_csv(tmp_path / "one.csv")
    _table(["07", "07", "c"]).write_csv(tmp_path / "twice.csv")
    _table(["07", "b", "x"]).write_csv(tmp_path / "foreign.csv")
    _table().clear().write_csv(tmp_path / "empty.csv")
    both = _table().with_columns(**dict(zip(CLASSES, HARMLESS.T, strict=True)))
    both.write_csv(tmp_path / "both.csv")
    learner = build(Precomputed, parameters, where="here", anchor=tmp_path)
    with pytest.raises(errors.DataError, match=message):
        learner.check_ids(IDS)


def test_folds_that_a_file_names_are_held_against_the_runs(tmp_path: Path) -> None:
    plan = pl.DataFrame({"id": IDS, "cluster": [1, 1, 2], "fold": [0, 0, 1]})

    def said(*folds: int) -> str | None:
        _table().with_columns(fold=pl.Series(folds)).write_csv(tmp_path / "oof.csv")
        return Precomputed(oof=tmp_path / "oof.csv").check_folds(plan)

    assert said(3, 3, 1) == "as the run"
    assert said(3, 3, 3) == "other"
    with pytest.raises(errors.DataError, match=r"cluster on the training side.*'07', 'b' \(2\)"):
        said(0, 1, 1)
    _table().write_csv(tmp_path / "oof.csv")
    assert Precomputed(oof=tmp_path / "oof.csv").check_folds(plan) is None


def test_files_of_one_fold_that_hold_all_rows_are_refused(tmp_path: Path) -> None:
    plan = pl.DataFrame({"id": IDS, "cluster": [1, 2, 3], "fold": [0, 0, 1]})
    paths = [tmp_path / f"fold{k}.csv" for k in range(2)]
    for fold, path in enumerate(paths):
        _table().with_columns(fold=pl.lit(float(fold))).write_csv(path)
    with pytest.raises(errors.DataError, match=r"files of several folds.*'07', 'b', 'c' \(3\)"):
        Precomputed(oof=paths).check_folds(plan)
    # Fold 0 of another split of the data is another seed; and so are files with folds of their own.
    _table(["07", "b"], LOGITS[:2]).with_columns(fold=pl.lit("0")).write_csv(paths[1])
    assert Precomputed(oof=paths).check_folds(plan) is not None
    for order, path in zip(([0, 0, 1], [1, 0, 0]), paths, strict=True):
        _table().with_columns(fold=pl.Series(order)).write_csv(path)
    assert Precomputed(oof=paths).check_folds(plan) is not None


def _of_fold(project: Project, folds: list[int], name: str) -> dict[str, Any]:
    """Write what an outside model would say of the rows of some folds of the project's plan."""
    first = run(project.config([FULL], run_dir="first"))
    rows = first.folds.filter(pl.col("fold").is_in(folds)).select("id", "fold")
    noise = np.random.default_rng(0).normal(size=(len(rows), 3))
    rows.with_columns(**dict(zip(LOGIT_COLUMNS, noise.T, strict=True))).write_csv(
        project.path / f"{name}.csv"
    )
    tests = first.battles.filter(pl.col("is_test"))["id"].to_list()
    _table(tests, np.tile([0.1, 0, 0], (len(tests), 1))).write_csv(project.path / "outside.csv")
    return {"name": name, "plugin": "precomputed", "oof": f"{name}.csv", "test": "outside.csv"}


@pytest.mark.slow
@pytest.mark.parametrize("folds", [[0], [0, 2]])
def test_a_learner_of_some_folds_ends_in_a_verdict_on_the_rows_that_all_have(
    project: Project, folds: list[int]
) -> None:
    outside = _of_fold(project, folds, "outside-oof")
    done = run(project.config([FULL, outside], run_dir="second"))
    rows = done.folds.filter(pl.col("fold").is_not_null())
    due = rows.filter(pl.col("fold").is_in(folds))["id"].to_list()
    logits = done.oof("outside-oof")
    has = logits.filter(pl.col("logit_a").is_not_nan())
    assert sorted(has["id"]) == sorted(due)
    assert (
        logits.filter(~pl.col("id").is_in(due))
        .select(pl.all_horizontal(pl.col(LOGIT_COLUMNS).is_nan().all()))
        .item()
    )
    stacked = done.probabilities()
    assert sorted(stacked.filter(pl.col(CLASSES[0]).is_not_nan())["id"]) == sorted(due)
    tables = json.loads((done.directory / "stack" / "candidates.json").read_text())
    lacking = len(rows) - len(due)
    assert (tables["rows_scored"], tables["rows_missing"]) == (len(due), lacking)
    assert tables["missing_by_learner"] == {"outside-oof": lacking}
    for fold in range(3):
        manifest = json.loads(
            (done.directory / f"learners/outside-oof/fold-{fold}/manifest.json").read_text()
        )
        assert manifest["rows"]["missing"] == (0 if fold in folds else manifest["rows"]["held_out"])
        assert manifest["brought"]["folds"] == "as the run"
    assert len(done.submission) == done.battles["is_test"].sum()
    assert done.submission.select(pl.all_horizontal(pl.col(CLASSES).is_finite().all())).item()
    audit = done.audit(deep=True)
    assert (audit.ok, audit.state) == (True, "unproven"), audit
    report = (done.directory / "report.html").read_text()
    assert f"outside-oof has no prediction of {lacking:,} target rows" in report


def _with_holdout(project: Project, ids: Callable[[list[str]], list[str]]) -> Any:
    """Make a run with a hold-out, and predictions from outside of some of the target's rows."""
    table = pl.read_csv(project.path / "train.csv", infer_schema=False)
    chosen = ids(table["id"].to_list())
    noise = np.random.default_rng(0).normal(size=(len(chosen), 3))
    _table(chosen, noise).write_csv(project.path / "whole.csv")
    tests = pl.read_csv(project.path / "test.csv", infer_schema=False)["id"].to_list()
    _table(tests, np.tile([0.1, 0, 0], (len(tests), 1))).write_csv(project.path / "outside.csv")
    outside = {"name": "o", "plugin": "precomputed", "oof": "whole.csv", "test": "outside.csv"}
    learners = [{"name": "p", "plugin": "prior"}, outside]
    return project.config(learners, folds={"n_splits": 3, "holdout": 0.2})


def test_predictions_of_the_hold_out_are_looked_up_for_the_last_score(project: Project) -> None:
    done = run(_with_holdout(project, lambda ids: ids))
    kept = done.folds.filter(pl.col("role") == "holdout")["id"]
    assert len(kept)
    assert done.holdout["rows"] == len(kept)
    assert [one["name"] for one in done.holdout["learners"]] == ["p", "o"]
    assert done.holdout["unproven"] == ("o",)
    assert not done.oof("o")["id"].is_in(kept.implode()).any()
    audit = done.audit(deep=True)
    assert (audit.ok, audit.state) == (True, "unproven"), audit


def test_predictions_that_lack_rows_of_the_hold_out_are_refused(project: Project) -> None:
    config = _with_holdout(project, lambda ids: ids)
    with pytest.raises(errors.ConfigError, match=r"rows of the hold-out have no prediction"):
        run(_with_holdout(project, lambda ids: [i for i in ids if i not in _kept(config)]))


def _kept(config: Any) -> set[str]:
    done = run(config)
    return set(done.folds.filter(pl.col("role") == "holdout")["id"])
