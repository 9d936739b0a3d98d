"""Predictions from outside in every form: by id, of folds, of seeds, in part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import CLASSES, errors
from ensemble_plugins.precomputed import Precomputed
from tests.plugins.outside_files import (
    FORMS,
    HARMLESS,
    IDS,
    LOGITS,
    oof_table,
    predict_from,
    write_jsonl,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_logits_and_nan_for_rows_it_lacks(
    tmp_path: Path, name: str
) -> None:
    FORMS[name](oof_table(), tmp_path / name)
    found = predict_from(["c", "absent", "07", "b"], oof=tmp_path / name)
    np.testing.assert_allclose(found[[2, 3, 0]], LOGITS, atol=1e-6)
    assert len(predict_from(oof=str(tmp_path / name))) == 3
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize("name", ["oof.csv", "oof.parquet", "oof.npz"])
def test_probabilities_are_recognized(tmp_path: Path, name: str) -> None:
    FORMS[name](oof_table(values=HARMLESS, names=CLASSES), tmp_path / name)
    np.testing.assert_allclose(predict_from(oof=tmp_path / name), np.log(HARMLESS), rtol=1e-5)


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    names = ["p_a", "p_b", "p_tie"]
    table = oof_table(values=HARMLESS, names=names).rename({"id": "key"})
    table.write_csv(tmp_path / "oof.csv")
    columns = {"id": "key", **dict(zip(CLASSES, names, strict=True))}
    found = predict_from(oof=tmp_path / "oof.csv", columns=columns)
    np.testing.assert_allclose(found, np.log(HARMLESS), rtol=1e-5)
    with pytest.raises(errors.DataError, match="columns are missing: winner_model_a") as error:
        predict_from(oof=tmp_path / "oof.csv", columns={"id": "key"}, kind="probabilities")
    assert "there are: key, p_a, p_b, p_tie" in str(error.value)
    with pytest.raises(ValueError, match='"winner_a".*did you mean'):
        Precomputed(oof=tmp_path / "oof.csv", columns={"winner_a": "p_a"})


def test_what_is_stated_goes_before_names_of_columns(tmp_path: Path) -> None:
    oof_table(names=CLASSES).write_csv(tmp_path / "oof.csv")
    found = predict_from(oof=tmp_path / "oof.csv", kind="logits")
    np.testing.assert_allclose(found, LOGITS, atol=1e-6)


@pytest.mark.parametrize("ids", ["ids.txt", "ids.csv", "ids.npy", "ids.jsonl"])
def test_an_array_takes_its_ids_from_a_file(tmp_path: Path, ids: str) -> None:
    np.save(tmp_path / "oof.npy", LOGITS)
    frame = pl.DataFrame({"id": IDS, "prompt": ["x", "y", "z"]})
    forms: dict[str, Callable[[Path], Any]] = {
        ".txt": lambda path: path.write_text("\n".join(IDS) + "\n"),
        ".csv": lambda path: frame.write_csv(path),
        ".npy": lambda path: np.save(path, np.array(IDS)),
        ".jsonl": lambda path: write_jsonl(frame, path),
    }
    forms[Path(ids).suffix](tmp_path / ids)
    found = predict_from(oof=tmp_path / "oof.npy", ids=tmp_path / ids)
    np.testing.assert_array_equal(found, LOGITS)


def test_files_of_folds_are_put_together(tmp_path: Path) -> None:
    for fold, name in enumerate(IDS):
        oof_table([name], LOGITS[[fold]]).write_csv(tmp_path / f"oof-fold{fold}.csv")
    found = predict_from(oof=tmp_path / "oof-fold*.csv")
    np.testing.assert_allclose(found, LOGITS, atol=1e-6)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_rows_of_several_seeds_are_averaged_by_id(tmp_path: Path, average: Any) -> None:
    """Three seeds: one in another order, and one that lacks a row."""
    seeds = [LOGITS, LOGITS + np.diag([1, 2, 3]), LOGITS * 2]
    orders = [[0, 1, 2], [2, 0, 1], [0, 2]]
    paths = [tmp_path / f"seed{i}.parquet" for i in range(3)]
    for path, values, order in zip(paths, seeds, orders, strict=True):
        oof_table([IDS[i] for i in order], values[order]).write_parquet(path)
    found = predict_from(oof=paths, average=average)
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
    FORMS[name](oof_table(values=values), tmp_path / name)
    found = predict_from(oof=tmp_path / name)
    np.testing.assert_allclose(found[[0, 2]], LOGITS[[0, 2]], atol=1e-6)
    assert np.isnan(found[1]).all()
    FORMS[name](oof_table(values=values * np.nan), tmp_path / name)
    with pytest.raises(errors.DataError, match="no row of the file has a prediction"):
        predict_from(oof=tmp_path / name)
    values[1, 1] = 0.5
    FORMS[name](oof_table(values=values), tmp_path / name)
    with pytest.raises(errors.DataError, match=r"empty, NaN or infinite: 'b' \(1\)"):
        predict_from(oof=tmp_path / name)


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
            predict_from(ids, oof=tmp_path / "oof.npz", kind=kind)
    # A few of them may well be meant: even odds.
    np.savez(tmp_path / "oof.npz", id=np.array(IDS), oof=LOGITS * [[1], [0], [1]])
    assert (predict_from(oof=tmp_path / "oof.npz", kind="logits")[1] == 0).all()


def test_a_text_file_of_ids_may_begin_with_a_mark_and_end_with_blank_lines(tmp_path: Path) -> None:
    np.save(tmp_path / "oof.npy", LOGITS)
    (tmp_path / "ids.txt").write_text("\ufeff" + "\n".join(IDS) + "\n\n", encoding="utf-8")
    np.testing.assert_array_equal(
        predict_from(oof=tmp_path / "oof.npy", ids=tmp_path / "ids.txt"), LOGITS
    )
