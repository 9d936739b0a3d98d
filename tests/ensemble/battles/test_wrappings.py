"""Battles told again in another wrapping are one cluster; a shared template connects nothing."""

from __future__ import annotations

import html
import json
import random
from typing import TYPE_CHECKING
from urllib.parse import quote

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ensemble import errors, find_duplicates
from ensemble.battles.coverage import alignment, coverage
from ensemble.battles.looked import Looked
from ensemble.battles.templates import find_templates

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 60
LIST = pl.List(pl.String)


def sentence(draw: random.Random, words: int) -> str:
    return " ".join("".join(draw.choices("abcdefghilmnoprstu", k=6)) for _ in range(words))


DRAW = random.Random(5)
PROMPTS = [f"{sentence(DRAW, 9)}?" for _ in range(ROWS)]
ANSWERS = [f"{sentence(DRAW, 40)}." for _ in range(2 * ROWS)]
LONG = sentence(DRAW, 300)


def table(source: str, rounds: list[list[tuple[str, str, str]]]) -> pl.DataFrame:
    columns = [[list(turns) for turns in zip(*battle, strict=True)] for battle in rounds]
    return pl.DataFrame(
        {
            "id": [f"{source}-{n}" for n in range(len(rounds))],
            "source": source,
            **{
                name: pl.Series([battle[k] for battle in columns], dtype=LIST)
                for k, name in enumerate(("prompt", "response_a", "response_b"))
            },
        }
    )


def single() -> list[list[tuple[str, str, str]]]:
    return [[(PROMPTS[n], ANSWERS[2 * n], ANSWERS[2 * n + 1])] for n in range(ROWS)]


def escaped(copies: pl.DataFrame, originals: pl.DataFrame) -> int:
    clusters = dict(find_duplicates(pl.concat([originals, copies])).clusters.rows())
    pairs = zip(originals["id"], copies["id"], strict=True)
    return sum(clusters[one] != clusters[other] for one, other in pairs)


def other_answers(number: int) -> tuple[str, str]:
    draw = random.Random(number)
    return sentence(draw, 40), sentence(draw, 40)


@pytest.mark.parametrize("same_answers", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: f"{LONG[:272]}\n\n{text}",
        lambda text: f"{text} {LONG[:2000]}",
        lambda text: f"{LONG[:1000]} {text} {LONG[-1000:]}",
        lambda text: f"USER: {text}\n\nASSISTANT:",
        lambda text: f"<|im_start|>user\n{text}<|im_end|>\n",
        lambda text: html.escape(html.escape(f"'{text}'")),
        lambda text: json.dumps(f'"{text}"'),
        lambda text: text.replace(" ", "<br>"),
        lambda text: f"{text[:-1]} please",
        lambda text: text[:30] + "z" + text[31:],
        str.upper,
        lambda text: quote(text),
        lambda text: "\n".join(f"{n}. {text[a : a + 30]}" for n, a in enumerate(range(0, 90, 30))),
    ],
)
def test_a_copy_in_another_wrapping_does_not_escape(
    wrap: Callable[[str], str], same_answers: bool
) -> None:
    copies = [
        [(wrap(prompt), *((f"Assistant: {a}", f"{b}</s>") if same_answers else other_answers(n)))]
        for n, [(prompt, a, b)] in enumerate(single())
    ]
    assert escaped(table("copies", copies), table("people", single())) == 0


