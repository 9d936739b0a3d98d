from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import ensemble
from ensemble import Run
from ensemble.errors import ConfigError, InputError
from tests.fixture_types import Project

LEARNERS: list[dict[str, Any]] = [
    {"name": "p", "plugin": "prior"},
    {"name": "q", "plugin": "prior", "shift": 0.4},
]


@pytest.fixture
def raw(project: Project, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A config whose sources are tables: of Polars, of pandas, and lazy."""
    monkeypatch.chdir(project.path)
    return {
        "run_dir": "memory",
        "seed": 7,
        "sources": [
            {"name": "arena", "data": pl.read_csv("train.csv"), "role": "target"},
            {"name": "extra", "data": pd.read_csv("extra.csv"), "role": "train", "weight": 0.5},
        ],
        "test": {"data": pl.scan_csv("test.csv")},
        "folds": {"n_splits": 3},
        "learners": LEARNERS,
        "stack": {"meta_learner": "none", "resamples": 200},
        "execution": {"threads": 1},
    }


def _events(run: Run, name: str) -> int:
    return (run.directory / "events.jsonl").read_text().count(f'"event": "{name}"')


def test_tables_give_the_run_that_their_files_give(project: Project, raw: dict[str, Any]) -> None:
    run, by_files = ensemble.run(raw), ensemble.run(project.config(LEARNERS))
    assert run.battles.equals(by_files.battles)
    assert run.oof("q").equals(by_files.oof("q"))
    assert run.audit().state == "passed"


def test_the_same_tables_make_nothing_anew_and_others_do(raw: dict[str, Any]) -> None:
    run = ensemble.run(raw)
    fitted = _events(run, "fold fitted")
    assert fitted == 6
    arena = raw["sources"][0]["data"]
    raw["sources"][0]["data"] = pl.concat([arena.head(7), arena.tail(-7)], rechunk=False)
    assert _events(ensemble.run(raw), "fold fitted") == fitted
    raw["sources"][0]["data"] = arena.head(50)
    assert ensemble.run(raw).oof("p").height == 50


def test_a_run_of_tables_moves_and_resumes_without_them(
    raw: dict[str, Any], tmp_path: Path
) -> None:
    run = ensemble.run(raw)
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(run.directory, moved)
    shutil.rmtree(run.directory)
    again = ensemble.run(moved / "config.toml")
    assert again.directory == moved
    assert again.audit().state == "passed"
    assert _events(again, "fold fitted") == 6


def test_what_is_no_table_or_stands_in_the_wrong_place_is_said(raw: dict[str, Any]) -> None:
    frame = raw["sources"][0]["data"]
    for source, match in (
        ({"data": {"id": [1]}}, "a path or a table, and not a dict"),
        ({"data": frame, "path": "train.csv"}, '"data" and "path" exclude each other'),
        ({"path": frame}, "a table stands where a config has no table"),
        ({"data": frame.with_columns(odd=pl.Series([object()] * len(frame)))}, "Python objects"),
    ):
        sources = [{"name": "arena", "role": "target", **source}]
        with pytest.raises(InputError, match=match):
            ensemble.run({**raw, "sources": sources})
    with pytest.raises(ConfigError, match="sources"):
        ensemble.run({**raw, "sources": []})


def test_scores_are_those_of_the_stack_best_first(raw: dict[str, Any]) -> None:
    run = ensemble.run(raw)
    table = run.scores()
    assert table["log_loss"].is_sorted()
    known = {one["name"]: one["log_loss"] for one in run.verdict["candidates"]}
    found = dict(table.filter(kind="candidate").select("name", "log_loss").iter_rows())
    assert found == pytest.approx(known)
    assert table.filter(pl.col("chosen"))["name"].to_list() == [run.verdict["chosen"]]
    shutil.rmtree(run.directory / "stack")
    shutil.rmtree(run.directory / "learners/q/fold-1")
    half = run.scores()
    assert half["kind"].to_list() == ["learner", "learner"]
    assert dict(half.select("name", "folds").iter_rows()) == {"p": 3, "q": 2}
    assert "Not fitted yet: q (2 of 3 folds)." in run._repr_html_()
    shutil.rmtree(run.directory / "learners")
    assert "<table" not in run._repr_html_()


def test_what_a_notebook_shows_escapes_names_and_says_the_verdict(raw: dict[str, Any]) -> None:
    run = ensemble.run(raw)
    shown = run._repr_html_()
    assert "Run memory" in shown
    assert f"<b>{run.verdict['chosen']}</b>" in shown
    assert "Chosen: " in run.verdict._repr_html_()
    assert "log loss minus p&#x27;s" in run.compare("p", "q")._repr_html_()
    assert "passed" in run.audit()._repr_html_()
    (run.directory / "folds.json").unlink()
    assert "the record of the fold plan is not there" in run._repr_html_()


@pytest.mark.figures
def test_figures_are_those_of_the_report_in_real_colors(raw: dict[str, Any]) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.colors import to_hex
    from matplotlib.text import Text

    run = ensemble.run(raw)
    before = plt.get_fignums()
    figure = run.plot("forest")
    texts = {text.get_text() for text in figure.findobj(Text)}
    assert {"p", "log loss (lower is better)"} <= texts
    colors = {to_hex(line.get_color()) for axes in figure.axes for line in axes.lines}
    assert "#b3400f" in colors
    assert not any(color.startswith("#0") and color[1:3] == color[3:5] for color in colors)
    png, size = figure._repr_png_()  # type: ignore[attr-defined]
    assert png.startswith(b"\x89PNG")
    assert size["width"] == 460
    for kind in ("folds", "gains", "labels", "timing", "calibration", "agreement"):
        assert run.plot(kind).axes
    assert run.plot("calibration", "q").axes
    assert plt.get_fignums() == before, "pyplot is not touched"
    with pytest.raises(InputError, match="takes no name"):
        run.plot("forest", "q")
    with pytest.raises(ensemble.errors.EnsembleError, match='did you mean "forest"'):
        run.plot("forrest")
    with pytest.raises(ensemble.errors.EnsembleError, match="two target sources"):
        run.plot("sources")
