"""Calls into learners' own code: what it raises and returns, told with learner and fold."""

from __future__ import annotations

import errno
import json
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ensemble.errors import DataError, LearnerError
from ensemble.oof.guarded import check_logits, check_same, guarded, predict_checked
from ensemble.plugin.base import BaseLearner

WHERE = 'learner "x", fold 0'
IDS = pl.Series("id", ["a", "b", "c", "d", "e"])
GOOD = np.zeros((5, 3), dtype=np.float32)


def _raise(error: BaseException) -> Any:
    raise error


def _panic() -> Any:
    """A panic of Polars, which is no ``Exception``."""
    raise pl.exceptions.PanicException("index out of bounds")


@pytest.mark.parametrize(
    "error", [ValueError("no luck"), SystemExit("no luck"), MemoryError("no luck")]
)
def test_what_a_learner_raises_gets_verb_name_and_fold(error: BaseException) -> None:
    with pytest.raises(LearnerError, match=r"fit raised \w+: no luck") as caught:
        guarded("fit", WHERE, lambda: _raise(error))
    assert type(error).__name__ in caught.value.message
    assert str(caught.value.where).startswith(WHERE)
    assert caught.value.__cause__ is error


def test_the_place_names_the_last_line_of_the_plugins_own_code() -> None:
    def fit() -> None:
        np.linalg.inv(np.zeros((2, 2)))  # raises in the library

    with pytest.raises(LearnerError, match="Singular matrix") as caught:
        guarded("fit", WHERE, fit)
    assert caught.value.where == f"{WHERE}, {__file__}:{fit.__code__.co_firstlineno + 1}"


def test_the_standard_library_is_no_plugin() -> None:
    with pytest.raises(LearnerError, match="describe raised JSONDecodeError") as caught:
        guarded("describe", WHERE, partial(json.loads, "{"))
    assert caught.value.where == WHERE


def test_where_no_code_of_a_plugin_ran_no_line_is_named() -> None:
    with pytest.raises(LearnerError, match="fit raised TypeError") as caught:
        guarded("fit", WHERE, 7)  # type: ignore[arg-type]
    assert caught.value.where == WHERE


def test_a_panic_of_polars_is_the_learners_error() -> None:
    assert not issubclass(pl.exceptions.PanicException, Exception)
    with pytest.raises(LearnerError, match="fit raised PanicException: index out of bounds"):
        guarded("fit", WHERE, _panic)


@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), GeneratorExit("stop")])
def test_an_interruption_stays_one(error: BaseException) -> None:
    with pytest.raises(type(error), match="stop") as caught:
        guarded("fit", WHERE, lambda: _raise(error))
    assert caught.value is error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_is_not_the_learners_fault(number: int) -> None:
    with pytest.raises(OSError, match="disk") as caught:
        guarded("save", WHERE, lambda: _raise(OSError(number, "disk")))
    assert not isinstance(caught.value, LearnerError)


def test_a_full_disk_is_known_from_the_message_of_a_library_in_rust() -> None:
    from safetensors import SafetensorError

    full = SafetensorError("I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError, match="os error 28"):
        guarded("save", WHERE, lambda: _raise(full))


def test_a_file_that_the_learner_does_not_find_is() -> None:
    with pytest.raises(LearnerError, match="load raised FileNotFoundError"):
        guarded("load", WHERE, lambda: _raise(FileNotFoundError(errno.ENOENT, "gone")))


@pytest.mark.parametrize(("own", "told"), [(None, WHERE), ("x.csv:3", "x.csv:3")])
def test_an_error_of_ours_keeps_its_kind_and_its_place(own: str | None, told: str) -> None:
    with pytest.raises(DataError, match="bad file") as caught:
        guarded("fit", WHERE, lambda: _raise(DataError("bad file", where=own)))
    assert caught.value.where == told


def test_what_the_code_gives_is_given_back() -> None:
    assert guarded("fit", WHERE, lambda: 7) == 7


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
    with pytest.raises(LearnerError, match=message) as caught:
        check_logits(logits, IDS, WHERE)
    assert caught.value.where == WHERE


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_logits_that_are_not_finite_as_float32_are_named_and_counted(value: float) -> None:
    logits = np.zeros((5, 3))
    logits[[1, 2, 3, 4], [0, 1, 2, 0]] = value
    with pytest.raises(LearnerError, match="NaN or infinity for 4 of 5 rows") as caught:
        check_logits(logits, IDS, WHERE)
    assert caught.value.where == f"{WHERE}, ids b, c, d"


@given(npst.arrays(np.float64, (5, 3), elements=st.floats(-1e30, 1e30)))
def test_finite_floats_come_back_as_float32(logits: np.ndarray[Any, Any]) -> None:
    checked = check_logits(logits, IDS, WHERE)
    assert checked.dtype == np.float32
    assert np.array_equal(checked, logits.astype(np.float32))


class _Asked(BaseLearner):
    asked = 0

    def fit(self, *_: Any, **__: Any) -> Any:
        return self

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        self.asked += 1
        if "d" in battles["id"]:
            raise RuntimeError("no luck")
        return np.ones((len(battles), 3))

    def save(self, directory: Any) -> None: ...

    def load(self, directory: Any) -> Any:
        return self


def test_predictions_are_asked_for_and_checked() -> None:
    battles = IDS.to_frame()
    assert predict_checked(_Asked(), battles.head(3), WHERE).tolist() == [[1.0] * 3] * 3
    with pytest.raises(LearnerError, match="predict_logits raised RuntimeError: no luck"):
        predict_checked(_Asked(), battles, WHERE)


def test_a_learner_is_not_asked_about_no_rows() -> None:
    learner = _Asked()
    none = predict_checked(learner, IDS.to_frame().clear(), WHERE)
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
        LearnerError, match="other logits in another order: .* up to 0.25"
    ) as caught:
        check_same(GOOD, again, 0.002, "in another order", WHERE)
    assert caught.value.where == WHERE
    assert caught.value.mend is not None
    assert "batch_tolerance (0.002)" in caught.value.mend
