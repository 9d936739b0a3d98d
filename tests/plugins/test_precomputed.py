from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import CLASSES, FitContext, errors
from ensemble.battles.schema import LOGIT_COLUMNS, PREDICTION_SCHEMA
from ensemble.plugin.parameters import build
from ensemble_plugins.precomputed import Precomputed

if TYPE_CHECKING:
    from collections.abc import Sequence

IDS = ["07", "b", "c"]
LOGITS = np.array([[0.5, -0.5, 0.0], [1, 2, 3], [-1, 0, 4]], dtype=np.float32)


def _table(
    ids: Sequence[str | None] = IDS, values: Any = LOGITS, columns: Any = LOGIT_COLUMNS
) -> pl.DataFrame:
    return pl.DataFrame({"id": ids, **{name: values[:, i] for i, name in enumerate(columns)}})


def _battles(ids: Sequence[str]) -> pl.DataFrame:
    turns = pl.Series([["text"]] * len(ids), dtype=pl.List(pl.String))
    return pl.DataFrame({"id": ids, "prompt": turns, "response_a": turns, "response_b": turns})


def _fit(learner: Precomputed) -> Precomputed:
    return learner.fit(_battles(["x"]), np.eye(3)[:1], context=FitContext())


@pytest.fixture
def oof(tmp_path: Path) -> Path:
    path = tmp_path / "oof.parquet"
    _table().write_parquet(path)
    return path


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_logits_are_joined_by_id_in_the_battles_order(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"oof.{form}"
    _table().write_csv(path) if form == "csv" else _table().write_parquet(path)
    learner = _fit(Precomputed(oof=path))
    logits = learner.predict_logits(_battles(["c", "07"]))
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, LOGITS[[2, 0]])


def test_test_rows_come_from_the_test_file(tmp_path: Path, oof: Path) -> None:
    test = tmp_path / "test.csv"
    _table(["t"], LOGITS[:1] + 1).write_csv(test)
    learner = _fit(Precomputed(oof=oof, test=test))
    np.testing.assert_array_equal(
        learner.predict_logits(_battles(["t", "07"])), np.stack([LOGITS[0] + 1, LOGITS[0]])
    )


def test_probabilities_become_logits(tmp_path: Path) -> None:
    path = tmp_path / "oof.parquet"
    p = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    _table(["x", "y"], p, CLASSES).write_parquet(path)
    learner = _fit(Precomputed(oof=path, kind="probabilities"))
    expected = np.log([[0.2, 0.3, 0.5], [1.0, 1e-6, 1e-6]])
    np.testing.assert_allclose(learner.predict_logits(_battles(["x", "y"])), expected, rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(ids=st.lists(st.text("ab0-", min_size=1, max_size=5), min_size=1, max_size=8, unique=True))
def test_save_and_load_keep_every_prediction(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    directory = tmp_path_factory.mktemp("model")
    values = np.arange(3 * len(ids), dtype=np.float32).reshape(-1, 3)
    source = directory / "oof.parquet"
    _table(ids, values).write_parquet(source)
    (directory / "model").mkdir()
    _fit(Precomputed(oof=source)).save(directory / "model")
    source.unlink()
    restored = Precomputed(oof=source).load(directory / "model")
    np.testing.assert_array_equal(restored.predict_logits(_battles(ids[::-1])), values[::-1])


def test_an_unknown_row_says_how_to_give_its_predictions(oof: Path) -> None:
    learner = _fit(Precomputed(oof=oof))
    with pytest.raises(
        errors.LearnerError, match=r"no stored predictions for 'new1', 'new2' \(2\)"
    ) as e:
        learner.predict_logits(_battles(["b", "new1", "new2"]))
    assert "give it as `test =`" in str(e.value)
    assert str(oof) in str(e.value)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (["07", "b"], r"foreign 'c' \(1\)"),
        (["7", "b", "c"], r"missing '7' \(1\); foreign '07' \(1\)"),
        ([f"n{i}" for i in range(9)], r"missing 'n0', 'n1', 'n2', 'n3', 'n4', … \(9\)"),
    ],
)
def test_ids_that_are_not_the_runs_are_refused(
    oof: Path, tmp_path: Path, expected: list[str], message: str
) -> None:
    with pytest.raises(errors.DataError, match=message):
        Precomputed(oof=oof).check_ids(expected)
    with pytest.raises(errors.DataError, match=message):
        Precomputed(oof=tmp_path / "none.parquet", test=oof).check_test_ids(expected)


