"""Privileged columns that are refused, by what the config or the data shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import errors, run
from ensemble.stacking.plugin_checks import check_plugins
from tests.ensemble.oof.prepared import prepared
from tests.ensemble.oof.watching_learner import COLUMNS, PUPIL, TEACHER, Watcher, privileged_config

if TYPE_CHECKING:
    from tests.fixture_types import Project

pytestmark = pytest.mark.usefixtures("files_with_columns")


@pytest.mark.parametrize(
    ("learners", "changes", "message"),
    [
        ((TEACHER, PUPIL), {"stack": {"learners": ["teacher", "pupil"]}}, "stack.learners names"),
        ((TEACHER, PUPIL), {"stack": {"choose": "teacher"}}, 'stack.choose names "teacher"'),
        ((TEACHER,), {}, "every learner has privileged columns"),
        ((TEACHER | {"privileged": ["winner"]}, PUPIL), {}, '"winner", which tells of the label'),
        ((TEACHER | {"privileged": ["is_tie"]}, PUPIL), {}, '"is_tie", which tells of the label'),
        ((TEACHER | {"privileged": ["voteCount"]}, PUPIL), {}, "which tells of the label"),
        ((TEACHER | {"privileged": ["reward_a"]}, PUPIL), {}, "which tells of the label"),
        ((TEACHER | {"privileged": ["label_tie"]}, PUPIL), {}, "which tells of the label"),
        ((TEACHER | {"privileged": ["prompt"]}, PUPIL), {}, "part of the battle"),
        ((TEACHER | {"privileged": ["judge", "judge"]}, PUPIL), {}, 'names "judge" twice'),
        (
            (TEACHER | {"privileged": ["*"]}, PUPIL),
            {},
            'names "\\*", which would be read as a pattern',
        ),
        ((TEACHER | {"privileged": ["^.*$"]}, PUPIL), {}, "which would be read as a pattern"),
    ],
)
def test_what_a_config_alone_shows_is_told_at_once(
    project: Project, learners: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        privileged_config(project, *learners, **changes)


def test_who_teaches_nobody_and_labels_nothing_is_refused(project: Project) -> None:
    alone = {name: value for name, value in PUPIL.items() if name != "teachers"}
    with pytest.raises(errors.ConfigError, match="teaches nobody and labels no source"):
        check_plugins(privileged_config(project, alone, TEACHER))
    sources = [
        {"name": "arena", "path": "train.csv", "role": "target"},
        {
            "name": "extra",
            "path": "extra.csv",
            "role": "pseudo",
            "pseudo_labelers": ["teacher"],
        },
    ]
    check_plugins(privileged_config(project, alone, TEACHER, sources=sources))
    (project.path / "x.csv").write_text("id,logit_a,logit_b,logit_tie\n")
    outside = TEACHER | {"plugin": "precomputed", "oof": str(project.path / "x.csv")}
    del outside["tag"]
    with pytest.raises(errors.ConfigError, match="brings its predictions from outside"):
        check_plugins(privileged_config(project, PUPIL | {"teachers": []}, outside))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["modle_a"], 'no source has a column "modle_a"(.|\n)*did you mean "model_a"'),
        (["model_a"], '"model_a" is of one side, and "model_b" is not named'),
        (["grade_b"], '"grade_b" is of one side, and "grade_a" is not named'),
        (["drawn"], '"drawn" is settled by the label'),
        (["language", "verbal"], '"verbal" settles the label of its rows'),
        (["strength_a", "strength_b"], "is greater on the winner's side"),
    ],
)
def test_what_the_data_show_is_told_before_any_fit(
    project: Project, columns: list[str], message: str
) -> None:
    config = privileged_config(project, PUPIL, TEACHER | {"privileged": columns})
    with pytest.raises(errors.ConfigError, match=message):
        run(config)
    assert not Watcher.seen


@pytest.mark.parametrize("name", ["_texts", "_value", "text"])
def test_a_column_that_tells_the_label_does_so_by_any_name(project: Project, name: str) -> None:
    path = project.path / "train.csv"
    pl.read_csv(path).rename({"verbal": name}).write_csv(path)
    config = privileged_config(project, PUPIL, TEACHER | {"privileged": [name]})
    with pytest.raises(errors.ConfigError, match=f'"{name}" settles the label of its rows'):
        run(config)


def test_columns_that_say_something_and_no_more_are_taken(project: Project) -> None:
    space = prepared(privileged_config(project))
    assert space.label_leaks(COLUMNS) == []
