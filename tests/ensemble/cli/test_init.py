"""``ensemble init``: a config that runs, what is asked, and what is left to decide."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from click.testing import CliRunner

from ensemble.cli import cli, main
from ensemble.config.load import load_config
from ensemble.pipeline import run
from ensemble.plugin.base import CLASSES
from ensemble.setup.plan import make_plan
from ensemble.setup.questions import assume
from tests.ensemble.setup.invented import (
    write_pairs,
    write_plain,
    write_rows,
    write_test,
    write_train,
)

if TYPE_CHECKING:
    from pathlib import Path


def init(*arguments: object) -> tuple[int, str]:
    """Call the verb as the command line does; gives exit code and output."""
    told = [str(one) for one in arguments]
    result = CliRunner().invoke(cli, ["init", *told], standalone_mode=True)
    return result.exit_code, result.output + str(result.exception or "")


def command(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    told = [sys.executable, "-m", "ensemble", "init", *map(str, arguments)]
    return subprocess.run(told, capture_output=True, text=True, check=False, **more)


def on_terminal(*arguments: object, answers: str) -> tuple[int, str]:
    """Run the verb on a terminal of its own, and type answers."""
    ours, theirs = pty.openpty()
    told = [sys.executable, "-m", "ensemble", "init", *map(str, arguments)]
    process = subprocess.Popen(
        told, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    os.close(theirs)
    os.write(ours, answers.encode())
    output, _ = process.communicate(timeout=120)
    os.close(ours)
    return process.returncode, output


def settings(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_each_file_has_its_place_in_the_config(tmp_path: Path, config: Path) -> None:
    data = tmp_path / "data"
    write_train(data / "train.csv")
    write_test(data / "test.csv")
    write_pairs(data / "pairs.parquet")
    logits = {"logit_a": 0.3, "logit_b": 0.1, "logit_tie": -1.0}
    write_rows(data / "oof_gemma.csv", range(60), **logits)
    write_rows(data / "test_gemma.csv", range(1000, 1009), **logits)
    write_rows(data / "sample_submission.csv", range(1000, 1009), **dict.fromkeys(CLASSES, 1 / 3))
    (data / "odd.csv").write_text("a,b\n1,2\n")
    code, output = init(data, "--output", config, "--yes")
    assert code == 0, output
    raw = settings(config)
    assert [(one["path"], one["role"]) for one in raw["sources"]] == [
        ("data/train.csv", "target"),
        ("data/pairs.parquet", "pretrain"),
    ]
    assert raw["test"] == {"path": "data/test.csv"}
    assert {one["name"]: one["plugin"] for one in raw["learners"]} == {
        "gemma": "precomputed",
        "tfidf": "tfidf",
        "handcrafted": "handcrafted",
    }
    assert "data/sample_submission.csv: a sample submission: its name and all rows" in output
    assert "data/odd.csv: columns are missing: prompt, response_a, response_b" in output
    assert '# plugin = "gemma2-lora"' in config.read_text()
    assert load_config(config).base_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("sample", "task"),
    [
        ({"winner_model_a": 0.5, "winner_model_b": 0.5}, {"ties": False}),
        ({"winner": "model_a"}, {"ties": False, "metric": "accuracy", "submission": "winner"}),
        (dict.fromkeys(CLASSES, 1 / 3), None),
    ],
)
def test_a_sample_submission_says_what_the_task_is(
    tmp_path: Path, config: Path, sample: dict[str, Any], task: dict[str, Any] | None
) -> None:
    sides: dict[str, Any] = {
        "winner_model_a": [1, 0] * 30,
        "winner_model_b": [0, 1] * 30,
        "winner_tie": [0] * 60,
    }
    train = write_train(tmp_path / "train.csv", **sides)
    test = write_test(tmp_path / "test.csv")
    rows = write_rows(tmp_path / "sample_submission.csv", range(1000, 1009), **sample)
    code, output = init(train, test, rows, "--output", config, "--yes")
    assert code == 0, output
    assert "sample_submission.csv: a sample submission" in output
    assert settings(config).get("task") == task


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["competition", "pairs", "oof"])
def test_the_config_runs_as_it_stands(
    tmp_path: Path, config: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    write_train(data / "train.csv", 200)
    if kind == "pairs":
        write_pairs(data / "more.jsonl", 100)
        write_train(data / "extra.csv", 80)  # with ids of the target
    if kind == "oof":
        write_rows(data / "oof.csv", range(200), logit_a=0.3, logit_b=0.1, logit_tie=-1.0)
        write_rows(data / "preds.csv", range(1000, 1040), logit_a=0.3, logit_b=0.1, logit_tie=-1.0)
    write_test(data / "test.csv", 40)
    assert init(data, "--output", config, "--yes")[0] == 0
    text = config.read_text()
    config.write_text(text + "resamples = 200\n" if text.endswith("win\n") else text)
    submission = pl.read_csv(run(load_config(config)) / "submission.csv")
    assert submission["id"].to_list() == list(range(1000, 1040))
    assert submission.select(pl.sum_horizontal(CLASSES)).to_series().to_list() == pytest.approx(
        [1.0] * 40
    )


def test_labels_that_mean_what_nobody_says_are_a_todo(tmp_path: Path, config: Path) -> None:
    path = write_plain(tmp_path / "numbers.csv", [0, 1, 2], name="label")
    code, output = init(path, "--output", config, "--yes")
    assert code == 2
    assert "numbers.csv: what do the values of label mean: 0 (20), 1 (20), 2 (20)?" in output
    assert '# winner = { "0" = "a", "1" = "b", "2" = "tie" }' in config.read_text().splitlines()
    # Nothing is guessed in a run either, until somebody has said it.
    checked = CliRunner().invoke(cli, ["prepare", str(config), "--quiet"])
    assert "say what it means" in str(checked.exception)
    lines = config.read_text().splitlines()
    mended = [one.removeprefix("# ") if "winner = " in one else one for one in lines]
    config.write_text("\n".join(mended))
    assert CliRunner().invoke(cli, ["prepare", str(config), "--quiet"]).exit_code == 0


def test_another_source_that_is_left_open_is_a_comment(tmp_path: Path, config: Path) -> None:
    train = write_train(tmp_path / "train.csv")
    open_ = write_plain(tmp_path / "numbers.csv", [0, 1, 2], name="label", start=700)
    assert init(train, open_, "--output", config, "--yes")[0] == 2
    assert [one["name"] for one in settings(config)["sources"]] == ["train"]
    assert '# name = "numbers"' in config.read_text()


@pytest.mark.parametrize("is_link", [False, True])
def test_a_config_that_is_there_is_not_written_over(
    tmp_path: Path, config: Path, is_link: bool
) -> None:
    train = write_train(tmp_path / "train.csv")
    if is_link:
        config.symlink_to(tmp_path / "nowhere")
    else:
        config.write_text("mine")
    code, output = init(train, "--output", config)
    assert code != 0
    assert "nothing is written over" in output
    assert is_link or config.read_text() == "mine"
    assert init(train, "--output", config, "--force")[0] == 0
    assert settings(config)["sources"][0]["name"] == "train"


def test_a_refusal_leaves_no_file(tmp_path: Path, config: Path) -> None:
    test = write_test(tmp_path / "test.csv")
    code, output = init(test, "--output", config, "--yes")
    assert code != 0
    assert "no file has labels" in output
    assert [path.name for path in tmp_path.iterdir()] == ["test.csv"]


def test_errors_end_with_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ensemble", "init", str(tmp_path / "absent.csv")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.slow
def test_standard_output_is_json_alone(tmp_path: Path, config: Path) -> None:
    train, test = write_train(tmp_path / "train.csv"), write_test(tmp_path / "test.csv")
    done = command(train, test, "--output", config, "--json", stdin=subprocess.DEVNULL)
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert [one["role"] for one in told["sources"]] == ["target", "test"]
    assert told["config"] == str(config)
    assert {one["plugin"] for one in told["learners"] if one["is_used"]} == {"handcrafted", "tfidf"}
    assert all(one["reason"] for one in told["learners"] if not one["is_used"])


@pytest.mark.slow
def test_a_terminal_is_asked_and_shown_defaults(tmp_path: Path, config: Path) -> None:
    path = write_plain(tmp_path / "numbers.csv", [0, 1, 2], name="label", rows=120)
    # The first value is a tie, then something that is no answer, b, and the default.
    code, output = on_terminal(path, "--output", config, answers="tie\nx\n2\n\n")
    assert code == 0, output
    assert 'label is "0" in 40 rows. Who has won there?' in output
    assert "that is none of 1 to 4" in output
    assert "choose [3]:" in output
    winner = settings(config)["sources"][0]["winner"]
    assert winner == {"0": "tie", "1": "b", "2": "tie"}


@pytest.mark.slow
def test_nobody_is_asked_with_yes_or_without_a_terminal(tmp_path: Path) -> None:
    one, two = write_train(tmp_path / "one.csv"), write_train(tmp_path / "two.csv", start=500)
    first, second = tmp_path / "1.toml", tmp_path / "2.toml"
    code, output = on_terminal(one, two, "--output", first, "--yes", answers="")
    assert code == 0, output
    assert command(one, two, "--output", second, stdin=subprocess.DEVNULL).returncode == 0
    assert first.read_text() == second.read_text()
    assert "others could be it" in " ".join(first.read_text().split())


def test_what_files_hold_cannot_leave_a_comment(tmp_path: Path) -> None:
    name = 'x\n[[learners]]\nname = "y"'
    train = write_train(tmp_path / "train.csv")
    odd = tmp_path / f"{name}.csv"
    odd.write_text("a\n1\n")
    plan = make_plan([train, odd], tmp_path / "config.toml", assume)
    raw = tomllib.loads(plan.text)
    assert [one["name"] for one in raw["learners"]] == ["tfidf", "handcrafted"]


def test_a_run_that_is_there_is_left_alone(tmp_path: Path) -> None:
    train = write_train(tmp_path / "train.csv")
    (tmp_path / "runs" / "train").mkdir(parents=True)
    plan = make_plan([train], tmp_path / "config.toml", assume)
    assert tomllib.loads(plan.text)["run_dir"] == "runs/train-2"


def test_shards_and_directories_are_one_path(tmp_path: Path, config: Path) -> None:
    for at in range(2):
        write_train(tmp_path / "d" / f"train-0000{at}-of-00002.parquet", 30, start=30 * at)
    assert init(tmp_path / "d", "--output", config, "--yes")[0] == 0
    source = settings(config)["sources"][0]
    assert (source["name"], source["path"]) == ("train", "d/train-*-of-00002.parquet")
    checked = CliRunner().invoke(cli, ["prepare", str(config), "--quiet"])
    assert checked.exit_code == 0