SHORT = ["Who are you?", "What is C?", "C++", "2+2=?", "¿Qué es?", "Кто ты?", "写一首诗", "ما هو؟"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: f'"{text}"',
        lambda text: f"**{text}**",
        lambda text: f"```\n{text}\n```",
        lambda text: f"> {text}",
        lambda text: json.dumps([text]),
        lambda text: ascii(text),
        lambda text: text.strip("¿?؟ "),
        lambda text: quote(text, safe=""),
        lambda text: text.encode().decode("latin-1"),
        lambda text: "\u034f".join(text),
        lambda text: f"USER: {text} ASSISTANT:",
        lambda text: f"### Human: {text}### Assistant:",
        lambda text: (
            f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        ),
        lambda text: f"问：{text}\n答：",
        lambda text: f"Frage: {text}\nAntwort:",
        lambda text: f'<message role="user">{text}</message>',
        lambda text: f"[b]{text}[/b]",
        lambda text: json.dumps([{"role": "user", "content": text}]),
        lambda text: str({"prompt": text}),
        lambda text: f"```text\n{text}\n```",
        lambda text: f"(1) {text}",
        lambda text: f"1、{text}",
        lambda text: f"→ {text}",
        lambda text: f">> {text}",
        lambda text: f"|{text}|",
        lambda text: f"\x1b[1m{text}\x1b[0m",
        lambda text: f"{text}\n{text}",
        lambda text: quote(quote(text)),
        lambda text: text.encode().decode("latin-1").encode().decode("latin-1"),
    ],
)
def test_a_short_prompt_in_other_marks_does_not_escape(wrap: Callable[[str], str]) -> None:
    originals = [[(p, *other_answers(n))] for n, p in enumerate(SHORT)]
    copies = [[(wrap(p), *other_answers(n + 50))] for n, p in enumerate(SHORT)]
    people, others = table("people", originals), table("copies", copies)
    assert escaped(others, people) == 0
    found = find_duplicates(pl.concat([people, others])).clusters
    assert found["cluster"].n_unique() == len(SHORT)


LETTERS = [
    ("Schreibe ein Gedicht über die Straße.", str.upper),
    ("Küçük bir kız İstanbul'da ne yapar?", str.upper),
    ("Ποιος είσαι εσύ και τι κάνεις εδώ;", lambda _: "ΠΟΙΟΣ ΕΙΣΑΙ ΕΣΥ ΚΑΙ ΤΙ ΚΑΝΕΙΣ ΕΔΩ;"),
    ("¿Qué es la fotosíntesis y cómo ocurre?", lambda _: "Que es la fotosintesis y como ocurre?"),
    ("Расскажи про ёлку", lambda text: text.replace("ё", "е")),
    ("Расскажи про кота", lambda text: text.translate(str.maketrans("аеос", "aeoc"))),
    ("Tell me about the apples", lambda text: text.translate(str.maketrans("aeop", "аеор"))),
    ("اكتب مقالا عن القاهرة", lambda text: text.replace("ا", "اَ").replace("ي", "ی")),
    ("请写一篇关于人工智能的文章", " ".join),
    ("What is 12 times 13?", lambda text: text.translate(str.maketrans("123", "١٢٣"))),
    ("Tell me a joke about bees", "\u0336".join),
]
"""Prompts and how others write their letters."""


@pytest.mark.parametrize("number", range(len(LETTERS)))
def test_a_prompt_in_other_letters_does_not_escape(number: int) -> None:
    prompt, spell = LETTERS[number]
    people = table("people", [[(text, *other_answers(n))] for n, (text, _) in enumerate(LETTERS)])
    copy = table("copies", [[(spell(prompt), *other_answers(50))]])
    found = find_duplicates(pl.concat([people, copy])).clusters["cluster"]
    assert found[-1] == found[number]
    assert found.n_unique() == len(LETTERS)


@pytest.mark.parametrize("kept", [[1], [0], [1, 2], [0, 2]])
@pytest.mark.parametrize("same_answers", [True, False])
def test_some_rounds_of_a_conversation_do_not_escape(kept: list[int], same_answers: bool) -> None:
    draw = random.Random(3)
    whole = [
        [(f"{sentence(draw, 8)}?", sentence(draw, 40), sentence(draw, 40)) for _ in range(3)]
        for _ in range(ROWS)
    ]
    parts = [
        [battle[k] if same_answers else (battle[k][0], *other_answers(n)) for k in kept]
        for n, battle in enumerate(whole)
    ]
    assert escaped(table("parts", parts), table("people", whole)) == 0


