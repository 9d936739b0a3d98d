"""Predictions from outside that cannot be meant, and those of other folds than the run's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import CLASSES, errors
from ensemble.plugin.parameters import build
from ensemble_plugins.precomputed import Precomputed
from tests.plugins.outside_files import HARMLESS, IDS, LOGITS, oof_table, predict_from

if TYPE_CHECKING:
    from collections.abc import Callable


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
        (lambda path: np.save(path, 100 * HARMLESS), "percentages: each row sums to 100"),
        (lambda path: np.save(path, (100 * HARMLESS).astype(int)), "percentages"),
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
        predict_from(oof=tmp_path / "oof.npy", ids=tmp_path / "ids.txt")
    assert str(tmp_path) in str(error.value)


def test_archives_of_arrays_that_are_unclear_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "oof.npz"
    np.savez(path, oof=LOGITS)
    with pytest.raises(errors.DataError, match="there are no ids"):
        predict_from(oof=path)
    np.savez(path, id=np.array(IDS), oof=LOGITS, test=LOGITS)
    with pytest.raises(errors.DataError, match="which array holds the predictions is not clear"):
        predict_from(oof=path)
    np.savez(path, id=np.array(IDS, dtype=object), oof=LOGITS)
    with pytest.raises(errors.DataError, match="Python objects"):
        predict_from(oof=path)
    np.savez(path, id=np.array([1.0, 2.0, 3.0]), oof=LOGITS)
    with pytest.raises(errors.DataError, match="the ids are an array of float64"):
        predict_from(oof=path)


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
    oof_table().write_csv(tmp_path / "one.csv")
    oof_table(["07", "07", "c"]).write_csv(tmp_path / "twice.csv")
    oof_table(["07", "b", "x"]).write_csv(tmp_path / "foreign.csv")
    oof_table().clear().write_csv(tmp_path / "empty.csv")
    both = oof_table().with_columns(**dict(zip(CLASSES, HARMLESS.T, strict=True)))
    both.write_csv(tmp_path / "both.csv")
    learner = build(Precomputed, parameters, where="here", anchor=tmp_path)
    with pytest.raises(errors.DataError, match=message):
        learner.check_ids(IDS)


def test_one_column_is_no_prediction_of_two_classes() -> None:
    columns = {"logit_a": "x", "logit_b": "x"}
    with pytest.raises(ValueError, match='gives "x" for logit_a and for logit_b'):
        Precomputed(oof=Path("oof.csv"), columns=columns)


def test_folds_that_a_file_names_are_held_against_the_runs(tmp_path: Path) -> None:
    plan = pl.DataFrame({"id": IDS, "cluster": [1, 1, 2], "fold": [0, 0, 1]})

    def said(*folds: int) -> str | None:
        oof_table().with_columns(fold=pl.Series(folds)).write_csv(tmp_path / "oof.csv")
        return Precomputed(oof=tmp_path / "oof.csv").check_folds(plan)

    assert said(3, 3, 1) == "as the run"
    assert said(3, 3, 3) == "other"
    with pytest.raises(errors.DataError, match=r"cluster on the training side.*'07', 'b' \(2\)"):
        said(0, 1, 1)
    oof_table().write_csv(tmp_path / "oof.csv")
    assert Precomputed(oof=tmp_path / "oof.csv").check_folds(plan) is None


def test_files_of_one_fold_that_hold_all_rows_are_refused(tmp_path: Path) -> None:
    plan = pl.DataFrame({"id": IDS, "cluster": [1, 2, 3], "fold": [0, 0, 1]})
    paths = [tmp_path / f"fold{k}.csv" for k in range(2)]
    for fold, path in enumerate(paths):
        oof_table().with_columns(fold=pl.lit(float(fold))).write_csv(path)
    with pytest.raises(errors.DataError, match=r"files of several folds.*'07', 'b', 'c' \(3\)"):
        Precomputed(oof=paths).check_folds(plan)
    # Fold 0 of another split of the data is another seed; and so are files with folds of their own.
    oof_table(["07", "b"], LOGITS[:2]).with_columns(fold=pl.lit("0")).write_csv(paths[1])
    assert Precomputed(oof=paths).check_folds(plan) is not None
    for order, path in zip(([0, 0, 1], [1, 0, 0]), paths, strict=True):
        oof_table().with_columns(fold=pl.Series(order)).write_csv(path)
    assert Precomputed(oof=paths).check_folds(plan) is not None
