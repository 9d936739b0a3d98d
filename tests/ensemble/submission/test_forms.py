"""Submissions of two classes and of winners: what is written, and every fault of a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ensemble import errors
from ensemble.cli import cli
from ensemble.config.settings import Task
from ensemble.submission.forms import (
    PROBABILITIES,
    SIDES,
    WINNER,
    WINNER_WITHOUT_TIES,
    Form,
    form_for,
    form_of,
    submission_frame,
)
from ensemble.submission.parse import read_submission
from ensemble.submission.validate import validate_file, validate_submission
from ensemble.submission.write import check_submission, write_submission

if TYPE_CHECKING:
    from pathlib import Path

FORMS = {
    (True, "probabilities"): PROBABILITIES,
    (False, "probabilities"): SIDES,
    (True, "winner"): WINNER,
    (False, "winner"): WINNER_WITHOUT_TIES,
}


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "test.csv"
    path.write_text("id,prompt\n1,x\n02,y\n3,z\n")
    return path


def test_a_task_asks_for_one_form() -> None:
    for (ties, submission), form in FORMS.items():
        assert form_for(Task(ties=ties, submission=submission)) == form  # type: ignore[arg-type]


@given(seed=st.integers(0, 99), form=st.sampled_from([*FORMS.values()]))
def test_every_form_is_valid_as_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, seed: int, form: Form
) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.ones(3 if form.ties else 2), size=5)
    probabilities = np.pad(shares, ((0, 0), (0, 3 - shares.shape[1])))
    ids = [str(i) for i in range(5)]
    frame = submission_frame(form, pl.Series("id", ids), probabilities)
    path = tmp_path_factory.mktemp("written") / "submission.csv"
    write_submission(path, frame.reverse(), ids, form)
    assert path.read_text().splitlines()[0] == ",".join(form.columns)
    assert read_submission(path).equals(frame)
    found = validate_file(path, path, ties=form.ties)
    assert (found.rows, found.form) == (5, form)
    if form.is_winner:
        likeliest = np.bincount(probabilities.argmax(axis=1), minlength=len(form.winners))
        assert [*found.winners.values()] == likeliest.tolist()


def test_of_equally_likely_classes_the_first_wins() -> None:
    shares = np.array([[0.5, 0.5, 0.0], [0.25, 0.375, 0.375], [1 / 3] * 3])
    frame = submission_frame(WINNER, pl.Series("id", ["1", "2", "3"]), shares)
    assert frame["winner"].to_list() == ["model_a", "model_b", "model_a"]


def test_no_tie_wins_where_there_is_none() -> None:
    frame = submission_frame(WINNER_WITHOUT_TIES, pl.Series("id", ["1"]), np.eye(3)[[2]])
    assert frame["winner"].to_list() == ["model_a"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("id,winner\n1,model_a\n02,model_b\n", r'missing ids \(1\): "3"'),
        ("id,winner\n1,model_a\n02,model_b\n3,tie\n4,tie\n", r'foreign ids \(1\): "4"'),
        ("id,winner\n1,model_a\n1,model_b\n02,tie\n3,tie\n", r'repeated ids \(1\): "1"'),
        ("id,winner\n1,model_a\n02,\n3,tie\n", r'rows without a winner \(1\): "02"'),
        ("id,winner\n1,model_a\n02,  \n3,tie\n", r'rows without a winner \(1\): "02"'),
        ("id,winner\n1,A\n02,A\n3,tie\n", r"rows whose winner is 'A' \(2\) \(2\): \"1\", \"02\""),
        ("id,winner\n1,Model_A\n02,model_b\n3,tie\n", r"rows whose winner is 'Model_A' \(1\)"),
        ("id,winner\n1,model_a \n02,model_b\n3,tie\n", r"rows whose winner is 'model_a ' \(1\)"),
        ("id,winner\n1,0\n02,1\n3,2\n", r"'0' \(1\)"),
        ("id,winner,why\n1,model_a,\n02,model_b,\n3,tie,\n", "foreign columns: why"),
        ("winner\nmodel_a\n", "missing columns: id"),
        ("id,winner\n1\n02,model_b\n3,tie\n", "1 fields? where the header has 2"),
        ("id,Winner\n1,model_a\n02,model_b\n3,tie\n", "missing columns: winner_model_a"),
        (
            "id,winner,winner_model_a\n1,tie,1\n02,tie,1\n3,tie,1\n",
            "missing columns: winner_model_b, winner_tie",
        ),
        (
            "id,winner_model_a,winner_model_b\n1,0.5,0.5\n02,1,0\n3,0.2,0.2\n",
            r'do not sum to 1 \(1\): "3"',
        ),
        (
            "id,winner_model_a,winner_model_b\n1,0.5,0.5\n02,1,0\n3,1.5,-0.5\n",
            r'outside \[0, 1\] \(1\): "3"',
        ),
        (
            "id,winner_model_a,winner_model_b\n1,0.5,0.5\n02,1,0\n3,nan,0.5\n",
            r'not finite \(1\): "3"',
        ),
        (
            "id,winner_model_a,winner_model_b\n1,0.5,0.5\n02,1,0\n3,x,0.5\n",
            "winner_model_a is 'x', not a number",
        ),
        # What lacks the tie of three classes is no submission of two.
        (
            "id,winner_model_a,winner_model_b\n1,0.5,0.2\n02,1,0\n3,0.2,0.2\n",
            "missing columns: winner_tie",
        ),
    ],
)
def test_each_fault_of_a_file_is_named(tmp_path: Path, asked: Path, text: str, fault: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(errors.DataError, match=fault) as caught:
        validate_submission(path, asked)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_all_faults_of_winners_are_told_at_once() -> None:
    frame = pl.DataFrame({"id": ["1", "1", "x"], "winner": ["model_a", None, "b"]})
    with pytest.raises(errors.DataError, match="not valid") as caught:
        check_submission(frame, ["1", "2"], WINNER)
    told = [line.strip().split(" (")[0] for line in caught.value.message.splitlines()[1:]]
    assert told == [
        "missing ids",
        "foreign ids",
        "repeated ids",
        "rows without a winner",
        "rows whose winner is 'b'",
    ]


def test_a_tie_is_a_fault_where_the_task_has_none(tmp_path: Path, asked: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("id,winner\n1,model_a\n02,tie\n3,model_b\n")
    assert validate_file(path, asked).winners == {"model_a": 1, "model_b": 1, "tie": 1}
    with pytest.raises(errors.DataError, match=r"whose winner is 'tie' \(1\) \(1\): \"02\"") as e:
        validate_file(path, asked, ties=False)
    assert "the task has no ties" in str(e.value.hint)


def test_a_header_of_the_other_task_is_a_fault_where_the_task_is_told(
    tmp_path: Path, asked: Path
) -> None:
    path = tmp_path / "s.csv"
    path.write_text("id,winner_model_a,winner_model_b\n1,0.5,0.5\n02,1,0\n3,0,1\n")
    assert validate_file(path, asked).form is SIDES
    with pytest.raises(errors.DataError, match="missing columns: winner_tie"):
        validate_file(path, asked, ties=True)
    path.write_text("id,winner_model_a,winner_model_b,winner_tie\n1,0.5,0.5,0\n02,1,0,0\n3,0,1,0\n")
    assert validate_file(path, asked).form is PROBABILITIES
    with pytest.raises(errors.DataError, match="foreign columns: winner_tie"):
        validate_file(path, asked, ties=False)


def test_the_verb_says_which_form_a_file_has(tmp_path: Path, asked: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("id,winner\n1,model_a\n02,tie\n3,model_b\n")
    call = ["validate", str(path), "--test", str(asked)]
    shown = CliRunner().invoke(cli, call)
    assert shown.output.endswith("valid, 3 rows of winners (model_a 1, model_b 1, tie 1)\n")
    told = json.loads(CliRunner().invoke(cli, [*call, "--json"]).output)
    assert told["columns"] == ["id", "winner"]
    assert told["winners"] == {"model_a": 1, "model_b": 1, "tie": 1}
    assert CliRunner().invoke(cli, [*call, "--ties"]).exit_code == 0
    assert isinstance(CliRunner().invoke(cli, [*call, "--no-ties"]).exception, errors.DataError)


def test_headers_are_told_apart() -> None:
    assert form_of(["winner", "id"]) is WINNER
    assert form_of(["id", "winner"], ties=False) is WINNER_WITHOUT_TIES
    assert form_of(["id", "winner_model_b", "winner_model_a"]) is SIDES
    assert form_of(["a", "b"]) is PROBABILITIES
    assert form_of(["id", "winner_model_a"], ties=False) is SIDES
