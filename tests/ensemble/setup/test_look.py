"""What one table is, and what is asked where it does not tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.setup.files import Table
from ensemble.setup.questions import Question, assume
from ensemble.setup.reading import look_at
from tests.ensemble.setup.invented import (
    WINNERS,
    texts,
    write,
    write_plain,
    write_rows,
    write_test,
    write_train,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.setup.look import Look


def look(path: Path, ask: Callable[[Question], str | None] = assume) -> Look:
    return look_at(Table((path,)), ask)


def never(question: Question) -> str | None:
    raise AssertionError(question.text)


def test_battles_with_labels_and_without(tmp_path: Path) -> None:
    train = look(write_train(tmp_path / "train.csv"), never)
    assert (train.kind, train.settings) == ("labeled", {})
    assert train.facts is not None
    assert train.facts.told().startswith("60 battles; A 33%, B 33%, tie 33%; 1 turn; about ")
    assert look(write_test(tmp_path / "test.csv"), never).kind == "unlabeled"


def test_columns_of_labels_that_are_empty_are_none(tmp_path: Path) -> None:
    empty: dict[str, Any] = {f"winner_{one}": [None] * 9 for one in ("model_a", "model_b", "tie")}
    blank = write_train(tmp_path / "a.csv", 9, **empty)
    assert look(blank, never).kind == "unlabeled"
    assert look(write_plain(tmp_path / "b.csv", [None]), never).kind == "unlabeled"


def test_numbers_of_a_label_are_left_open_where_nobody_is_asked(tmp_path: Path) -> None:
    found = look(write_plain(tmp_path / "x.csv", [0, 1, 2], name="label"))
    assert found.kind == "undecided"
    assert found.reason == "what do the values of label mean: 0 (20), 1 (20), 2 (20)?"
    assert found.choices == (
        'columns = { winner = "label" }',
        'winner = { "0" = "a", "1" = "b", "2" = "tie" }',
    )


def test_numbers_of_a_label_mean_what_is_answered(tmp_path: Path) -> None:
    asked: list[Question] = []

    def ask(question: Question) -> str:
        asked.append(question)
        return {"0": "tie", "1": "b", "2": "a"}[question.text.split('"')[1]]

    found = look(write_plain(tmp_path / "x.csv", [0, 1, 2], name="label"), ask)
    assert [question.default for question in asked] == ["a", "b", "tie"]
    assert found.kind == "labeled"
    assert found.settings["winner"] == {"0": "tie", "1": "b", "2": "a"}
    assert found.loaded is not None
    assert found.loaded.battles.select("label_a", "label_b", "label_tie").row(0) == (0, 0, 1)


def test_a_value_that_means_no_winner_is_left_out(tmp_path: Path) -> None:
    def ask(question: Question) -> str:
        return {"0": "a", "1": "b", "2": "tie", "9": "neither"}[question.text.split('"')[1]]

    found = look(write_plain(tmp_path / "x.csv", [0, 1, 2, 9], name="label"), ask)
    assert found.settings["on_bad_rows"] == "drop"
    assert found.facts is not None
    assert found.facts.rows == 45


def test_words_that_everyone_knows_are_not_asked_about(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(question: Question) -> str:
        asked.append(question.text)
        return "tie"

    found = look(write_plain(tmp_path / "x.csv", ["model_a", "model_b", "nobody"]), ask)
    assert len(asked) == 1
    assert '"nobody" in 20 rows' in asked[0]
    assert found.settings == {"winner": {"model_a": "a", "model_b": "b", "nobody": "tie"}}


def test_a_few_rows_that_cannot_be_used_are_left_out_and_counted(tmp_path: Path) -> None:
    found = look(write_plain(tmp_path / "x.csv", [*WINNERS * 16, "?"], rows=98))
    assert found.kind == "labeled"
    assert found.settings == {"on_bad_rows": "drop"}
    assert found.notes[0].startswith("2 of 98 rows cannot be used: unknown winner")


def test_rows_without_a_label_among_others_are_left_out(tmp_path: Path) -> None:
    found = look(write_plain(tmp_path / "x.csv", ["model_a", "model_b", None]))
    assert found.kind == "labeled"
    assert found.notes == ("20 of 60 rows cannot be used: no label (20); they are left out",)


def test_columns_that_may_mean_two_things_are_asked_about(tmp_path: Path) -> None:
    said = texts(60)
    columns = {"question": said["prompt"], "context": said["prompt"]}
    columns |= {"answer_1": said["response_a"], "answer_2": said["response_b"]}
    path = write(tmp_path / "x.csv", {**columns, "winner": [WINNERS[i % 3] for i in range(60)]})
    left = look(path)
    assert left.kind == "undecided"
    assert left.choices == (
        'columns = { prompt = "question" }',
        'columns = { prompt = "context" }',
    )
    found = look(path, lambda question: question.options[1])
    assert found.kind == "labeled"
    assert found.settings == {"columns": {"prompt": "context"}}


def test_what_two_answers_settle_stands_in_one_line(tmp_path: Path) -> None:
    said = texts(60)
    columns = {"question": said["prompt"], "context": said["prompt"]}
    columns |= {"answer_1": said["response_a"], "answer_2": said["response_b"]}
    path = write(tmp_path / "x.csv", {**columns, "label": [i % 2 for i in range(60)]})

    def ask(question: Question) -> str | None:
        return question.options[0] if "prompt" in question.text else None

    found = look(path, ask)
    assert found.kind == "undecided"
    assert found.choices[0] == 'columns = { prompt = "question", winner = "label" }'


def test_several_columns_may_be_the_label(tmp_path: Path) -> None:
    votes = ["left", "right", "left"] * 20
    more = {"target": [0, 1] * 30, "vote": votes}
    path = write(tmp_path / "x.csv", {"id": list(range(60)), **texts(60), **more})
    assert look(path).kind == "undecided"
    assert look(path).reason == "which column is the label: target, vote?"

    def ask(question: Question) -> str | None:
        return "vote" if "vote" in question.options else "a" if '"left"' in question.text else "b"

    found = look(path, ask)
    assert found.settings["winner"] == {"left": "a", "right": "b"}
    assert look(path, lambda _: "none of them").kind == "unlabeled"


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"a": [1, 2], "b": [3, 4]}, "columns are missing: prompt, response_a, response_b"),
        ({"prompt": ["x"], "response": ["y"]}, "columns"),
    ],
)
def test_what_is_no_battle_is_refused_with_the_reason(
    tmp_path: Path, columns: dict[str, list[str]], told: str
) -> None:
    found = look(write(tmp_path / "x.csv", columns), never)
    assert found.kind == "refused"
    assert told in found.reason


def test_labels_that_contradict_each_other_are_no_question(tmp_path: Path) -> None:
    path = write_train(tmp_path / "x.csv", 9, winner=["model_b"] * 9)
    found = look(path, never)
    assert found.kind == "refused"
    assert "winner and winner_model_a differ" in found.reason


def test_ids_without_texts_are_rows(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "x.csv", [1, 2], logit_a=0.1, logit_b=0.2, logit_tie=0.3)
    assert look(path, never).kind == "rows"
