"""What the report shows of studies of sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import Config
from ensemble.report.forest import Row, _limits
from ensemble.report.write import write_report
from ensemble.sources.settings import StudySettings
from ensemble.stages.sources import sources_stage
from ensemble.stages.work import writing
from ensemble.storage.json_files import read_checksummed, write_checksummed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fixture_types import Project

pytestmark = pytest.mark.figures


def _studied(project: Project, **settings: Any) -> Config:
    config: Config = project.config()
    asked = {"learner": "p", "folds": (0, 1), "most_seeds": 2, "resamples": 200, **settings}
    with writing(config) as reporter:
        sources_stage(config, reporter, StudySettings(**asked))
    return config


def _page(config: Config) -> str:
    return write_report(Path(config.run_dir)).read_text(encoding="utf-8")


def _stored(config: Config) -> Path:
    return Path(config.run_dir) / "sources" / "extra.json"


def _changed(config: Config, change: Callable[[dict[str, Any]], object]) -> None:
    study = read_checksummed(_stored(config), hint="")
    change(study)
    write_checksummed(_stored(config), study)


@pytest.mark.slow
def test_a_study_is_shown_with_its_pictures_numbers_and_sentence(project: Project) -> None:
    config = _studied(project)
    page, study = _page(config), read_checksummed(_stored(config), hint="")
    assert '<section id="sources">' in page
    assert f"extra: {study['verdict']['word']}" in page
    assert study["verdict"]["sentence"].split(". ")[1] in page
    for picture in ("source-effect-0", "source-shift-0", "source-curve-0"):
        assert picture in page
    gain = next(i for i in study["effect"]["treatments"] if i["name"] == "train")["gain"]["mean"]
    assert f"train: {gain:+.4f}".replace("-", "\N{MINUS SIGN}") in page
    assert "pretrain (the learner has no pretrain)" in page
    assert f">{study['overlap']['target']['any']}</td>" in page
    assert page == _page(config)


def test_what_was_not_asked_for_is_not_measured(project: Project) -> None:
    page = _page(_studied(project, shift=False, curve=False))
    assert "not measured</span>: the shift" in page
    assert "source-curve-0" not in page


def test_a_run_without_studies_has_no_such_section(project: Project) -> None:
    config = _studied(project, shift=False, curve=False)
    _stored(config).unlink()
    page = _page(config)
    assert 'id="sources"' not in page
    assert 'href="#sources"' not in page


@pytest.mark.parametrize("name", ["data", "plan"])
def test_a_study_of_other_battles_is_left_out_and_named(project: Project, name: str) -> None:
    config = _studied(project, shift=False, curve=False)
    _changed(config, lambda study: study.update({name: "0" * 64}))
    page = _page(config)
    assert 'id="sources"' not in page
    assert "study of source extra is of other battles or another fold plan" in page


def test_a_damaged_study_is_left_out_and_named(project: Project) -> None:
    config = _studied(project, shift=False, curve=False)
    _stored(config).write_text(_stored(config).read_text().replace("extra", "extro"))
    page = _page(config)
    assert 'id="sources"' not in page
    assert "The study of source extra: a stored file is damaged" in page


@pytest.mark.slow
def test_words_of_battles_cannot_break_the_page(project: Project) -> None:
    config = _studied(project, curve=False)

    def plant(study: dict[str, Any]) -> None:
        study["shift"]["prompts"]["words"]["source"] = [
            {"word": "<script>alert(1)</script>", "source": 1.0, "target": 0.0}
        ]

    _changed(config, plant)
    page = _page(config)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(("end", "highest"), [(None, 0.7), (1.0, 1.02)])
def test_a_bounded_scale_is_shown_whole(end: float | None, highest: float) -> None:
    """One value far off the others would be an arrow; where all can be shown it is none."""
    rows = [Row(str(v), v, v, v, "") for v in (0.5, 0.55, 0.56, 0.98)]
    low, high = _limits(rows, [0.5], end)
    assert low == pytest.approx(0.5, abs=0.03)
    assert high == pytest.approx(highest, abs=0.05)
