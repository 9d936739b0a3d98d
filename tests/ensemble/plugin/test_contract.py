"""What learners say of themselves, sense and nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import BaseLearner, MetaLearner, Resources, errors
from ensemble.plugin.contract import (
    contract_faults,
    dependencies_of,
    resources_of,
    teachers_of,
    tolerance_of,
)
from tests.fakes import raising

if TYPE_CHECKING:
    from typing import Self

    from ensemble import FitContext, MetaFeatures
    from ensemble.plugin.base import FloatArray, IntArray, LogitArray

WHERE = 'learner "x"'


class Sound(BaseLearner):
    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        return np.zeros((len(battles), 3), np.float32)

    def save(self, directory: Path) -> None: ...

    def load(self, directory: Path) -> Self:
        return self


def _with(**members: Any) -> Any:
    return type("Odd", (Sound,), members)()


def test_a_sound_learner_has_no_faults() -> None:
    assert list(contract_faults(Sound(), WHERE)) == []
    assert resources_of(Sound(), WHERE) == Resources()
    assert teachers_of(_with(teachers=["a"]), WHERE) == ("a",)
    named = {"file": Path("x"), "n": 1, "none": None}
    assert dependencies_of(_with(dependencies=lambda _: named), WHERE) == named


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("resources", {"gpus": 1}, "resources gives .*no Resources"),
        ("resources", Resources(gpus=-1), "gpus -1"),
        ("resources", Resources(gpus=0.5), "gpus 0.5"),  # type: ignore[arg-type]
        ("resources", Resources(memory_gib="8"), "memory_gib '8'"),  # type: ignore[arg-type]
        ("resources", Resources(minutes=float("nan")), "minutes nan"),
        ("resources", property(raising(SystemExit(0))), "resources raised SystemExit: 0"),
        ("dependencies", lambda _: [], "gives list, no mapping"),
        ("dependencies", lambda _: {1: 2}, "the name 1, no string"),
        ("dependencies", lambda _: {"x": object()}, 'for "x" a object'),
        ("dependencies", lambda _: {"x": float("nan")}, 'for "x" a float'),
        ("dependencies", raising(OSError("gone")), "dependencies raised OSError: gone"),
        ("teachers", "abc", "no sequence of names"),
        ("teachers", [1], "no sequence of names"),
        ("teachers", None, "no sequence of names"),
        ("teachers", property(raising(ValueError("x"))), "teachers raised ValueError: x"),
        ("cautions", "abc", "cautions gives 'abc', no sequence of sentences"),
        ("doubts", [1], "doubts gives .*no sequence of sentences"),
        ("doubts", property(raising(ValueError("x"))), "doubts raised ValueError: x"),
        ("batch_tolerance", None, "batch_tolerance gives None"),
        ("batch_tolerance", float("inf"), "batch_tolerance gives inf"),
        ("batch_tolerance", True, "batch_tolerance gives True"),
        ("trains", property(lambda _: True), "neither True nor False on the class"),
        ("cheap", 1, "cheap gives 1"),
        ("version", 2, "version gives 2, no string"),
    ],
)
def test_nonsense_is_named(name: str, value: object, told: str) -> None:
    (fault,) = contract_faults(_with(**{name: value}), WHERE)
    with pytest.raises(errors.LearnerError, match=told) as caught:
        raise fault
    assert str(caught.value.where).startswith(WHERE)


@pytest.mark.parametrize(
    ("name", "method", "told"),
    [
        ("fit", lambda self, battles, labels: self, "unexpected keyword argument 'sample_weight'"),
        ("fit", lambda self, battles: self, "too many positional arguments"),
        ("fit", lambda self, b, y, extra, **_: self, "missing a required argument: 'extra'"),
        ("pretrain", lambda self, b, y, *, context: self, "'sample_weight'"),
        ("predict_logits", lambda self: None, "too many positional arguments"),
        ("predict_logits", lambda self, b, *, device: None, "missing a required .*'device'"),
        ("predict_logits", None, ""),
        ("save", lambda self: None, "save cannot be called as it will be"),
        ("load", 3, "load is a int, no method"),
        ("check", lambda self, battles: {}, "'context'"),
    ],
)
def test_a_method_that_cannot_be_called_is_named(name: str, method: object, told: str) -> None:
    faults = list(contract_faults(_with(**{name: method}), WHERE))
    if not told:
        assert not faults
        return
    (fault,) = faults
    with pytest.raises(errors.LearnerError, match=told) as caught:
        raise fault
    if callable(method):
        assert f"write def {name}(self, " in str(caught.value.hint)


def test_methods_of_every_kind_that_can_be_called_are_sound() -> None:
    anything = {
        "fit": lambda *_, **__: None,
        "predict_logits": staticmethod(lambda battles: None),
        "load": classmethod(lambda kind, directory: None),
    }
    assert list(contract_faults(_with(**anything), WHERE)) == []


def test_a_meta_learner_is_held_to_its_own_contract() -> None:
    class Odd(MetaLearner):
        def fit(self, meta: MetaFeatures, labels: FloatArray) -> Self:  # type: ignore[override]
            return self

        def predict_proba(self, meta: MetaFeatures) -> FloatArray:
            raise NotImplementedError

        def save(self, directory: Path) -> None: ...

        def load(self, directory: Path) -> Self:
            raise NotImplementedError

    (fault,) = contract_faults(Odd(), WHERE)
    assert "sample_weight" in fault.message
    assert "def fit(self, meta, labels, *, sample_weight=None" in str(fault.hint)


def test_tolerance_is_a_number() -> None:
    assert tolerance_of(_with(batch_tolerance=1), WHERE) == 1.0
