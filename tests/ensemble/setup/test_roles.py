"""Which battles are target and test, what the others are for, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.errors import DataError
from ensemble.setup.files import Table
from ensemble.setup.questions import Question, assume
from ensemble.setup.reading import look_at
from ensemble.setup.roles import place
from ensemble.setup.sources import name_sources
from tests.ensemble.setup.invented import write_pairs, write_plain, write_test, write_train

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.setup.roles import Placed


def placed(
    *paths: Path, ask: Callable[[Question], str | None] = assume
) -> dict[str, tuple[str, str]]:
    return {one.look.table.stem: (one.role, one.why) for one in placed_list(*paths, ask=ask)}


def placed_list(*paths: Path, ask: Callable[[Question], str | None] = assume) -> list[Placed]:
    return place([look_at(Table((path,)), assume) for path in paths], ask)


def test_names_and_columns_tell_target_and_test(tmp_path: Path) -> None:
    found = placed(
        write_plain(tmp_path / "votes.csv", ["model_a", "model_b"], rows=200),
        write_test(tmp_path / "test.csv"),
        write_train(tmp_path / "train.csv"),
    )
    assert found["train"][0] == "target"
    assert found["train"][1].startswith("its name says so; it has 4 of the 4 columns of ")
    assert found["test"] == ("test", "it has no labels")
    assert found["votes"][0] == "pretrain"
    assert "its columns are not the target's" in found["votes"][1]


def test_the_columns_of_the_test_count_more_than_a_name(tmp_path: Path) -> None:
    found = placed(
        write_pairs(tmp_path / "train.jsonl", rows=200),
        write_train(tmp_path / "battles.csv"),
        write_test(tmp_path / "test.csv"),
    )
    assert found["battles"][0] == "target"
    assert "its ids are like those of the test (whole numbers)" in found["battles"][1]


def test_a_source_like_the_target_is_mixed_in(tmp_path: Path) -> None:
    found = placed(
        write_train(tmp_path / "train.csv"),
        write_train(tmp_path / "extra.csv", start=500),
        write_test(tmp_path / "test.csv"),
    )
    assert found["extra"] == (
        "train",
        "it has the target's columns and label shares: it is mixed in",
    )


def test_a_source_without_ties_is_learned_from_first(tmp_path: Path) -> None:
    decided = [1, 0] * 30
    shares: dict[str, Any] = {"winner_model_a": decided, "winner_model_b": [0, 1] * 30}
    shares["winner_tie"] = [0] * 60
    found = placed(
        write_train(tmp_path / "train.csv"),
        write_train(tmp_path / "extra.csv", start=500, **shares),
    )
    assert found["extra"][0] == "pretrain"
    assert found["extra"][1].startswith("it has no ties, and the target has")


def test_equal_candidates_are_asked_about_with_a_default(tmp_path: Path) -> None:
    files = (write_train(tmp_path / "one.csv", 90), write_train(tmp_path / "two.csv", start=500))
    asked: list[Question] = []

    def second(question: Question) -> str:
        asked.append(question)
        return question.options[1]

    assert placed(*files, ask=second)["two"][0] == "target"
    assert asked[0].default is not None
    assert asked[0].default.endswith("one.csv")
    assert "several files have labels" in asked[0].text
    role, why = placed(*files)["one"]
    assert role == "target"
    assert why.startswith("it has the most rows (others could be it: ")


def test_a_labeled_test_is_taken_beside_a_file_to_train_on(tmp_path: Path) -> None:
    files = (
        write_train(tmp_path / "arena_train.csv"),
        write_train(tmp_path / "arena_test.csv", 12, start=500),
    )
    assert placed(*files)["arena_test"][0] == "test"
    assert placed(*files, ask=lambda q: q.options[1])["arena_test"][0] == "train"


def test_a_labeled_test_of_something_else_is_a_source(tmp_path: Path) -> None:
    found = placed(
        write_train(tmp_path / "train.csv"),
        write_plain(tmp_path / "hh_test.csv", ["model_a", "model_b"], start=300),
        write_test(tmp_path / "test.csv"),
    )
    assert (found["hh_test"][0], found["test"][0]) == ("pretrain", "test")


def test_of_two_files_without_labels_the_name_tells(tmp_path: Path) -> None:
    found = placed(
        write_train(tmp_path / "train.csv"),
        write_test(tmp_path / "more.csv", 30, start=3000),
        write_test(tmp_path / "test.csv"),
    )
    assert (found["test"][0], found["more"][0]) == ("test", "ignore")


def test_of_two_alike_without_labels_one_is_chosen(tmp_path: Path) -> None:
    files = (
        write_train(tmp_path / "train.csv"),
        write_test(tmp_path / "x.csv", 30, start=3000),
        write_test(tmp_path / "y.csv"),
    )
    assert placed(*files, ask=lambda q: q.options[-1])["y"][0] == "ignore"
    assert placed(*files, ask=lambda q: q.options[0])["y"][0] == "test"


def test_without_labels_there_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file has labels") as caught:
        placed(write_test(tmp_path / "test.csv"))
    assert caught.value.hint == "name a file whose rows say who won too, such as train.csv"
    with pytest.raises(DataError, match="no file holds battles"):
        placed()


def test_ids_that_others_have_get_a_prefix_but_never_those_of_the_test(tmp_path: Path) -> None:
    found = name_sources(
        placed_list(
            write_train(tmp_path / "train.csv"),
            write_train(tmp_path / "extra.csv"),
            write_test(tmp_path / "test.csv", start=5),
        )
    )
    assert [(one.name, one.id_prefix) for one in found] == [
        ("train", "train-"),
        ("extra", "extra-"),
        ("test", ""),
    ]
    assert found[1].ids()[0] == "extra-0"
