"""Jobs that run out of memory, are killed or hang: each fails alone and is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.ensemble.kills.killed_run import LEARNERS, Scene, undisturbed

if TYPE_CHECKING:
    from tests.fixture_types import Project

pytestmark = pytest.mark.slow
MEMORY = {
    "memory": "fit raised MemoryError",
    "allocates": "Unable to allocate 32.0 GiB",
    "killed": "it was killed by SIGKILL, which the system sends where memory runs out",
}
HANGS = {
    "hangs": "it was stopped: it took longer than time_limit = 5 s",
    "spins": "it was stopped: it took longer than time_limit = 5 s",
}
LONGEST = 500.0
"""Seconds for all of it, of which a job that is not stopped would take 600."""


@pytest.mark.parametrize(
    ("executor", "kinds"),
    [
        ("processes", MEMORY | HANGS),
        ("in-process", HANGS | {"memory": MEMORY["memory"]}),
    ],
    ids=["processes", "in-process"],
)
def test_each_fails_alone_is_told_and_the_same_command_mends_it(
    executor: str, kinds: dict[str, str], project: Project
) -> None:
    mended = project.path / "mended"
    bad = [
        {"name": how, "plugin": "paced.py:Paced", "how": how, "unless": str(mended)}
        | ({"time_limit": 5.0} if how in HANGS else {})
        for how in kinds
    ]
    execution = {"executor": executor, "workers": 2, "threads": 1}
    learners: list[dict[str, Any]] = [LEARNERS[0], *bad, LEARNERS[1]]
    scene = Scene.of(project, learners, execution=execution)
    began = time.monotonic()
    said = scene.finish(1)
    assert time.monotonic() - began < LONGEST
    assert f"{len(kinds)} of {len(learners)} learners failed; everything else is done" in said
    for how, reason in kinds.items():
        (row,) = [line for line in said.splitlines() if line.startswith(f"  {how} ")]
        assert "fold 0" in row and reason in row
        assert f"--learner {how}" in said
    told = scene.finish(0, "status")
    assert "failed" in told and all(reason in told for reason in kinds.values())
    kept = scene.complete_fits()
    assert len(kept) == 4 and len(scene.submission().splitlines()) == 10
    assert not scene.survivors()
    mended.touch()
    scene.finish()
    assert kept.items() <= scene.complete_fits().items()
    assert scene.submission() == undisturbed(project, learners)[0]