def test_a_transcript_does_not_escape() -> None:
    draw = random.Random(4)
    whole = [
        [(f"{sentence(draw, 8)}?", sentence(draw, 40), sentence(draw, 40)) for _ in range(2)]
        for _ in range(ROWS)
    ]
    flat = [
        [(f"Human: {p1}\n\nAI: {a1}\n\nHuman: {p2}\n\nAI:", *other_answers(n))]
        for n, [(p1, a1, _), (p2, _, _)] in enumerate(whole)
    ]
    assert escaped(table("flat", flat), table("people", whole)) == 0


def test_an_answer_that_stands_in_two_battles_joins_them() -> None:
    first = [[(PROMPTS[n], ANSWERS[n], ANSWERS[ROWS + n])] for n in range(10)]
    second = [[(PROMPTS[20 + n], f"Sure! {ANSWERS[n]}", other_answers(n)[0])] for n in range(10)]
    assert escaped(table("b", second), table("a", first)) == 0


@pytest.mark.parametrize("prompts", [PROMPTS, [p[:12] for p in PROMPTS]])
def test_a_template_that_all_rows_share_connects_nothing(prompts: list[str]) -> None:
    rows = [[(f"{LONG[:1500]}\n\n{p}", *other_answers(n))] for n, p in enumerate(prompts)]
    found = find_duplicates(table("people", rows))
    assert found.clusters["cluster"].n_unique() == ROWS


@pytest.mark.parametrize("system", [["You are a helpful assistant."], [LONG[:700], LONG[700:1400]]])
def test_a_first_turn_that_all_conversations_share_connects_nothing(system: list[str]) -> None:
    rows = [
        [(system[n % len(system)], "", ""), (p, *other_answers(n))] for n, p in enumerate(PROMPTS)
    ]
    assert find_duplicates(table("people", rows)).clusters["cluster"].n_unique() == ROWS


def test_a_first_turn_that_few_conversations_share_connects_them() -> None:
    rows = [[(PROMPTS[0], "", ""), (p, *other_answers(n))] for n, p in enumerate(PROMPTS[1:11])]
    assert find_duplicates(table("people", rows)).clusters["cluster"].n_unique() == 1


def test_a_template_of_a_small_part_of_a_source_connects_nothing() -> None:
    """Sources that mix many tasks have a template for each."""
    draw = random.Random(6)
    templates = [sentence(draw, 100) for _ in range(30)]
    rows = [
        [(f"{templates[n % 30]} {sentence(draw, 7)}", *other_answers(n))] for n in range(30 * 30)
    ]
    assert find_duplicates(table("people", rows)).clusters["cluster"].n_unique() == len(rows)


def test_a_long_question_that_many_ask_with_a_letter_changed_stays_one() -> None:
    draw = random.Random(7)
    question, rest = sentence(draw, 40), [[(p, *other_answers(n))] for n, p in enumerate(PROMPTS)]
    asked = [
        [(f"{question[: 9 * n]}{'qxz'[n % 3]}{question[9 * n :]}", *other_answers(100 + n))]
        for n in range(25)
    ]
    # Few among many others of the source: what they share is no template of it.
    others = [[(sentence(draw, 12), *other_answers(500 + n))] for n in range(600)]
    found = find_duplicates(table("people", [*asked, *rest, *others])).clusters["cluster"]
    assert found[: len(asked)].n_unique() == 1


