"""Damage in what a run that is not done leaves: failures, fits that are kept, what time has cut."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.ensemble.faults import damage as damages
from tests.ensemble.faults.small_runs import SEED, SmallRun, verb
from tests.ensemble.faults.write_layer import WriteLayer
from tests.fakes import Prior

if TYPE_CHECKING:
    from tests.ensemble.faults.damage import Damage
    from tests.fixture_types import Project

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("one", damages.DAMAGES)
def test_a_damaged_failure_is_named_and_told_anew(
    project: Project, small_run: SmallRun, one: Damage
) -> None:
    learners = [{"name": "p", "plugin": "prior"}, {"name": "bad", "plugin": "raises"}]
    project.config(
        learners,
        stack={"meta_learner": "none", "resamples": 100},
        execution={"threads": 1, "executor": "in-process"},
    )
    before = small_run.run()
    assert before.code == 1
    place = small_run.directory / "learners" / "bad" / "failure.json"
    content = place.read_bytes()
    Prior.seen.clear()
    damages.do(place, one, random.Random(SEED))
    told = verb("status", small_run.directory).out
    assert one == "gone" or "damaged  learners/bad/failure.json" in told
    again = verb("run", small_run.config)
    assert again.code == 1
    assert "no luck today" in again.err
    assert one == "gone" or "learners/bad/failure.json is damaged" in again.err
    assert place.read_bytes() == content
    assert not Prior.seen


@pytest.mark.parametrize("one", damages.DAMAGES)
def test_a_fit_that_is_kept_and_damaged_is_made_again(small_run: SmallRun, one: Damage) -> None:
    assert small_run.run().code == 0
    submission = small_run.submission()
    undisturbed = {path.name for path in small_run.directory.iterdir()}
    for pattern in ("fitted/manifest.json", "fitted/model/prior.json", "said.json"):
        _leave_a_kept_fit(small_run)
        (path,) = small_run.directory.glob(f"checkpoints/p/fold-0-*/kept-fit/{pattern}")
        damages.do(path, one, random.Random(SEED))
        Prior.seen.clear()
        ended = small_run.run()
        assert ended.code == 0, ended
        assert small_run.submission() == submission
        assert len(Prior.seen) <= 2
        assert {path.name for path in small_run.directory.iterdir()} == undisturbed


def _leave_a_kept_fit(run: SmallRun) -> None:
    """Run until a fit is done and has said something, and no further."""
    import shutil

    shutil.rmtree(run.directory)
    with WriteLayer(run.place) as layer:
        assert run.run().code == 0
    at = next(
        number
        for number, call in enumerate(layer.calls)
        if call.operation == "write" and "oof/fitting.py" in call.site
    )
    shutil.rmtree(run.directory)
    with WriteLayer(run.place, at, "broken"):
        assert run.run().code == 1
