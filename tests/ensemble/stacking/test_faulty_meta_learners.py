from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from ensemble import FitContext, MetaFeatures, errors
from ensemble.stacking.candidates import Mean
from ensemble.stacking.listed import list_candidates
from ensemble.storage.directories import read_manifest
from ensemble.storage.json_files import read_json
from ensemble_plugins.lightgbm_stacker import LightGBMStacker
from ensemble_plugins.stacker_trees import Trees
from tests.ensemble.stacking.drawn_stacks import draw_data, small_stacker, stack_data

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.plugin.base import FloatArray, IntArray


@pytest.mark.parametrize("name", ["mean", "auto", "../up", "a/b", "a\\b", "..", ""])
def test_a_meta_learner_cannot_take_a_name_that_is_taken_or_leaves_the_run(name: str) -> None:
    with pytest.raises(errors.ConfigError, match="cannot name a meta-learner"):
        list_candidates(2, small_stacker, name)


TINY = draw_data(12)


class Faulty(LightGBMStacker):
    """Does what it should, but for one method."""

    def __init__(self, method: str = "save") -> None:
        super().__init__(n_estimators=2, seeds=1)
        self.method = method

    def describe(self) -> dict[str, Any]:
        return {"weight": float("nan")} if self.method == "describe" else super().describe()

    def save(self, directory: Path) -> None:
        if self.method == "save":
            raise RuntimeError("cannot")
        super().save(directory)

    def load(self, directory: Path) -> Self:
        if self.method == "load":
            raise KeyError("weights")
        super().load(directory)
        if self.method == "forget":
            self.trees_ = [Trees(None)]
            self.start_ = Mean().fit(TINY.meta, TINY.labels, context=FitContext())
        return None if self.method == "load nothing" else self  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("save", "save raised RuntimeError: cannot"),
        ("describe", "describe raised ValueError"),
        ("load", "load raised KeyError: 'weights'"),
        ("load nothing", "load returned NoneType, not the meta-learner"),
        ("forget", "other probabilities after it was saved and loaded: they differ by up to"),
    ],
)
def test_a_faulty_meta_learner_is_named_and_leaves_the_simple_candidates(
    method: str, message: str, tmp_path: Path
) -> None:
    directory = tmp_path / "stack"
    verdict = stack_data(
        directory,
        draw_data(90),
        meta_learner=lambda: Faulty(method),
        meta_learner_name="faulty",
        choose="faulty",
    )
    (failure,) = verdict["failed"]
    assert failure["name"] == "faulty" and message in failure["reason"]
    assert (f"{__file__}:" in str(failure["line"])) == (method in ("save", "load"))
    assert verdict["chosen"] in [entry["name"] for entry in verdict["candidates"]]
    assert f"The meta-learner faulty failed: {failure['reason']}" in verdict["sentence"]
    alone = stack_data(tmp_path / "alone", draw_data(90), meta_learner=None)
    for key in ("chosen", "rule", "candidates"):
        assert verdict[key] == alone[key]
    assert read_manifest(directory)["failed"] == verdict["failed"]
    assert {path.name for path in (directory / "model").iterdir()} == {
        entry["name"] for entry in verdict["candidates"]
    }


class Vandal(LightGBMStacker):
    """Makes all labels and logits its own, in place."""

    def fit(
        self,
        meta: MetaFeatures,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        super().fit(meta, labels, sample_weight=sample_weight, groups=groups, context=context)
        labels[:] = meta.logits[:] = [0, 0, 1]
        assert groups is not None
        groups[:] = 0
        return self


def test_a_meta_learner_that_writes_over_its_arrays_changes_no_score(tmp_path: Path) -> None:
    made = {}
    for name, kind in (("honest", LightGBMStacker), ("vandal", Vandal)):
        data = draw_data(120)
        stack_data(
            tmp_path / name, data, meta_learner=lambda kind=kind: kind(n_estimators=2, seeds=1)
        )
        np.testing.assert_array_equal(data.labels, draw_data(120).labels)
        tables = read_json(tmp_path / name / "candidates.json")
        for entry in tables["candidates"]:
            entry.pop("seconds")
        made[name] = (tables, read_json(tmp_path / name / "verdict.json"))
    assert made["vandal"] == made["honest"]
