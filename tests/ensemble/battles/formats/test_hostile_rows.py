from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ensemble.battles.swap import swap_battles
from ensemble.errors import DataError
from tests.ensemble.battles.formats.golden_rows import GOLDEN
from tests.ensemble.battles.formats.readings import (
    BOT,
    HUMAN,
    A,
    B,
    Row,
    Told,
    chat,
    check,
    load,
    parts,
    write,
)

# Rows that cannot be read: each by its reason, none wrongly

GOOD = {"prompt": "q", "chosen": chat("q", "a"), "rejected": chat("q", "b")}
HOSTILE: list[tuple[Row, Row, str]] = [
    (GOOD, {"chosen": None}, "chosen is missing"),
    (GOOD, {"chosen": []}, "chosen holds no message"),
    (GOOD, {"chosen": chat("q", "a", "more")}, "the user's turns differ"),
    (GOOD, {"chosen": chat("other", "a")}, "the user's turns differ"),
    (GOOD, {"chosen": [{"role": "system", "content": "s"}, *chat("q", "a")]}, "from 'system'"),
    (GOOD, {"chosen": [{"role": "user"}]}, 'no "role" and "content"'),
    (GOOD, {"chosen": 7}, "not text"),
    (GOOD, {"chosen": [{"role": "assistant", "content": 3}]}, "neither a string nor null"),
    (GOOD, {"prompt": "another text"}, "prompt differs from what the user says"),
    (GOOD, {"chosen": chat("q", [{"type": "image", "image": "x"}])}, "a turn is an image"),
    (
        {"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]},
        {"answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": float("nan")}]},
        "answers 2 has neither a rank nor a score",
    ),
    (
        {"prompt": "q", "answers": [{"answer": "a", "score": 1}, {"answer": "b", "score": 2}]},
        {"answers": [{"answer": "a", "score": 1}, {"answer": "b", "score": "high"}]},
        "score of answers 2 is 'high', not a number",
    ),
    (
        {"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]},
        {"answers": [{"answer": "a", "rank": 1}]},
        "1 answers are no pair",
    ),
    (
        {"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]},
        {"answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2, "score": 9}]},
        "several scores",
    ),
    (
        {"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]},
        {"answers": [{"answer": "a", "rank": 1}, {"answer": None, "rank": 2}]},
        "answers 2 is missing",
    ),
    (
        {"prompt": "q", "responses": ["a", "b"], "scores": [1, 2]},
        {"scores": [1, 2, 3]},
        "3 numbers for 2 answers",
    ),
    (
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0},
        {"better_response_id": 2},
        "unknown winner 2 in better_response_id; known are 0 to 1",
    ),
    (
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0},
        {"better_response_id": None},
        "no label",
    ),
    (
        {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 1},
        {"preference_strength": float("nan")},
        "no label",
    ),
    (
        {"prompt": "q", "response_1": "a", "response_2": "b", "label": "A"},
        {"label": 1},
        "unknown winner 1 in label",
    ),
    (
        {"id": 1, "prompt": "q", "chosen": "a", "rejected": "b"},
        {"id": None},
        "the id is missing",
    ),
    (
        {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 1},
        {"score_chosen": 0},
        "score_chosen is below score_rejected",
    ),
]


@pytest.mark.parametrize(("good", "bad", "reason"), HOSTILE)
def test_a_row_that_cannot_be_read_is_told_by_its_reason(
    good: Row, bad: Row, reason: str, tmp_path: Path
) -> None:
    options: Row = {"tie_below": 0.5} if "score_chosen" in good else {}
    path = write(tmp_path / "t.jsonl", [good, good | bad, good | {"prompt": "q"}])
    if "id" in good:
        write(path, [good, good | bad, good | {"id": 2}])
    with pytest.raises(DataError, match="1 of 3 rows") as caught:
        load(path, **options)
    assert reason in str(caught.value) and "t.jsonl:2: " in str(caught.value)
    kept = load(path, drop=True, **options)
    assert len(kept.bad_rows) == 1 and len(kept.battles) == 2


def test_an_index_of_ones_alone_is_not_guessed(tmp_path: Path) -> None:
    row = {"prompt": "q", "responses": ["a", "b"], "chosen_index": 1}
    with pytest.raises(DataError, match="counted from 0 or from 1"):
        load(write(tmp_path / "t.jsonl", [row, row]))
    two = load(write(tmp_path / "u.jsonl", [row, row | {"chosen_index": 2}]))
    check(two, [(["q"], ["a"], ["b"], A), (["q"], ["a"], ["b"], B)])


@pytest.mark.parametrize("spell", [str, json.dumps, list])
def test_an_index_of_lists_within_text_is_not_guessed_either(tmp_path: Path, spell: Any) -> None:
    rows = [
        {"prompt": f"q{n}", "responses": spell(["a", "b", "c"]), "chosen_index": n} for n in (1, 2)
    ]
    with pytest.raises(DataError, match="never 0: counted from 0 or from 1"):
        load(write(tmp_path / "t.jsonl", rows))


def test_unknown_values_of_a_label_are_counted(tmp_path: Path) -> None:
    base = {"prompt": "q", "response_a": "a", "response_b": "b"}
    rows = [base | {"id": i, "winner": w} for i, w in enumerate(["a", 3, 3, "x y", "TIE"])]
    with pytest.raises(DataError, match=r"3 \(2\), 'x y' \(1\)"):
        load(write(tmp_path / "t.jsonl", rows))


def test_a_mapped_name_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"question": "q", "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError, match=r"columns.prompt names \"qestion\"(.|\n)*question"):
        load(path, columns={"prompt": "qestion"})


