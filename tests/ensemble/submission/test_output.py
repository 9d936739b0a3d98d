"""Where predictions of new rows may go: through devices and links, never over an input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import Config, errors, hookimpl, run
from ensemble.submission.new_rows import predict_file
from ensemble.submission.output import check_output, write_output
from ensemble.submission.reading import reading_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.plugin.base import Register
    from tests.fixture_types import Project, RunOnce, UsePlugins


@pytest.fixture
def saved(run_once: RunOnce) -> Config:
    return run_once()


def _expected(saved: Config) -> str:
    return (Path(saved.run_dir) / "submission.csv").read_text()


@pytest.mark.parametrize("link", ["soft", "dangling", "chain", "hard"])
def test_a_link_stays_and_what_it_leads_to_is_written(
    link: str, project: Project, saved: Config
) -> None:
    target, output = project.path / "target.csv", project.path / "out.csv"
    if link != "dangling":
        target.write_text("before")
    if link == "hard":
        output.hardlink_to(target)
    elif link == "chain":
        (project.path / "between").symlink_to(target)
        output.symlink_to(project.path / "between")
    else:
        output.symlink_to(target)
    predict_file(saved, project.path / "test.csv", output)
    assert target.read_text() == output.read_text() == _expected(saved)
    assert output.is_symlink() == (link != "hard")


def test_a_pipe_is_written_into(project: Project, saved: Config) -> None:
    pipe = project.path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    reader.start()
    predict_file(saved, project.path / "test.csv", pipe)
    reader.join(timeout=30)
    assert heard == [_expected(saved)]
    assert pipe.is_fifo()


def test_a_device_stays_a_device(project: Project, saved: Config) -> None:
    predict_file(saved, project.path / "test.csv", Path(os.devnull))
    assert Path(os.devnull).is_char_device()
    with pytest.raises(errors.EnsembleError, match="cannot write: No space left"):
        write_output(Path("/dev/full"), "text")


def test_permissions_of_a_file_that_is_replaced_stay(project: Project, saved: Config) -> None:
    output = project.path / "out.csv"
    output.write_text("before")
    output.chmod(0o600)
    predict_file(saved, project.path / "test.csv", output)
    assert output.read_text() == _expected(saved)
    assert output.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["test.csv", "train.csv", "extra.csv"])
@pytest.mark.parametrize("by", ["name", "link", "hard link", "other spelling"])
def test_no_input_is_replaced(name: str, by: str, project: Project, saved: Config) -> None:
    path = project.path / name
    before, output = path.read_bytes(), path
    if by == "link":
        output = project.path / "link.csv"
        output.symlink_to(path)
    elif by == "hard link":
        output = project.path / "link.csv"
        output.hardlink_to(path)
    elif by == "other spelling":
        output = project.path / "run" / ".." / name
    with pytest.raises(
        errors.InputError, match="the output would replace (the test file|what is read from)"
    ):
        predict_file(saved, project.path / "test.csv", output)
    assert path.read_bytes() == before


def test_no_file_of_a_run_is_replaced_and_none_put_among_them(
    project: Project, saved: Config
) -> None:
    place = Path(saved.run_dir)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    new = [place / "new.csv", place / "learners" / "p" / "fold-0" / "new.csv", place / "no" / "x"]
    (project.path / "link").symlink_to(place)
    for output in (*before, *new, project.path / "link" / "new.csv"):
        with pytest.raises(errors.InputError, match="lies in a run directory"):
            predict_file(saved, project.path / "test.csv", output)
    now = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert now == before


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.symlink_to(path), "is a link that leads in a circle|is no path"),
    ],
)
def test_what_is_no_place_for_a_table_is_refused(
    make: Callable[[Path], object], match: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    make(output)
    with pytest.raises(errors.InputError, match=match):
        check_output(output, [])


@pytest.mark.parametrize("name", ["config.toml", "plugin.py", "labels.parquet"])
def test_a_file_whose_name_says_that_it_is_no_table_is_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(errors.InputError, match="and is a CSV table"):
        check_output(tmp_path / name, [])
    check_output(tmp_path / f"new-{name}", [])


def test_nothing_goes_into_a_directory_that_is_read_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    with pytest.raises(errors.InputError, match="would replace what is read from"):
        check_output(tmp_path / "shards" / "new.csv", [tmp_path / "shards"])


def _command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ensemble", *map(str, arguments)],
        text=True,
        stderr=subprocess.PIPE,
        check=False,
        **options,
    )


@pytest.fixture
def installed(run_once: RunOnce) -> Config:
    """A run of a learner that a process of its own has too."""
    words = {"name": "w", "plugin": "tfidf", "min_df": 1, "char_ngrams": [1, 2]}
    return run_once([words])


@pytest.mark.slow
@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_standard_output_gets_the_table_alone(
    flag: list[str], project: Project, installed: Config
) -> None:
    asked = ("predict", installed.run_dir, "--test", project.path / "test.csv", *flag)
    done = _command(*asked, "--output", "/dev/stdout", stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == _expected(installed)
    assert "/dev/stdout" in done.stderr
    with (project.path / "log").open("w") as file:
        file.write("before\n")
        file.flush()
        assert _command(*asked, "--output", "/dev/stdout", stdout=file).returncode == 0
    assert (project.path / "log").read_text() == "before\n" + _expected(installed)


def test_the_config_that_is_given_is_an_input(project: Project, installed: Config) -> None:
    config = project.path / "config.toml"
    config.rename(project.path / "config.csv")
    asked = ("predict", project.path / "config.csv", "--test", project.path / "test.csv")
    done = _command(*asked, "--output", project.path / "config.csv", stdout=subprocess.PIPE)
    assert (done.returncode, "would replace the config" in done.stderr) == (2, True)


class Loaders:
    """A loader whose rows depend on its options."""

    @hookimpl
    def register_loaders(self, register: Register) -> None:
        def load(path: Path, *, separator: str = ",", first: int = 0) -> pl.DataFrame:
            return pl.read_csv(path, separator=separator)[first:]

        register("separated", load)


@pytest.fixture
def by_loader(project: Project, use_plugins: UsePlugins) -> Config:
    use_plugins(loaders=Loaders())
    test = {"path": "test.csv", "loader": "separated", "options": {"first": 3}}
    return run(project.config(test=test)).config


def test_new_rows_are_read_as_the_runs_own_test_file(project: Project, by_loader: Config) -> None:
    assert predict_file(by_loader, project.path / "test.csv", project.path / "out.csv") == 6


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ({"options": {"first": 5}}, 4),
        ({"options": {"separator": ",", "first": 0}}, 9),
        ({"loader": "none"}, 9),
        ({"loader": "separated"}, 6),
    ],
)
def test_reading_options_that_are_given_come_before_the_runs(
    given: dict[str, Any], rows: int, project: Project, by_loader: Config
) -> None:
    reading = reading_options(by_loader, **given)
    output = project.path / "out.csv"
    assert predict_file(by_loader, project.path / "test.csv", output, reading) == rows


def test_options_without_a_loader_are_refused(by_loader: Config) -> None:
    with pytest.raises(
        errors.ConfigError, match="options are for a loader, and none is given: first"
    ):
        reading_options(by_loader, loader="none", options={"first": 1})


@pytest.mark.slow
def test_plain_cells_of_new_rows_are_read_where_it_is_said(
    project: Project, installed: Config
) -> None:
    old = pl.read_csv(project.path / "test.csv")
    texts = ("prompt", "response_a", "response_b")
    plain = old.with_columns(
        pl.col(name).str.json_decode(pl.List(pl.String)).list.first() for name in texts
    )
    plain.write_csv(project.path / "plain.csv")
    output = project.path / "out.csv"
    asked = ("predict", installed.run_dir, "--test", project.path / "plain.csv", "--output", output)
    predict_file(installed, project.path / "plain.csv", output)  # the first rows tell
    output.unlink()
    done = _command(*asked, "--text-format", "plain", "--json", stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 9
    assert output.read_text() == _expected(installed)
    done = _command(*asked, "--option", "first=1", stdout=subprocess.PIPE)
    assert (done.returncode, "options are for a loader" in done.stderr) == (2, True)
    done = _command("predict", installed.run_dir, "--text-format", "plain", stdout=subprocess.PIPE)
    assert (done.returncode, "are for --test" in done.stderr) == (2, True)
