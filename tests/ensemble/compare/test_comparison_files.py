"""Comparisons that are stored, shown in the report and printed."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from filelock import FileLock
from markupsafe import Markup

from ensemble.cli import cli
from ensemble.compare.compare import compare, read_comparisons, store_comparison
from ensemble.compare.records import file_name
from ensemble.compare.runs import read_compared
from ensemble.report.svg import Drawing
from ensemble.report.write import write_report
from ensemble.storage.atomic import wrap_os_errors
from tests.ensemble.compare.given_learners import (
    MINUS,
)
from tests.ensemble.stages import prepare_and_fit

if TYPE_CHECKING:
    from tests.fixture_types import Learners, Project

pytestmark = pytest.mark.figures


def test_files_of_different_comparisons_have_different_names() -> None:
    assert file_name(["a", "b"]) == "a-b.json"
    names = [["a-b", "c"], ["a", "b-c"], ["a", "b", "c"], ["x/r:a", "b"], ["x_r_a", "b"]]
    assert len({file_name(one) for one in names}) == len(names)
    assert all("/" not in file_name(one) and ":" not in file_name(one) for one in names)
    assert len(file_name([f"{'n' * 90}{k}" for k in range(9)])) < 140


def _read(run: Path) -> tuple[list[dict[str, Any]], list[str]]:
    compared = read_compared(run)
    plan = compared.plan
    return read_comparisons(run, plan.fingerprint, compared.data, plan.n_splits, {})


def test_a_stored_comparison_is_read_back_until_its_predictions_change(place: Path) -> None:
    run = place / "run"
    results = [compare(run, names) for names in (["a", "b"], ["a", "c"], ["a", "mean"])]
    paths = [store_comparison(run, result) for result in results]
    assert [path.name for path in paths] == ["a-b.json", "a-c.json", "a-mean.json"]
    assert _read(run) == (results, [])
    shutil.rmtree(run / "learners" / "c" / "fold-1")
    found, left_out = _read(run)
    assert found == results[:1]
    assert left_out == [
        "Comparison a-c: it was made from other predictions of c",
        "Comparison a-mean: it was made from other predictions of mean",
    ]
    logits = run / "learners" / "b" / "fold-0" / "oof.parquet"
    kept = logits.read_bytes()
    logits.write_bytes(kept + b"x")
    assert "Comparison a-b: it was made from other predictions of b" in _read(run)[1]
    logits.write_bytes(kept)
    assert _read(run)[0] == results[:1]
    (run / "learners" / "a" / "fold-0" / "manifest.json").write_text("{}")
    assert "Comparison a-b: it was made from other predictions of a" in _read(run)[1]
    store_comparison(run, results[0] | {"version": 0})
    assert "Comparison a-b: it was made by another version of the toolkit" in _read(run)[1]
    paths[0].write_text(paths[0].read_text().replace('"rows": 160', '"rows": 161'))
    assert "Comparison a-b: it is damaged" in _read(run)[1][0]


def test_the_report_shows_what_is_current_and_says_what_is_not(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def draw(drawing: Drawing) -> Markup:
        drawn.append(f"{drawing.name}: {drawing.label}")
        return Markup("<svg/>")

    monkeypatch.setattr(Drawing, "__html__", draw)
    run = place / "run"
    assert 'id="comparisons"' not in write_report(run).read_text()
    for names in (["a", "b"], ["b", "a", "c"]):
        store_comparison(run, compare(run, names))
    html = write_report(run).read_text()
    assert 'href="#comparisons"' in html
    section = html[html.index('<section id="comparisons">') :]
    section = section[: section.index("</section>")]
    for words in (
        "b against a",
        "a, c against b",
        f"b is better than a: {MINUS}0.1234",
        "by language",
    ):
        assert words in section
    assert section.count("<svg") == 3
    pictures = [text for text in drawn if text.startswith("comparison-")]
    assert [text[:14] for text in pictures] == [
        "comparison-0-0",
        "comparison-1-0",
        "comparison-1-1",
    ]
    assert f"source: two: {MINUS}0.4700 [" in pictures[0]
    shutil.rmtree(run / "learners" / "c" / "fold-1")
    html = write_report(run).read_text()
    assert "a, c against b" not in html
    assert "Left out. Comparison b-a-c: it was made from other predictions of c." in html


def test_the_verb_prints_tables_or_json_and_stores(place: Path) -> None:
    run = place / "run"
    shown = CliRunner().invoke(cli, ["compare", str(run), "a", "b"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "minus that of a" in shown.output
    assert f"{MINUS}0.1234" in shown.output
    assert "by language" in shown.output
    assert (run / "comparisons" / "a-b.json").exists()
    printed = CliRunner().invoke(cli, ["compare", str(run), "a", "b", "--json"])
    outcome = json.loads(printed.stdout)
    assert outcome.pop("stored") == str(run / "comparisons" / "a-b.json")
    assert outcome == compare(run, ["a", "b"])


def test_a_run_that_another_process_writes_to_can_be_compared_but_not_written(place: Path) -> None:
    run = place / "run"
    with FileLock(run / ".lock"):
        outcome = CliRunner().invoke(cli, ["compare", str(run), "a", "b"], catch_exceptions=False)
    assert "not stored: another process writes to this run" in outcome.output
    assert "b is better than a" in outcome.output
    assert not (run / "comparisons").exists()


@pytest.mark.parametrize("step", ["FileLock", "store_comparison"])
def test_a_run_that_cannot_be_written_can_be_compared(
    place: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        error = OSError(errno.EROFS, "Read-only file system")
        if step == "FileLock":
            raise error
        with wrap_os_errors(place):
            raise error

    if step == "FileLock":
        monkeypatch.setattr("ensemble.stages.work.FileLock.acquire", refuse)
    else:
        monkeypatch.setattr("ensemble.stages.compare.store_comparison", refuse)
    asked = ["compare", str(place / "run"), "a", "b"]
    outcome = CliRunner().invoke(cli, asked, catch_exceptions=False)
    assert outcome.exit_code == 0
    assert "b is better than a" in outcome.output
    assert "not stored: " in outcome.output
    assert "Read-only file system" in outcome.output
    told = json.loads(CliRunner().invoke(cli, [*asked, "--json"]).stdout)
    assert told["stored"] is None
    assert "Read-only file system" in told["not_stored"]


def test_a_learner_of_pseudo_labels_is_compared(project: Project) -> None:
    """Each of its folds was labeled by that fold's own model: their keys differ, and no more."""
    learners: Learners = [
        {"name": "pupil", "plugin": "prior", "shift": 0.5},
        {"name": "teacher", "plugin": "prior"},
    ]
    sources = [one.model_dump(exclude_none=True) for one in project.config(learners).sources]
    sources[1] |= {"role": "pseudo", "pseudo_labelers": ["teacher"]}
    config = project.config(learners, sources=sources)
    prepare_and_fit(config)
    result = compare(Path(config.run_dir), ["teacher", "pupil"])
    assert result["rows"] == 60