def test_a_dot_leads_into_a_column_of_records(tmp_path: Path) -> None:
    row = {"question": {"full_text": "q"}, "answer_0": "a", "answer_1": "b"}
    path = write(tmp_path / "t.jsonl", [row | {"score_0": 1, "score_1": 0}])
    check(load(path, columns={"prompt": "question.full_text"}), [(["q"], ["a"], ["b"], A)])


def test_lists_in_text_are_lists_in_every_format(tmp_path: Path) -> None:
    row = {"prompt": '["q"]', "response_0": "['a']", "response_1": '["b"]'}
    path = write(tmp_path / "t.jsonl", [row | {"better_response_id": 0}] * 3)
    check(load(path), [(["q"], ["a"], ["b"], A)] * 3)
    rows = [{"prompt": '["q"]', "responses": ["a", "b"], "scores": [1, 2]}] * 3
    with pytest.raises(DataError, match="cells of prompt are lists of turns"):
        load(write(tmp_path / "u.jsonl", rows))


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=9)
SAFE = TEXT.filter(lambda text: not text.lstrip().startswith(("[", "Human:")) and text.strip())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(SAFE, TEXT, TEXT, SAFE, SAFE), min_size=1, max_size=5))
def test_any_conversation_survives_every_way_to_write_it(
    rows: list[tuple[str, ...]], tmp_path: Path
) -> None:
    assume(all(a != b for *_, a, b in rows))  # of one answer none is better
    due: list[Told] = [([q, q2], [x, a], [x, b], A) for q, x, q2, a, b in rows]
    ways: list[list[Row]] = [
        [{"chosen": chat(q, x, q2, a), "rejected": chat(q, x, q2, b)} for q, x, q2, a, b in rows],
        [
            {
                "prompt": chat(q, x, q2),
                "answers": [{"text": a, "score": 2}, {"text": b, "score": 1}],
            }
            for q, x, q2, a, b in rows
        ],
        [
            {
                "winner": "model_a",
                "conversation_a": chat(parts(q), x, q2, parts(a)),
                "conversation_b": chat(parts(q), x, q2, parts(b)),
            }
            for q, x, q2, a, b in rows
        ],
    ]
    for way in ways:
        loaded = load(write(tmp_path / "t.jsonl", way))
        check(loaded, due)
        assert loaded.battles["id"].is_unique().all()
    marks = ("Human:", "Assistant:")
    if not any(mark in text for row in rows for text in row for mark in marks):
        talks = [
            {
                side: HUMAN + q + BOT + x + HUMAN + q2 + BOT + said
                for side, said in (("chosen", a), ("rejected", b))
            }
            for q, x, q2, a, b in rows
        ]
        check(load(write(tmp_path / "t.jsonl", talks)), due)


def test_swapping_is_its_own_inverse_on_what_was_loaded(tmp_path: Path) -> None:
    rows, _, _, _ = GOLDEN["ranked"]
    battles = load(write(tmp_path / "t.jsonl", rows)).battles
    assert swap_battles(swap_battles(battles)).equals(battles)
