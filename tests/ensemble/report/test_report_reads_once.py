"""What a report reads does not grow with rows times fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ensemble
from ensemble.report import staleness
from ensemble.report.write import write_report

if TYPE_CHECKING:
    from typing import Any

    import pytest

    from tests.fixture_types import Project


def test_the_plan_is_read_once_however_many_fits_there_are(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    learners = [
        {
            "name": f"words{n}",
            "plugin": "handcrafted",
            "features": ["length"],
            "n_models": 2,
            "n_estimators": 2 + n,
        }
        for n in range(2)
    ]
    run = ensemble.run(
        project.config(learners, stack={"nesting": "plain", "resamples": 100})
    ).directory
    reads: list[str] = []
    compared: list[str] = []
    for name, calls in (("read_current_split", reads), ("compare_key", compared)):
        real = getattr(staleness, name)

        def counted(
            *args: Any, _real: Any = real, _calls: list[str] = calls, **options: Any
        ) -> Any:
            _calls.append("called")
            return _real(*args, **options)

        monkeypatch.setattr(staleness, name, counted)
    before = (run / "report.html").read_bytes()
    write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert len(reads) == 1
    assert len(compared) == 2  # one for each learner, not for each of its folds