@pytest.mark.parametrize("same_answers", [True, False])
@pytest.mark.parametrize(
    ("prompt", "wrap"),
    [
        ("", "\n\nHuman: {}\n\nAssistant: {}"),
        ("Which answer is better?", "[INST] {} [/INST] {}"),
        ("", "{}\n\n{}"),
        ("", '[{{"role": "user", "content": "{}"}}, {{"role": "assistant", "content": "{}"}}]'),
    ],
)
def test_a_prompt_that_is_told_within_an_answer_does_not_escape(
    prompt: str, wrap: str, same_answers: bool
) -> None:
    copies = []
    for n, [(asked, *answers)] in enumerate(single()):
        told = answers if same_answers else other_answers(n)
        copies.append([(prompt, wrap.format(asked, told[0]), wrap.format(asked, told[1]))])
    assert escaped(table("copies", copies), table("people", single())) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2000), st.integers(0, 2000))
@example(73, 75)  # two prompts begin as the template goes on at the other end
def test_templates_are_found_at_either_end(before: int, after: int) -> None:
    texts = pl.Series([f"{LONG[:before]} {p} {LONG[:after]}".strip() for p in PROMPTS])
    sources = pl.Series([["one"]] * ROWS)
    own = find_templates(Looked.at(texts), sources).left_by(Looked.at(texts)).to_list()
    for text, prompt in zip(own, PROMPTS, strict=True):
        # Shorter than a gram nothing is seen; a letter that happens to follow is as good as gone.
        assert prompt[8:-8] in text
        assert len(text) <= len(prompt) + 2 * 14


def test_templates_are_those_of_a_source() -> None:
    wrapped = [f"{LONG[:200]} {prompt}" for prompt in PROMPTS[:10]]
    texts = pl.Series([*wrapped, *PROMPTS[10:]])
    of_one = pl.Series([["small"]] * 10 + [["large"]] * 50)
    assert (
        find_templates(Looked.at(texts), of_one).left_by(Looked.at(texts))[0][3:]
        == wrapped[0][201:][3:]
    )
    few = pl.Series([*wrapped[:5], *PROMPTS[5:]])
    assert find_templates(Looked.at(few), of_one).left_by(Looked.at(few)).to_list() == few.to_list()


@pytest.mark.parametrize("size", [40, 100, 300])
def test_coverage_golden(size: int) -> None:
    draw = random.Random(size)
    letters = "".join(draw.choices("abcdefghiklmnopqrst", k=size))
    half = letters[: size // 2]
    texts = pl.Series([letters, f"zz {letters} zz", half, letters[::-1]])
    left, right = [0, 2, 0, 0], [1, 0, 2, 3]
    pairs = [pl.Series(side).to_numpy() for side in (left, right)]
    assert coverage(texts, *pairs).tolist() == [1.0, 1.0, len(half) / size, 0.0]


def test_alignment_bears_wrong_letters() -> None:
    typed = PROMPTS[0][:20] + "z" + PROMPTS[0][21:40] + "z" + PROMPTS[0][41:]
    texts = pl.Series([typed, f"{LONG} {PROMPTS[0]}", PROMPTS[1]])
    left, right = (pl.Series(side).to_numpy() for side in ([0, 0], [1, 2]))
    alike = alignment(texts, left, right)
    assert alike[0] > 0.95
    assert alike[1] < 0.8


def test_more_passages_than_can_be_numbered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.battles.compared.NUMBER", 3)
    with pytest.raises(errors.DataError, match="more than the 3 that can be compared"):
        find_duplicates(table("people", single()))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_row_order_makes_no_difference_to_wrapped_copies(seed: int) -> None:
    draw = random.Random(seed)
    copies = [
        [(f"{LONG[:300]} {p[:k]}z{p[k + 1 :]} {LONG[-90:]}", *other_answers(n))]
        for n, [(p, _, _)] in enumerate(single())
        for k in [draw.randrange(len(p))]
    ]
    rows = pl.concat([table("people", single()), table("copies", copies)])

    def groups(battles: pl.DataFrame) -> set[frozenset[str]]:
        found = find_duplicates(battles).clusters.group_by("cluster").agg("id")["id"]
        return {frozenset(ids) for ids in found}

    assert groups(rows.sample(fraction=1, shuffle=True, seed=seed)) == groups(rows)
