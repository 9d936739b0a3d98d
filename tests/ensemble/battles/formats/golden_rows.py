"""Invented rows of each format, and what they must become."""

from __future__ import annotations

from tests.ensemble.battles.formats.readings import (
    BOT,
    HUMAN,
    TIE,
    A,
    B,
    Row,
    Told,
    chat,
    parts,
)

# One golden case a format: rows, options, what it must become, what is printed

MESSAGES: list[Row] = [
    {"message_id": "r", "parent_id": None, "text": "q", "role": "prompter", "rank": None},
    {"message_id": "x", "parent_id": "r", "text": "a", "role": "assistant", "rank": 1},
    {"message_id": "y", "parent_id": "r", "text": "b", "role": "assistant", "rank": 0},
    {"message_id": "f", "parent_id": "y", "text": "q2", "role": "prompter", "rank": 0},
    {"message_id": "z", "parent_id": "f", "text": "c", "role": "assistant", "rank": 0},
    {"message_id": "w", "parent_id": "f", "text": "d", "role": "assistant", "rank": 1},
    {"message_id": "u", "parent_id": "f", "text": "?", "role": "assistant", "rank": None},
]
TREE = {
    "message_tree_id": "r",
    "tree_state": "ready_for_export",
    "prompt": {
        "message_id": "r",
        "text": "q",
        "role": "prompter",
        "replies": [
            {"message_id": "x", "text": "a", "role": "assistant", "rank": 1, "replies": []},
            {
                "message_id": "y",
                "text": "b",
                "role": "assistant",
                "rank": 0,
                "replies": [
                    {
                        "message_id": "f",
                        "text": "q2",
                        "role": "prompter",
                        "replies": [
                            {"message_id": "z", "text": "c", "role": "assistant", "rank": 0},
                            {"message_id": "w", "text": "d", "role": "assistant", "rank": 1},
                        ],
                    }
                ],
            },
        ],
    },
}
OF_TREE: list[Told] = [
    (["q"], ["a"], ["b"], B),
    (["q", "q2"], ["b", "c"], ["b", "d"], A),
]
THREE = [{"answer": "a", "rank": 2}, {"answer": "b", "rank": 1}, {"answer": "c", "rank": 2}]
GOLDEN: dict[str, tuple[list[Row], Row, list[Told], str]] = {
    "two classes": (
        [{"id": "1", "prompt": "q", "response_a": "a", "response_b": "b", "winner": "model_b"}],
        {},
        [(["q"], ["a"], ["b"], B)],
        "battles .*, plain text",
    ),
    "content in parts": (
        [
            {
                "id": "1",
                "winner": "both_bad",
                "conversation_a": chat(parts("q", "q'"), parts("a")),
                "conversation_b": chat(parts("q", "q'"), parts("b")),
            }
        ],
        {},
        [(["q\nq'"], ["a"], ["b"], TIE)],
        "conversations",
    ),
    "chosen messages": (
        [{"prompt": "q", "chosen": chat("q", "a"), "rejected": chat("q", "b")}],
        {},
        [(["q"], ["a"], ["b"], A)],
        "chosen and rejected",
    ),
    "chosen answers beside messages": (
        [
            {
                "prompt": chat("q", "x", "q2"),
                "chosen": [{"role": "assistant", "content": "a"}],
                "rejected": [{"role": "assistant", "content": "b"}],
            }
        ],
        {},
        [(["q", "q2"], ["x", "a"], ["x", "b"], A)],
        "chosen and rejected",
    ),
    "chosen texts": (
        [{"question": "q", "chosen": "a", "rejected": "b"}],
        {},
        [(["q"], ["a"], ["b"], A)],
        "chosen and rejected",
    ),
    "transcripts": (
        [
            {
                "chosen": f"{HUMAN}q{BOT}x{HUMAN}q2{BOT}a\n\nand more",
                "rejected": f"{HUMAN}q{BOT}x{HUMAN}q2{BOT}b",
            }
        ],
        {},
        [(["q", "q2"], ["x", "a\n\nand more"], ["x", "b"], A)],
        "chosen and rejected",
    ),
    "transcript as prompt": (
        [{"prompt": f"{HUMAN}q{BOT}", "chosen": "a", "rejected": "b"}],
        {},
        [(["q"], ["a"], ["b"], A)],
        "chosen and rejected",
    ),
    "near scores tie": (
        [
            {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 9, "score_rejected": r}
            for r in (8.6, 8.5, 2)
        ],
        {"tie_below": 0.5},
        [
            (["q"], ["a"], ["b"], TIE),
            (["q"], ["a"], ["b"], A),
            (["q"], ["a"], ["b"], A),
        ],
        "a tie below 0.5",
    ),
    "ranked": (
        [{"prompt": "q", "answers": THREE}],
        {},
        [
            (["q"], ["a"], ["b"], B),
            (["q"], ["a"], ["c"], TIE),
            (["q"], ["b"], ["c"], A),
        ],
        r"several answers \(answers, ranked or rated\): all pairs",
    ),
    "best and worst": (
        [
            {
                "instruction": "q",
                "completions": [
                    {"response": "a", "overall_score": 3.0, "fine-grained_score": 9},
                    {"response": "b", "overall_score": 8.5, "fine-grained_score": 1},
                    {"response": "c", "overall_score": 1.0, "fine-grained_score": 5},
                ],
            }
        ],
        {"pairs": "best_worst"},
        [(["q"], ["b"], ["c"], A)],
        "the best with the worst",
    ),
    "lists beside each other": (
        [{"prompt": "q", "responses": ["a", "b"], "scores": [0.1, 0.7]}],
        {},
        [(["q"], ["a"], ["b"], B)],
        "several answers",
    ),
    "chosen index": (
        [
            {"prompt": "q", "responses": ["a", "b", "c"], "chosen_index": 2},
            {"prompt": "r", "responses": ["a", "b"], "chosen_index": 0},
        ],
        {},
        [
            (["q"], ["a"], ["c"], B),
            (["q"], ["b"], ["c"], B),
            (["r"], ["a"], ["b"], A),
        ],
        "chosen_index",
    ),
    "one answer a row": (
        [
            {"prompt": "q", "response": "a", "helpfulness": 4},
            {"prompt": "r", "response": "x", "helpfulness": 1},
            {"prompt": "q", "response": "b", "helpfulness": 1},
            {"prompt": "r", "response": "y", "helpfulness": 1},
        ],
        {},
        [(["q"], ["a"], ["b"], A), (["r"], ["x"], ["y"], TIE)],
        "rated answers, one a row",
    ),
    "signed strength": (
        [
            {
                "context": chat("q", "x", "q2"),
                "response1": "a",
                "response2": "b",
                "overall_preference": s,
            }
            for s in (-2, 0, 3)
        ],
        {},
        [
            (["q", "q2"], ["x", "a"], ["x", "b"], A),
            (["q", "q2"], ["x", "a"], ["x", "b"], TIE),
            (["q", "q2"], ["x", "a"], ["x", "b"], B),
        ],
        "below 0 the first is better",
    ),
    "two scores": (
        [{"question": "q", "answer_0": "a", "answer_1": "b", "score_0": -0.5, "score_1": 0.5}],
        {},
        [(["q"], ["a"], ["b"], B)],
        "their scores",
    ),
    "better_response_id": (
        [
            {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": i}
            for i in (0, 1)
        ],
        {},
        [(["q"], ["a"], ["b"], A), (["q"], ["a"], ["b"], B)],
        "two answers",
    ),
    "messages of trees": (MESSAGES, {}, OF_TREE, "messages of trees"),
    "whole trees": ([TREE], {}, OF_TREE, "trees of replies"),
    "mapped": (
        [
            {"key": i, "question": "q", "answer_1": "a", "answer_2": "b", "label": w}
            for i, w in enumerate([0, 1, 2, 0.0])
        ],
        {
            "columns": {
                "id": "key",
                "prompt": "question",
                "response_a": "answer_1",
                "response_b": "answer_2",
                "winner": "label",
            },
            "winner": {"0": "a", "1": "b", "2": "tie"},
        },
        [(["q"], ["a"], ["b"], label) for label in (A, B, TIE, A)],
        "battles",
    ),
    "truth values": (
        [{"prompt": "q", "output_1": "a", "output_2": "b", "first_wins": w} for w in (True, False)],
        {"columns": {"winner": "first_wins"}, "winner": {"true": "a", "false": "b"}},
        [(["q"], ["a"], ["b"], A), (["q"], ["a"], ["b"], B)],
        "two answers",
    ),
}
