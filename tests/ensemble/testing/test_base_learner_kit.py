"""The kit on base learners: sound ones pass, and each broken one is told what is wrong with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ensemble.errors import LearnerError
from ensemble.testing import check_base_learner
from ensemble.testing.base_learners import learner_checks
from ensemble.testing.checks import closing
from ensemble.testing.subjects import subject_of
from ensemble.testing.trial import LearnerTrial
from tests.ensemble.testing.broken_learners import BROKEN, Sound
from tests.ensemble.testing.sound_learner import Averages

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_files_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what learners write elsewhere lie in a directory of the test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_there_are_enough_of_them() -> None:
    assert len(BROKEN) >= 80


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_learner_is_caught_by_its_check(name: str) -> None:
    kind, what, says = BROKEN[name]
    subject = subject_of(kind)
    (check,) = (check for check in learner_checks(subject) if check.name == what)
    with closing(LearnerTrial(subject)) as trial:
        found = check.finding(trial)
    assert found.ok is False or found.warning, found.line()
    assert re.search(says, found.detail, re.DOTALL), found.detail
    assert name in found.detail or found.warning


@pytest.mark.parametrize("kind", [Sound, Averages])
def test_a_sound_learner_passes_all(kind: type[Sound]) -> None:
    report = check_base_learner(kind)
    assert ("average" in {one.what for one in report.findings}) is (kind is Averages)
    assert report.ok
    assert [one.line() for one in report.warnings] == []
    unasked = {one.what for one in report.findings if one.ok is None}
    assert unasked == {"offset", "pretrain"}
    exact = {one.what: one.measured.get("difference") for one in report.findings}
    assert exact["other ids"] == exact["same seed"] == exact["labels of other rows"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("plugin", ["handcrafted", "proxy", "tfidf"])
def test_learners_of_the_toolkit_pass(plugin: str) -> None:
    report = check_base_learner(plugin)
    assert [one.line() for one in report.warnings] == []


def test_all_faults_are_raised_together() -> None:
    class Both(BROKEN["HashesIds"][0], BROKEN["SavesHalf"][0]):  # type: ignore[misc]
        pass

    with pytest.raises(LearnerError, match="(?s)fails [234] checks.*other ids: .*save and load: "):
        check_base_learner(Both)


def test_code_that_nobody_watches_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "bits_of_elsewhere.py").write_text("BIAS = 0\n")
    (tmp_path / "mine.py").write_text(
        "from bits_of_elsewhere import BIAS\n"
        "from tests.ensemble.testing.sound_learner import Sound\n"
        "class Mine(Sound):\n    pass\n"
    )
    report = check_base_learner(f"{tmp_path / 'mine.py'}:Mine", fast=True)
    (warned,) = report.warnings
    assert warned.what == "imports"
    assert "it imports bits_of_elsewhere, which is" in warned.detail


def test_a_file_is_loaded_elsewhere_as_it_is_in_a_run(tmp_path: Path) -> None:
    """So that it can send its functions to processes of its own, and import from its package."""
    place = tmp_path / "own"
    place.mkdir()
    (place / "__init__.py").write_text("")
    (place / "bits.py").write_text("BIAS = 0\n")
    (place / "mine.py").write_text(
        "import pickle\n"
        "from .bits import BIAS\n"
        "from tests.ensemble.testing.sound_learner import Sound\n"
        "def same(x):\n    return x + BIAS\n"
        "class Mine(Sound):\n"
        "    def predict_logits(self, battles):\n"
        "        pickle.dumps(same)\n"
        "        return same(super().predict_logits(battles))\n"
    )
    report = check_base_learner(f"{place / 'mine.py'}:Mine", fast=True, raises=False)
    assert [one.line() for one in report.failed] == []
    (told,) = (one for one in report.findings if one.what == "another process")
    assert told.measured


def test_an_instance_is_checked_with_its_parameters() -> None:
    report = check_base_learner(Sound(strength=0.25), fast=True)
    assert report.ok
    with pytest.raises(LearnerError, match="is no BaseLearner"):
        check_base_learner(dict)  # type: ignore[arg-type]


def test_a_class_that_no_other_process_can_import_is_loaded_as_it_was_before_the_fit() -> None:
    class Hidden(Sound):
        kept: dict[str, object] = {}  # noqa: RUF012

        def save(self, directory: Path) -> None:
            Hidden.kept["state"] = self.state_

        def load(self, directory: Path) -> Hidden:
            self.state_ = Hidden.kept["state"]  # type: ignore[assignment]
            return self

    report = check_base_learner(Hidden, fast=True, raises=False)
    (failed,) = report.failed
    assert failed.what == "another process"
    assert "KeyError" in failed.detail
