"""Slips of public files: repeated ids, missing columns, models as winners, system turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ensemble.battles.files.raw import CHUNK_ROWS
from ensemble.battles.loading import load_battles
from ensemble.errors import DataError
from tests.ensemble.battles.formats.readings import TIE, A, B, Row, chat, check, load, told, write

BATTLE = {"prompt": "p", "response_a": "a", "response_b": "b", "winner": "model_a"}


def refusal(path: Path, role: str = "train", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, role, **options)
    return f"{caught.value.message} | {caught.value.hint}"


# Ids


@pytest.mark.parametrize(
    "row",
    [
        {"prompt_id": "x", "prompt": "p", "chosen": chat("p", "a"), "rejected": chat("p", "b")},
        {"question_id": 81, "conversation_a": chat("p", "a"), "conversation_b": chat("p", "b")}
        | {"winner": "model_a"},
    ],
)
def test_rows_that_share_an_id_are_told_apart_without_a_judge(tmp_path: Path, row: Row) -> None:
    loaded = load(write(tmp_path / "t.jsonl", [row, row]))
    assert loaded.battles["id"].n_unique() == 2
    assert any("battles share their" in note for note in loaded.notes)


@pytest.mark.parametrize("bad", [1.5, None, "", {"a": 1}])
def test_ids_are_made_whatever_the_file_has_for_ids(tmp_path: Path, bad: Any) -> None:
    rows = [BATTLE | {"id": bad}, BATTLE | {"id": bad, "prompt": "q"}]
    loaded = load(write(tmp_path / "t.jsonl", rows), make_ids=True)
    assert loaded.battles["id"].n_unique() == 2
    pairs = [{"prompt_id": bad, "prompt": "p", "chosen": "a", "rejected": "b"}]
    assert len(load(write(tmp_path / "c.jsonl", pairs), make_ids=True).battles) == 1


def test_ids_that_a_spreadsheet_has_rounded_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = "1.23457E+18,p,a,b,tie\n1.2346E+18,q,a,b,tie\n"
    path.write_text(f"id,prompt,response_a,response_b,winner\n{rows}")
    assert "the ids are floats" in refusal(path)
    assert len(load(path, make_ids=True).battles) == 2


@pytest.mark.parametrize("lacks", [0, 1])
def test_files_of_which_one_has_no_ids_are_refused(tmp_path: Path, lacks: int) -> None:
    for at in range(2):
        ids = {} if at == lacks else {"id": f"x{at}"}
        write(tmp_path / f"p-{at}.jsonl", [BATTLE | ids])
    assert "1 of 2 battles have no id: a file lacks the column" in refusal(tmp_path)
    assert load(tmp_path, make_ids=True).battles["id"].n_unique() == 2


# Files of several shapes


def test_a_file_that_lacks_a_mapped_column_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "p-1.jsonl", [{"q": "p", "response_a": "a", "response_b": "b", "winner": "a"}])
    write(tmp_path / "p-2.jsonl", [BATTLE])
    with pytest.raises(DataError, match='columns.prompt names "q"') as caught:
        load(tmp_path, columns={"prompt": "q"})
    assert str(caught.value.where).endswith("p-2.jsonl")


# Winners by name of model


def test_a_winner_may_be_named_by_its_model(tmp_path: Path) -> None:
    names = {"model_a": "gpt-4", "model_b": "Claude 2"}
    swapped = {"model_a": "Claude 2", "model_b": "gpt-4"}
    rows = [
        BATTLE | names | {"winner": "gpt-4"},
        BATTLE | swapped | {"winner": "gpt-4"},
        BATTLE | names | {"winner": "Claude 2"},
        BATTLE | names | {"winner": "tie"},
    ]
    loaded = load(write(tmp_path / "t.jsonl", rows))
    assert [label for *_, label in told(loaded.battles)] == [A, B, B, TIE]


@pytest.mark.parametrize(
    ("names", "winner", "reason"),
    [
        (("m", "m"), "m", "unknown winner 'm'"),
        (("m", "n"), "x", "unknown winner 'x'"),
        (("b", "a"), "a", "is a word for one side and the model of the other"),
    ],
)
def test_a_name_that_says_two_things_is_none(
    tmp_path: Path, names: tuple[str, str], winner: str, reason: str
) -> None:
    row = BATTLE | {"model_a": names[0], "model_b": names[1], "winner": winner}
    assert reason in refusal(write(tmp_path / "t.jsonl", [row]))


# Prompts


def test_a_record_as_prompt_names_the_way_into_it(tmp_path: Path) -> None:
    question = {"dataset": "d", "id": "i", "full_text": "Why so?"}
    row = {"question": question, "answer_0": "a", "score_0": 0.5, "answer_1": "b", "score_1": -0.5}
    path = write(tmp_path / "t.jsonl", [row])
    assert 'columns = { prompt = "question.full_text" }' in refusal(path)
    check(load(path, columns={"prompt": "question.full_text"}), [(["Why so?"], ["a"], ["b"], A)])


def test_answers_without_a_prompt_name_the_line_that_gives_one(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"input": "q", "chosen": "a", "rejected": "b"}])
    assert 'columns = { prompt = "..." }' in refusal(path)
    check(load(path, columns={"prompt": "input"}), [(["q"], ["a"], ["b"], A)])


def test_empty_system_messages_are_passed_over_and_others_refused_with_the_mend(
    tmp_path: Path,
) -> None:
    def row(text: str | None) -> Row:
        system = [{"role": "system", "content": text}]
        return {"chosen": system + chat("q", "a"), "rejected": system + chat("q", "b")}

    empty = write(tmp_path / "e.jsonl", [row(""), row(None)])
    check(load(empty), [(["q"], ["a"], ["b"], A)] * 2)
    said = refusal(write(tmp_path / "s.jsonl", [row("Be brief.")]))
    assert "from 'system'" in said and "put its text before the user's" in said


def test_a_column_of_system_prompts_is_told_of(tmp_path: Path) -> None:
    row = {"system": "Be brief.", "question": "q", "chosen": "a", "rejected": "b"}
    notes = load(write(tmp_path / "t.jsonl", [row])).notes
    assert any("system is not read" in note for note in notes)


@pytest.mark.parametrize("cell", ["the text that is meant", [["q", "a"]]])
@pytest.mark.parametrize("name", ["input", "history", "context"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_is_said_beside_the_prompt_is_told_of(
    tmp_path: Path, kind: str, name: str, cell: Any
) -> None:
    empty: Any = [] if isinstance(cell, list) else "[]"
    row = {"prompt": "Sum it up.", "chosen": "a", "rejected": "b"}
    rows = [row | {name: one} for one in (cell, empty, None)]
    path = tmp_path / f"t.{kind}"
    if kind == "jsonl":
        write(path, rows)
    else:
        pl.DataFrame(rows).write_parquet(path)
    told = [note for note in load(path).notes if "is not read" in note]
    assert len(told) == 1 and told[0].startswith("1 rows have") and f"column {name} " in told[0]


def test_a_column_may_not_say_two_things(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"q": "p", "x": "a", "y": "b", "winner": "a"}])
    columns = {"prompt": "q", "response_a": "x", "response_b": "x"}
    assert 'columns.response_a and columns.response_b both name "x"' in refusal(
        path, columns=columns
    )
    assert len(load(path, columns=columns | {"id": "q", "response_b": "y"}).battles) == 1


def test_a_score_of_unknown_sign_is_no_label(tmp_path: Path) -> None:
    row = {"prompt": "p", "response_1": "a", "response_2": "b", "preference_score": 2}
    assert "missing" in refusal(write(tmp_path / "t.jsonl", [row, row | {"preference_score": -1}]))


def test_a_test_file_keeps_nothing_that_tells_who_won(tmp_path: Path) -> None:
    names = ("safer_response_id", "is_response_0_safe", "response_1_severity_level", "upvotes")
    row: Row = {"prompt": "p", "response_0": "a", "response_1": "b", "session": "s"}
    row |= dict.fromkeys((*names, "elo_a", "helpfulness_gap", "strength", "outcome"), 1)
    path = write(tmp_path / "t.jsonl", [row])
    loaded = load_battles(path, source="s", role="test", is_test=True)
    assert loaded.metadata.columns == ["id", "session"]


# Answers that are named, not given


@pytest.mark.parametrize(
    ("answers", "chosen", "rejected"),
    [
        ({"response_a": "x", "response_b": "y"}, "response_a", "response_b"),
        ({"answer_1": "x", "answer_2": "y"}, "1", "2"),
        ({"answer_a": "x", "answer_b": "y"}, "A", "B"),
        ({"responses": ["x", "y"]}, "0", "1"),
        ({"response_a": "x", "response_b": "y"}, "gpt-4", "claude"),
    ],
)
def test_chosen_that_names_an_answer_is_none(
    tmp_path: Path, answers: Row, chosen: str, rejected: str
) -> None:
    row = {"prompt": "p", "chosen": chosen, "rejected": rejected, "model": "m"} | answers
    said = refusal(write(tmp_path / "t.jsonl", [row] * 3))
    assert "are none of the answers" in said and next(iter(answers)) in said


def test_chosen_may_be_said_to_name_the_winner(tmp_path: Path) -> None:
    row = {"prompt": "p", "answer_1": "x", "answer_2": "y", "chosen": "answer_2", "rejected": "x"}
    path = write(tmp_path / "t.jsonl", [row])
    check(load(path, columns={"winner": "chosen"}), [(["p"], ["x"], ["y"], B)])


def test_chosen_that_repeats_an_answer_is_read(tmp_path: Path) -> None:
    row = {"prompt": "p", "response_1": "x", "response_2": "y", "chosen": "y", "rejected": "x"}
    check(load(write(tmp_path / "t.jsonl", [row])), [(["p"], ["y"], ["x"], A)])
    talks = row | {"chosen": chat("p", "v"), "rejected": chat("p", "w")}
    check(load(write(tmp_path / "m.jsonl", [talks])), [(["p"], ["v"], ["w"], A)])
    own = write(tmp_path / "f.jsonl", [row | {"chosen": "another", "rejected": "one"}])
    check(load(own, format="chosen-rejected"), [(["p"], ["another"], ["one"], A)])


def test_chosen_that_is_the_rejected_answer_is_no_battle(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "x", "rejected": second} for second in ("x", "y")]
    path = write(tmp_path / "t.jsonl", rows)
    assert "chosen and rejected are the same" in refusal(path)
    assert len(load(path, drop=True).battles) == 1


def test_scores_that_contradict_chosen_are_asked_about(tmp_path: Path) -> None:
    def rows(*scores: tuple[int, int]) -> list[Row]:
        return [
            {"prompt": f"q{n}", "chosen": "x", "rejected": "y"}
            | {"score_chosen": better, "score_rejected": worse}
            for n, (better, worse) in enumerate(scores)
        ]

    said = refusal(write(tmp_path / "t.jsonl", rows(*[(1, 5)] * 7, (3, 2))))
    assert "score_chosen is below score_rejected in 7 of 8 rows" in said
    # Slips of a judge, and a few rows alone, say nothing.
    for scores in ([(1, 5), (7, 6), (3, 2)] * 4, [(1, 5)] * 4):
        path = write(tmp_path / "t.jsonl", rows(*scores))
        assert len(load(path).battles) == len(scores)


def test_strengths_at_the_end_of_a_file_may_be_of_one_sign(tmp_path: Path) -> None:
    signs = [-1, 1] * (CHUNK_ROWS // 2) + [1, 2]  # the last two are read apart
    rows: list[Row] = [
        {"prompt": f"q{n}", "response_1": "a", "response_2": "b", "preference_strength": sign}
        for n, sign in enumerate(signs)
    ]
    assert len(load(write(tmp_path / "t.jsonl", rows)).battles) == len(signs)
    assert "never below 0, from 1 to 2" in refusal(write(tmp_path / "u.jsonl", rows[-2:]))


@pytest.mark.parametrize("form", ["rows", "lists"])
def test_an_answer_that_several_have_rated_is_one(tmp_path: Path, form: str) -> None:
    rated = [("x", 3), ("x", 1), ("y", 1.5), ("z", 2)]
    rows: list[Row] = [{"prompt": "q", "response": text, "score": s} for text, s in rated]
    if form == "lists":
        answers = [{"text": text, "score": score} for text, score in rated]
        rows = [{"prompt": "q", "completions": answers}]
    loaded = load(write(tmp_path / "t.jsonl", rows))
    due = [(["q"], [a], [b], label) for a, b, label in (("x", "y", A), ("x", "z", TIE))]
    check(loaded, [*due, (["q"], ["y"], ["z"], B)])
    assert any("1 answers say the same" in note for note in loaded.notes)
    same = [{"prompt": "q", "response": "x", "score": score} for score in (1, 2)]
    said = refusal(write(tmp_path / "s.jsonl", same))
    assert "1 prompts have one answer alone" in said


def test_a_prompt_of_messages_that_the_conversations_do_not_have(tmp_path: Path) -> None:
    row = {"prompt": chat("z"), "chosen": chat("q", "a"), "rejected": chat("q", "b")}
    path = write(tmp_path / "t.jsonl", [row])
    assert "prompt differs from what the user says" in refusal(path)
    good = row | {"prompt": chat("q")}
    check(load(write(tmp_path / "g.jsonl", [good])), [(["q"], ["a"], ["b"], A)])


# Turns


@pytest.mark.parametrize("turn", [1, 1.0, "1", "1.0"])
def test_the_judged_turn_is_read_however_it_is_written(tmp_path: Path, turn: Any) -> None:
    talks = {"conversation_a": chat("p", "a", "q", "c"), "conversation_b": chat("p", "b", "q", "d")}
    path = write(tmp_path / "t.jsonl", [talks | {"winner": "model_a", "turn": turn}])
    check(load(path), [(["p"], ["a"], ["b"], A)])


def test_turns_that_count_from_zero_are_refused(tmp_path: Path) -> None:
    talks = {"conversation_a": chat("p", "a", "q", "c"), "conversation_b": chat("p", "b", "q", "d")}
    path = write(tmp_path / "t.jsonl", [talks | {"winner": "model_a", "turn": 0}])
    assert "turns count from 1" in refusal(path)


def test_turns_that_count_from_zero_are_refused_where_one_would_be_lost(tmp_path: Path) -> None:
    def row(judged: int) -> Row:
        said = [f"{who}{n}" for n in range(judged + 1) for who in "qx"]
        return {"conversation_a": chat(*said), "conversation_b": chat(*said[:-1], "y")}

    rows = [row(n) | {"winner": "model_a", "turn": n} for n in range(3)]
    path = write(tmp_path / "t.jsonl", rows)
    said = refusal(path)
    assert "turn is 0 in 1 rows" in said and "out of 2 others" in said
    assert "another name" in said
    # Sorted by turn, in files of their own: neither alone shows it.
    (tmp_path / "several").mkdir()
    for n in range(2):
        write(tmp_path / "several" / f"{n}.jsonl", rows[n : n + 1])
    assert "turn is 0 in 1 rows" in refusal(tmp_path / "several")
    # Turns of a session, one a row: nothing would be left out.
    single = [BATTLE | {"prompt": f"p{n}", "turn": n} for n in range(3)]
    assert len(load(write(tmp_path / "s.jsonl", single)).battles) == 3
    counts = [row(n) | {"winner": "model_a", "turn": n + 1} for n in range(3)]
    loaded = load(write(tmp_path / "n.jsonl", counts)).battles
    assert loaded["prompt"].list.len().to_list() == [1, 2, 3]


def test_rows_that_make_no_battle_are_told_of(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"prompt": "p", "response": "a", "score": 1}])
    assert "1 prompts have one answer alone" in refusal(path)


# Labels without ties


@pytest.mark.parametrize("ties", [True, False])
def test_two_shares_are_labels_without_ties(ties: bool, tmp_path: Path) -> None:
    def load_two(path: Path) -> list[Any]:
        battles = load_battles(path, source="s", role="target", ties=ties).battles
        return battles.select("label_a", "label_b", "label_tie").rows()

    texts = {"prompt": "p", "response_a": "a", "response_b": "b"}
    rows = [
        texts | {"id": str(at), "winner_model_a": share, "winner_model_b": 1 - share}
        for at, share in enumerate((0.25, 1, 0))
    ]
    path = write(tmp_path / "t.jsonl", rows)
    assert load_two(path) == [(0.25, 0.75, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)]
    other = write(tmp_path / "o.jsonl", [rows[0] | {"winner_model_b": 0.5}])
    with pytest.raises(DataError, match="do not sum to 1, and there is no column winner_tie"):
        load_two(other)
    blank = write(
        tmp_path / "b.jsonl", [rows[0] | dict.fromkeys(["winner_model_a", "winner_model_b"])]
    )
    with pytest.raises(DataError, match="no label"):
        load_two(blank)


# CSV as pandas writes it


def test_messages_in_cells_beside_a_prompt_are_read(tmp_path: Path) -> None:
    rows = [("q", chat("q", "it's"), chat("q", 'a "b"'))]
    for name, spell in (("python", str), ("json", json.dumps)):
        path = tmp_path / f"{name}.csv"
        cells = {"prompt": ["q"], "chosen": [spell(rows[0][1])], "rejected": [spell(rows[0][2])]}
        pl.DataFrame(cells).write_csv(path)
        check(load(path), [(["q"], ["it's"], ['a "b"'], A)])
    alone = [{"role": "assistant", "content": "a"}]
    cells = {
        "prompt": ["q"],
        "chosen": [str(alone)],
        "rejected": [str(alone).replace("'a'", "'b'")],
    }
    pl.DataFrame(cells).write_csv(tmp_path / "alone.csv")
    check(load(tmp_path / "alone.csv"), [(["q"], ["a"], ["b"], A)])


def test_truth_values_as_text_are_shares(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    head = "id,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
    path.write_text(f"{head}1,p,a,b,True,False,False\n2,p,a,b,false,FALSE,true\n")
    assert [label for *_, label in told(load(path).battles)] == [A, TIE]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("\nid,prompt\n1,p\n", "the first line is empty"), ("id,,\n1,p,x\n", 'the header repeats ""')],
)
def test_headers_without_names_say_so(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert reason in refusal(path)
