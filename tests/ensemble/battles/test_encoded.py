"""Texts that were encoded once too often are refused by name, and never read with their marks."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble.battles.encoded import Encoded
from ensemble.battles.loading import load_battles
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.battles.turns import TextFormat, Turns

TEXTS = ("prompt", "response_a", "response_b")


def message(text: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": text}


def written(
    path: Path, spell: Callable[[str], str], names: tuple[str, ...] = TEXTS, rows: int = 6
) -> Path:
    """Write six rows, some of which have some texts spelled otherwise."""
    told = [{name: f"it's {name} {n}" for name in TEXTS} for n in range(6)]
    spelled = [{name: spell(row[name]) for name in names} for row in told[:rows]]
    pl.DataFrame(
        [
            {"id": f"i{n}", "winner": "tie"} | row | (spelled[n] if n < rows else {})
            for n, row in enumerate(told)
        ]
    ).write_csv(path)
    return path


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_battles(path, source="s", role="train", **options)
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize(
    ("spell", "reason"),
    [
        (lambda t: json.dumps(json.dumps([t])), "prompt are lists that were encoded twice"),
        (lambda t: json.dumps(t + "\nand on"), "texts in quotes"),
        (lambda t: repr(t.replace("'", "")), "texts in quotes"),
        (lambda t: f'="{t}"', "texts in quotes"),
        (lambda t: json.dumps([json.dumps([t])]), "prompt are lists of turns"),
        (lambda t: json.dumps([json.dumps([message(t)])]), "prompt are messages"),
        (lambda t: json.dumps([message(t)]), "neither a string nor null"),
        (lambda t: str([message(t)]), "neither a string nor null"),
        (lambda t: json.dumps({"from": "human", "value": t}), "not a JSON list of turns"),
        (lambda t: str((t, t)), "not a JSON list of turns"),
        (lambda t: f"array([{t!r}], dtype=object)", "not a JSON list of turns"),
    ],
)
def test_what_is_encoded_once_too_often_is_refused(
    tmp_path: Path, spell: Callable[[str], str], reason: str
) -> None:
    said = refusal(written(tmp_path / "t.csv", spell))
    assert reason in said
    assert 'set text_format = "plain"' not in said or "quotes are part of the texts" in said


@pytest.mark.parametrize("spell", [json.dumps, str])
def test_conversations_in_the_place_of_answers_are_no_plain_text(
    tmp_path: Path, spell: Callable[[Any], str]
) -> None:
    def talk(text: str) -> str:
        return spell([message("p"), message(text, "assistant")])

    path = written(tmp_path / "t.csv", talk, TEXTS[1:])
    said = refusal(path, text_format="plain")
    assert "6 of 6 cells of response_a are messages" in said and "conversation_a" in said


def test_messages_that_were_encoded_twice_are_no_answers(tmp_path: Path) -> None:
    talks = [json.dumps(json.dumps([message("q"), message(t, "assistant")])) for t in "ab"]
    path = tmp_path / "t.csv"
    pl.DataFrame([{"prompt": "q", "chosen": talks[0], "rejected": talks[1]}] * 3).write_csv(path)
    assert "response_a are lists that were encoded twice" in refusal(path)


def test_quotes_that_are_part_of_the_texts_may_be_said_to_be(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", json.dumps)
    assert 'set text_format = "plain"' in refusal(path)
    battles = load_battles(path, source="s", role="train", text_format="plain").battles
    assert battles["prompt"][0].to_list() == ['"it\'s prompt 0"']


def quoted(path: Path, *rows: str) -> Path:
    """Write a row for each letter: ``q`` with all texts in quotes, ``n`` as null, ``t`` plain."""
    spell: dict[str, Callable[[str], str]] = {"q": json.dumps, "n": lambda _: "null", "t": str}
    pl.DataFrame(
        [
            {"id": f"{path.stem}{n}", "winner": "tie"}
            | {name: spell[row](f"it's {name} {n}") for name in TEXTS}
            for n, row in enumerate(rows)
        ]
    ).write_csv(path)
    return path


def test_quotes_are_told_by_all_of_a_source(tmp_path: Path) -> None:
    # One row a file: none alone says anything.
    for n in range(3):
        quoted(tmp_path / f"p{n}.csv", "q")
    assert "all cells" in refusal(tmp_path)
    # Nor do two rows of a source that begin the last part that is read.
    with_others = quoted(tmp_path / "o.csv", *"ttttttttttttqq")
    assert len(load_battles(with_others, source="s", role="train").battles) == 14


def test_a_file_in_quotes_is_refused_beside_others(tmp_path: Path) -> None:
    quoted(tmp_path / "p0.csv", *("q" * 25))
    quoted(tmp_path / "p1.csv", *("t" * 100))
    assert "all cells" in refusal(tmp_path)


def test_quotes_around_nearly_all_texts_are_refused(tmp_path: Path) -> None:
    assert "all cells" in refusal(quoted(tmp_path / "n.csv", *"qqnqqnq"))
    assert "117 of 120 cells" in refusal(quoted(tmp_path / "t.csv", *("q" * 39), "t"))


def test_quotes_that_are_doubled_within_are_quotes(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", lambda t: f'"{t}: ""one"" more"')
    assert "texts in quotes" in refusal(path)


def test_parts_that_begin_where_others_end_are_told_by_most_of_a_source(tmp_path: Path) -> None:
    for n in range(3):
        row = {name: [json.dumps([message("q")])] for name in TEXTS}
        rows = json.dumps([{"id": str(n), "winner": "tie", **row}])
        (tmp_path / f"p{n}.json").write_text(rows)
    assert "3 of 3 cells of prompt are messages" in refusal(tmp_path)


def test_lists_at_the_end_of_a_file_are_told_by_most_of_it() -> None:
    plain: list[Turns] = [["q"]] * 5
    lists: list[Turns] = [[json.dumps([message("q")])]] * 2
    seen = Encoded()
    seen.add({"prompt": plain}, "f", "plain")
    seen.add({"prompt": lists}, "f", "plain")  # as the last rows are read, apart
    seen.refuse("s", "plain", is_said=False)
    seen.add({"prompt": lists}, "g", "plain")
    with pytest.raises(DataError, match="2 of 2 cells of prompt are messages") as caught:
        seen.refuse("s", "plain", is_said=False)
    assert caught.value.where == "g"


@pytest.mark.parametrize("kind", ["lists", "lists in text"])
def test_the_hint_on_quotes_names_what_settles_it(tmp_path: Path, kind: str) -> None:
    texts = {name: ['"q"'] if kind == "lists" else '["\\"q\\""]' for name in TEXTS}
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"id": str(n), "winner": "tie", **texts} for n in range(3)]))
    said: TextFormat = "plain" if kind == "lists" else "json"
    assert f'set text_format = "{said}"' in refusal(path)
    battles = load_battles(path, source="s", role="train", text_format=said).battles
    assert battles["prompt"][0].to_list() == ['"q"']


@pytest.mark.parametrize(
    "spell",
    [
        lambda t: f'"{t}" he said, and "{t}"',
        lambda t: f'"{t}" and "that"',
        lambda t: f'("{t}", say)',
        lambda t: f'{{"name": "f", "arguments": {{"x": "{t}"}}}}',
        lambda t: f"[INST] {t} [/INST]",
        html.escape,
    ],
)
def test_marks_that_somebody_typed_are_text(tmp_path: Path, spell: Callable[[str], str]) -> None:
    path = written(tmp_path / "t.csv", spell, TEXTS[:2], rows=2)
    battles = load_battles(path, source="s", role="train").battles
    assert battles["prompt"][0].to_list() == [spell("it's prompt 0")]


def test_answers_that_are_lists_somebody_asked_for_are_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [
        {"id": str(n), "winner": "tie", "prompt": json.dumps(["name two"])}
        | dict.fromkeys(TEXTS[1:], json.dumps([json.dumps(["a", "b"])]))
        for n in range(4)
    ]
    pl.DataFrame(rows).write_csv(path)
    battles = load_battles(path, source="s", role="train").battles
    assert battles["response_a"][0].to_list() == ['["a", "b"]']
