"""Calls into learners' own code: what it raises and returns, told with learner and fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ensemble import CLASSES, BaseLearner, errors
from ensemble.oof.calls import check_logits, check_same, predict_validated

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from ensemble.plugin.base import LogitArray

WHERE = 'learner "x", fold 0'
IDS = pl.Series("id", ["a", "b", "c", "d", "e"])
GOOD = np.zeros((5, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (GOOD[:4], r"shape \(4, 3\), not \(5, 3\)"),
        (GOOD[:, :2], r"shape \(5, 2\), not \(5, 3\)"),
        (GOOD[0], r"shape \(3,\)"),
        (None, r"shape \(\)"),
        ([[0.0, 1.0], [2.0]], "returned no array"),
        (np.zeros((5, 3), dtype=int), "returned int64, not floats"),
        (np.full((5, 3), "0.5"), "not floats"),
        (np.zeros((5, 3), dtype=complex), "returned complex128, not floats"),
    ],
)
def test_what_is_no_array_of_floats_is_refused(logits: object, message: str) -> None:
    with pytest.raises(errors.LearnerError, match=message) as caught:
        check_logits(logits, IDS, WHERE)
    assert caught.value.where == WHERE


class _Tensor:
    """What a tensor of torch is to others: no array until it is detached, moved and made float."""

    def __init__(self, numbers: Any, dtype: str = "bfloat16", *, ready: int = 0) -> None:
        self.numbers, self.dtype, self.ready = numbers, dtype, ready

    def __array__(self, *_: object, **__: object) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def detach(self) -> _Tensor:
        return _Tensor(self.numbers, self.dtype, ready=1)

    def cpu(self) -> _Tensor:
        return _Tensor(self.numbers, self.dtype, ready=self.ready + 1)

    def is_floating_point(self) -> bool:
        return "float" in self.dtype

    def float(self) -> _Tensor:
        return _Tensor(self.numbers, "float32", ready=self.ready)

    def numpy(self) -> Any:
        if self.ready < 2 or self.dtype == "bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return np.asarray(self.numbers, dtype=self.dtype)


WANTED = np.arange(15.0).reshape(5, 3)
BY_NAME = dict(zip(CLASSES, WANTED.T, strict=True))


@pytest.mark.parametrize(
    "logits",
    [
        _Tensor(WANTED),
        WANTED.tolist(),
        [row for row in WANTED],  # noqa: C416 - a list of arrays
        pl.DataFrame(BY_NAME),
        pl.DataFrame(BY_NAME).select(CLASSES[2], CLASSES[0], CLASSES[1]),
        pl.DataFrame(WANTED, schema=["logit_a", "logit_b", "logit_tie"]),
        np.ma.masked_array(WANTED),
    ],
)
def test_what_stands_for_an_array_is_taken_as_one(logits: object) -> None:
    assert np.array_equal(check_logits(logits, IDS, WHERE), WANTED.astype(np.float32))


def test_a_frame_of_pandas_is_taken_by_name_too() -> None:
    pandas = pytest.importorskip("pandas")
    for frame in (pandas.DataFrame(WANTED), pandas.DataFrame(BY_NAME)[[*reversed(CLASSES)]]):
        assert np.array_equal(check_logits(frame, IDS, WHERE), WANTED)


def test_tensors_of_torch_are_taken_as_they_come() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        tensor = torch.tensor(WANTED, dtype=dtype, requires_grad=True)
        assert np.array_equal(check_logits(tensor, IDS, WHERE), WANTED)
    with pytest.raises(errors.LearnerError, match="returned int64, not floats"):
        check_logits(torch.zeros((5, 3), dtype=torch.int64), IDS, WHERE)
    with pytest.raises(errors.LearnerError, match="returned complex64, not floats"):
        check_logits(torch.zeros((5, 3), dtype=torch.complex64), IDS, WHERE)


def test_an_array_that_is_read_only_is_copied() -> None:
    frozen = WANTED.astype(np.float32)
    frozen.flags.writeable = False
    assert check_logits(frozen, IDS, WHERE).flags.writeable


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (pl.DataFrame({"id": IDS, **BY_NAME}), "a frame with the columns id, winner_model_a"),
        (pl.DataFrame(WANTED, schema=["x", "y", "z"]), "a frame with the columns x, y, z"),
        (_Tensor(GOOD, "int64"), "returned int64, not floats"),
        (np.ma.masked_array(WANTED, mask=WANTED > 3), "masked values"),
        (WANTED.astype(object), "returned object, not floats"),
        ({"a": 1.0}, r"shape \(\)"),
        ((row for row in WANTED), r"shape \(\)"),
        ([object()] * 5, r"shape \(5,\)"),
        ([_Tensor(row) for row in WANTED], "no array, but a list: can't convert cuda:0"),
    ],
)
def test_what_could_mean_several_things_is_refused(logits: object, message: str) -> None:
    with pytest.raises(errors.LearnerError, match=message) as caught:
        check_logits(logits, IDS, WHERE)
    assert caught.value.where == WHERE
    assert caught.value.hint is not None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_logits_that_are_not_finite_as_float32_are_named_and_counted(value: float) -> None:
    logits = np.zeros((5, 3))
    logits[[1, 2, 3, 4], [0, 1, 2, 0]] = value
    with pytest.raises(errors.LearnerError, match="NaN or infinity for 4 of 5 rows") as caught:
        check_logits(logits, IDS, WHERE)
    assert caught.value.where == f"{WHERE}, ids b, c, d"


@given(npst.arrays(np.float64, (5, 3), elements=st.floats(-1e30, 1e30)))
def test_finite_floats_come_back_as_float32(logits: np.ndarray[Any, Any]) -> None:
    checked = check_logits(logits, IDS, WHERE)
    assert checked.dtype == np.float32
    assert np.array_equal(checked, logits.astype(np.float32))


class _Asked(BaseLearner):
    asked = 0

    def fit(self, *_: object, **__: object) -> Self:
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        self.asked += 1
        if "d" in battles["id"]:
            raise RuntimeError("no luck")
        return np.ones((len(battles), 3), np.float32)

    def save(self, directory: Any) -> None: ...

    def load(self, directory: Path) -> Self:
        return self


def test_predictions_are_asked_for_and_checked() -> None:
    battles = IDS.to_frame()
    assert predict_validated(_Asked(), battles.head(3), WHERE).tolist() == [[1.0] * 3] * 3
    with pytest.raises(errors.LearnerError, match="predict_logits raised RuntimeError: no luck"):
        predict_validated(_Asked(), battles, WHERE)


def test_a_learner_is_not_asked_about_no_rows() -> None:
    learner = _Asked()
    none = predict_validated(learner, IDS.to_frame().clear(), WHERE)
    assert learner.asked == 0
    assert none.shape == (0, 3)
    assert none.dtype == np.float32


def test_logits_that_differ_within_the_tolerance_are_the_same() -> None:
    check_same(GOOD, GOOD + np.float32(0.001), 0.002, "in another order", WHERE)
    check_same(GOOD[:0], GOOD[:0], 0.0, "in another order", WHERE)


def test_logits_that_differ_by_more_are_not() -> None:
    again = GOOD.copy()
    again[2, 1] = -0.25
    with pytest.raises(
        errors.LearnerError, match="other logits in another order: .* up to 0.25"
    ) as caught:
        check_same(GOOD, again, 0.002, "in another order", WHERE)
    assert caught.value.where == WHERE
    assert caught.value.hint is not None
    assert "batch_tolerance (0.002)" in caught.value.hint


def test_columns_that_a_learner_puts_into_its_battles_reach_nobody_else() -> None:
    class Adds(_Asked):
        def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
            battles.insert_column(0, pl.Series("mine", range(len(battles))))
            return np.ones((len(battles), 3), np.float32)

    battles = IDS.to_frame()
    predict_validated(Adds(), battles, WHERE)
    assert battles.columns == ["id"]