def test_target_rows_may_be_missing_and_test_rows_may_not(oof: Path) -> None:
    learner = Precomputed(oof=oof, test=oof)
    learner.check_ids([*IDS, "d"])
    with pytest.raises(errors.DataError, match=r"missing 'd' \(1\)"):
        learner.check_test_ids([*IDS, "d"])


def test_the_runs_own_ids_are_accepted_in_any_order(oof: Path) -> None:
    learner = Precomputed(oof=oof, test=oof)
    learner.check_ids(IDS[::-1])
    learner.check_test_ids(IDS)


def test_test_rows_without_a_test_file_are_an_error(oof: Path) -> None:
    with pytest.raises(errors.DataError, match="2 test rows have no predictions"):
        Precomputed(oof=oof).check_test_ids(["t1", "t2"])


def test_an_id_in_both_files_is_an_error(oof: Path) -> None:
    with pytest.raises(errors.DataError, match=r"ids stand in both files: '07', 'b', 'c' \(3\)"):
        _fit(Precomputed(oof=oof, test=oof))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (_table(["a", "a", "c"]), r"ids stand twice: 'a' \(1\)"),
        (_table([None, "b", "c"]), "1 rows have no id"),
        (_table(values=LOGITS + np.diag([0, np.nan, 0])), r"infinite: 'b' \(1\)"),
        (_table(values=LOGITS + np.array([[0], [0], [np.inf]])), r"NaN or infinite: 'c' \(1\)"),
        (_table().with_columns(logit_b=pl.Series([None, 1.0, 2.0])), r"infinite: '07' \(1\)"),
        (_table().with_columns(logit_b=pl.lit("x")), 'column "logit_b" holds String, not numbers'),
        (_table().drop("logit_tie"), "has columns of A and B alone"),
        (_table(columns=CLASSES), r"do not sum to 1: '07', 'b', 'c' \(3\)"),
    ],
)
def test_wrong_files_of_logits_are_refused(
    tmp_path: Path, table: pl.DataFrame, message: str
) -> None:
    path = tmp_path / "oof.parquet"
    table.write_parquet(path)
    with pytest.raises(errors.DataError, match=message) as error:
        _fit(Precomputed(oof=path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "row", [[0.5, 0.5, 0.5], [0.2, 0.2, 0.2], [1.2, -0.1, -0.1]], ids=["over", "under", "outside"]
)
def test_rows_that_are_no_distribution_are_refused(tmp_path: Path, row: list[float]) -> None:
    path = tmp_path / "oof.csv"
    _table(["a", "b"], np.array([[0.3, 0.3, 0.4], row]), CLASSES).write_csv(path)
    with pytest.raises(errors.DataError, match=r"do not sum to 1: 'b' \(1\)"):
        _fit(Precomputed(oof=path, kind="probabilities"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "no such file"),
        ("oof.parquet", b"not parquet", "not sound Parquet"),
        ("oof.csv", b"", "the file is empty"),
        ("oof.csv", b"a,b\n1,2\n", "columns are missing: id"),
        ("oof.pkl", b"x", 'not ".pkl"'),
    ],
)
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.DataError, match=message) as error:
        _fit(Precomputed(oof=path))
    assert str(path) in str(error.value)


def test_an_unknown_kind_names_those_there_are(oof: Path) -> None:
    with pytest.raises(ValueError, match='did you mean "logits"'):
        Precomputed(oof=oof, kind="logit")  # type: ignore[arg-type]


def test_a_damaged_store_is_an_error(tmp_path: Path, oof: Path) -> None:
    with pytest.raises(errors.ArtifactError, match="stored predictions cannot be read"):
        Precomputed(oof=oof).load(tmp_path)


def test_it_is_made_from_a_config_with_paths_beside_it(oof: Path) -> None:
    learner = build(Precomputed, {"oof": "oof.parquet"}, where="here", anchor=oof.parent)
    assert learner.oof == oof
    assert learner.trains is False
    learner.check_ids(IDS)


def test_stored_predictions_have_the_toolkits_schema(tmp_path: Path, oof: Path) -> None:
    (tmp_path / "model").mkdir()
    _fit(Precomputed(oof=oof)).save(tmp_path / "model")
    (stored,) = (tmp_path / "model").iterdir()
    assert pl.read_parquet_schema(stored) == pl.Schema(PREDICTION_SCHEMA)
