"""Options that are given twice: they add up, or they are refused; none is passed over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from ensemble import errors
from ensemble.cli import cli
from ensemble.cli.shared import fit_names, fold_numbers
from ensemble.stages.fit import fit_stage
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.split import split_stage
from ensemble.stages.work import working

if TYPE_CHECKING:
    from tests.fixture_types import Project


def single_options() -> list[tuple[str, str]]:
    """List verbs and options of which the last value would silently win."""
    return [
        (name, option.opts[-1])
        for name, verb in cli.commands.items()
        for option in verb.params
        if isinstance(option, click.Option) and not option.multiple and not option.is_flag
    ]


@pytest.mark.parametrize(("verb", "option"), single_options())
def test_an_option_of_one_value_is_refused_a_second_time(verb: str, option: str) -> None:
    told = CliRunner().invoke(cli, [verb, option, "1", f"{option}=2"])
    assert told.exit_code == 2
    assert f"{option} is given 2 times: it takes one value" in told.output


def test_what_is_said_both_ways_is_refused_and_what_is_said_twice_is_not() -> None:
    told = CliRunner().invoke(cli, ["sources", "c.toml", "--curve", "--no-curve"])
    assert "--no-curve" in told.output or "--curve is given 2 times" in told.output
    assert told.exit_code == 2
    told = CliRunner().invoke(cli, ["fit", "--into", "x", "--into", "y", "--help"])
    assert told.exit_code == 0, "who asks for help gets it"
    told = CliRunner().invoke(cli, ["run", "missing.toml", "--quiet", "--quiet"])
    assert "given" not in told.output


def test_lists_of_folds_add_up_and_name_each_fit_once() -> None:
    named = [held_out.name for held_out in fit_names(["0,refit", " 0-2, 0 "]) or []]
    assert named == ["fold-0", "refit", "pair-0-2"]
    assert fold_numbers(["1", "0,1"]) == [1, 0]
    assert fit_names([]) is fold_numbers([]) is None
    for verb in ("fit", "sources"):
        folds = next(one for one in cli.commands[verb].params if one.name == "folds")
        assert isinstance(folds, click.Option)
        assert folds.multiple


def test_a_fit_without_any_fold_is_refused_and_leaves_no_failure(project: Project) -> None:
    alone = [{"name": "arena", "path": "train.csv", "role": "target"}]
    config = project.config(sources=alone)
    with working(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
        every = tuple(range(config.folds.n_splits))
        with pytest.raises(errors.ConfigError, match="has no rows to learn from"):
            fit_stage(config, reporter, folds=[every])
    assert not list(Path(config.run_dir).glob("learners/*/failure.json"))


def test_a_fit_without_any_fold_learns_from_other_sources(project: Project) -> None:
    config = project.config()
    with working(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
        every = tuple(range(config.folds.n_splits))
        told = fit_stage(config, reporter, folds=[every])
    assert "failed" not in told
    assert told["pairs"] == {"fitted": 1, "kept": 0}
