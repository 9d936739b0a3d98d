"""A stack adds up alike whatever the number of cores: BLAS divides long sums among its threads."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from ensemble.stacking import build
from ensemble.stacking.tries import TryStore
from ensemble.storage.hashing import files_below
from tests.ensemble.stacking.drawn_stacks import draw_data

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Project

ROWS = 30_000
"""More than the 10,000 from which BLAS divides a sum."""


def _stack(project: Project, directory: Path, threads: int) -> dict[str, bytes]:
    workspace: Any = SimpleNamespace(with_folds=lambda _: None)
    manifest = {"key": "k", "learners": ["first", "second"], "key_parts": {"pairs": {}}}
    directory.mkdir()
    with threadpool_limits(threads, user_api="blas"):
        assert {one["num_threads"] for one in _blas()} == {threads}
        stack, tries = directory / "stack", TryStore(directory, "0" * 64)
        build.make_stack(project.config(), workspace, stack, manifest, tries=tries)
    contents = {name: (stack / name).read_bytes() for name in files_below(stack)}
    del contents["manifest.json"]  # it has the digests of the others
    contents["candidates.json"] = re.sub(rb'"seconds": [0-9.]+', b"", contents["candidates.json"])
    return contents


def _blas() -> list[dict[str, Any]]:
    return [one for one in threadpool_info() if one["user_api"] == "blas"]


@pytest.mark.slow
def test_a_stack_of_many_rows_has_the_same_bytes_on_one_core_and_on_two(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "stacked_folds", lambda _: None)
    monkeypatch.setattr(build, "stacked_specs", lambda _: [])
    monkeypatch.setattr(build, "stack_data", lambda *_, **__: draw_data(ROWS))
    one, two = (_stack(project, tmp_path / f"{n}", n) for n in (1, 2))
    assert b"vector_scaling" in one["candidates.json"] and "oof_candidates.parquet" in one
    assert one == two
