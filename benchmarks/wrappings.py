"""Duplicates in other wrapping: what escapes the clusters, and what is joined without reason.

::

    python benchmarks/wrappings.py ../shared/data             # every wrapping, and false joins
    python benchmarks/wrappings.py ../shared/data --read 100  # joins beyond equal prompts, to read

Every different real conversation stands in a target, and once more, wrapped, in a source. A copy
escapes where it is in another cluster than its original. Its answers are the original's, wrapped
too, or made-up ones. Joins are false where rows that no whole prompt, no opening and no pair of
answers connects are in one cluster; the share of them that are other questions is for a reader.
"""

from __future__ import annotations

import argparse
import html
import json
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import polars as pl
from near_duplicates import generated_sentences
from real_battles import read_battles

from ensemble.battles import duplicates
from ensemble.battles.compared import read_compared
from ensemble.battles.duplicates import find_duplicates
from ensemble.battles.minhash import SEED
from ensemble.battles.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Callable

Turns = list[str]
Rounds = list[tuple[str, str, str]]
"""Prompt, answer A and answer B of each round."""

INSTRUCTION = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n"
)
LEAST = 40
"""Characters of a prompt that has to be found again; an answer has 200."""


@dataclass(frozen=True)
class Wrapping:
    """One way to tell a battle again.

    Parameters
    ----------
    name
        For the table.
    change
        Rounds to rounds; None where the battle cannot be told so.
    least
        Characters that its prompt needs, all turns together.
    within
        Whether it writes the prompt into the answers: others are then made up before.
    """

    name: str
    change: Callable[[Rounds, random.Random], Rounds | None]
    least: int = LEAST
    within: bool = False


def each(change: Callable[[str], str]) -> Callable[[Rounds, random.Random], Rounds]:
    """Change every text by itself."""
    return lambda rounds, _: [(change(p), change(a), change(b)) for p, a, b in rounds]


def around(before: str, after: str = "", answer: str = "") -> Callable[..., Rounds]:
    """Put the same text around every prompt's first turn, and before every answer."""

    def change(rounds: Rounds, _: random.Random) -> Rounds:
        (prompt, a, b), *rest = rounds
        return [(before + prompt + after, answer + a, answer + b), *rest]

    return change


def one_transcript(
    rounds: Rounds, _: random.Random, names: tuple[str, str] = ("User", "Assistant")
) -> Rounds:
    """Write all but the last answers into one prompt, with answer A of former rounds."""
    lines = [line for p, a, _b in rounds for line in (f"{names[0]}: {p}", f"{names[1]}: {a}")]
    return [("\n\n".join(lines[:-1]) + f"\n\n{names[1]}:", rounds[-1][1], rounds[-1][2])]


def in_answers(rounds: Rounds, _: random.Random) -> Rounds:
    """Write a whole conversation into each answer, and no prompt."""
    sides = [[(r[0], r[side]) for r in rounds] for side in (1, 2)]
    told = ["".join(f"\n\nHuman: {p}\n\nAssistant: {a}" for p, a in side) for side in sides]
    return [("", told[0], told[1])]


def some_rounds(rounds: Rounds, draw: random.Random, keep: str) -> Rounds | None:
    """Leave rounds out; what is left has a prompt or an answer that is long enough."""
    if len(rounds) < 2:
        return None
    kept = {
        "last": rounds[-1:],
        "not the first": rounds[1:],
        "some": [r for r in rounds if draw.random() < 0.5] or [draw.choice(rounds)],
    }[keep]
    # `p` alone is for copies with other answers, whose answers say nothing.
    return kept if all(len(p) >= LEAST for p, _, _ in kept) else None


def wrong_letter(text: str, draw: random.Random) -> str:
    """Exchange one letter for another."""
    places = [i for i, letter in enumerate(text) if letter.isascii() and letter.isalpha()]
    if not places:
        return text
    place = draw.choice(places)
    other = draw.choice([c for c in "abcdefghijklmnopqrstuvwxyz" if c != text[place].lower()])
    return text[:place] + other + text[place + 1 :]


def typed(rounds: Rounds, draw: random.Random) -> Rounds:
    """Put one wrong letter into every turn of the prompt."""
    return [(wrong_letter(p, draw), a, b) for p, a, b in rounds]


def numbered(text: str) -> str:
    """Set a number before each line of a text."""
    return "\n".join(f"{n}. {line}" for n, line in enumerate(text.split("\n"), 1))


def curly(text: str) -> str:
    """Set typographic quotes, dashes and an ellipsis."""
    return text.replace("'", "’").replace(' "', " “").replace('"', "”").replace(" - ", " — ")


def wrappings(words: list[str]) -> list[Wrapping]:
    """List all, with prefixes and suffixes drawn from sentences."""
    draw = random.Random(7)
    fill = " ".join(draw.sample(words, 400))
    sides = {n: (fill[:n] + " ", " " + fill[3000 : 3000 + n]) for n in (20, 200, 700, 2000)}
    return [
        Wrapping("as it is", each(str)),
        Wrapping("instruction template", around(INSTRUCTION, "\n\n### Response:")),
        *(
            Wrapping(f"{what} of {n} characters", around(before, after, "Assistant: "))
            for n, (start, end) in sides.items()
            for what, before, after in (
                ("prefix", start, ""),
                ("suffix", "", end),
                ("both", start, end),
            )
        ),
        Wrapping("one transcript", one_transcript),
        Wrapping(
            "one transcript, other roles", partial(one_transcript, names=("### Human", "### AI"))
        ),
        Wrapping("opening turn dropped", partial(some_rounds, keep="not the first")),
        Wrapping("last round alone", partial(some_rounds, keep="last")),
        Wrapping("some rounds", partial(some_rounds, keep="some")),
        Wrapping("one wrong letter a turn", typed, 60),
        Wrapping("<br> for line breaks", each(lambda text: text.replace("\n", "<br>"))),
        Wrapping("HTML-escaped", each(lambda text: html.escape(text))),
        Wrapping("HTML-escaped twice", each(lambda text: html.escape(html.escape(text)))),
        Wrapping("JSON-escaped", each(lambda text: json.dumps(text)[1:-1])),
        Wrapping('" please" appended', around("", " please")),
        Wrapping("curly quotes", each(curly)),
        Wrapping('"USER: " in front', around("USER: ")),
        Wrapping("special tokens", each(lambda text: f"<|im_start|>user\n{text}<|im_end|>\n")),
        Wrapping("[INST] and </s>", each(lambda text: f"<s>[INST] {text} [/INST]</s>")),
        Wrapping("capitals", each(str.upper)),
        Wrapping("spaced out", each(lambda text: text.replace(" ", "  ").replace("\n", "\n\n"))),
        Wrapping("final punctuation gone", each(lambda text: text.rstrip(" .!?"))),
        Wrapping(
            "punctuation gone", each(lambda text: "".join(c for c in text if c not in ",.;:!?'\"-"))
        ),
        Wrapping("cut after 300 characters", each(lambda text: text[:300])),
        Wrapping(
            "a system turn in front", lambda r, _: [("You are a helpful assistant.", "", ""), *r]
        ),
        Wrapping("all of it in the answers", in_answers, within=True),
        Wrapping("lines numbered", each(numbered)),
        Wrapping("written for an address", each(lambda text: quote(text))),
        Wrapping(
            "template and one wrong letter", lambda r, d: around(INSTRUCTION)(typed(r, d), d), 60
        ),
    ]


def rounds_of(battle: dict[str, Turns]) -> Rounds:
    """Take the rounds of a battle apart."""
    columns = [
        [turn or "" for turn in battle[name]] for name in ("prompt", "response_a", "response_b")
    ]
    return list(zip(*columns, strict=True))


def as_battle(number: int, source: str, rounds: Rounds) -> dict[str, str | Turns]:
    """Put rounds together."""
    prompt, a, b = (list(turns) for turns in zip(*rounds, strict=True))
    return {
        "id": f"{source}-{number}",
        "source": source,
        "prompt": prompt,
        "response_a": a,
        "response_b": b,
    }


def made_up(rounds: Rounds, draw: random.Random) -> Rounds:
    """Give the same prompts other answers."""
    return [(prompt, nonsense(draw), nonsense(draw)) for prompt, _, _ in rounds]


def nonsense(draw: random.Random) -> str:
    """Write 40 words that stand nowhere else."""
    return " ".join("".join(draw.choices("etaoinshrdlu", k=6)) for _ in range(40))


def escape(wrapping: Wrapping, battles: list[Rounds], *, other: bool) -> tuple[int, int, int]:
    """Count copies that escape, copies, and groups of originals that the copies join."""
    draw = random.Random(11)
    rows, copies = [], []
    before, after = other and wrapping.within, other and not wrapping.within
    for number, rounds in enumerate(battles):
        rows.append(as_battle(number, "people", rounds))
        changed = wrapping.change(made_up(rounds, draw) if before else rounds, draw)
        if changed is None or sum(len(p) for p, _, _ in rounds) < wrapping.least:
            continue
        copies.append(number)
        rows.append(as_battle(number, "copies", made_up(changed, draw) if after else changed))
    found = find_duplicates(pl.DataFrame(rows)).clusters
    cluster = dict(found.iter_rows())
    escaped = sum(cluster[f"people-{n}"] != cluster[f"copies-{n}"] for n in copies)
    return escaped, len(copies), len({cluster[f"people-{n}"] for n in range(len(battles))})


def whole_texts_alone(battles: pl.DataFrame) -> Partition:
    """Connect rows by whole prompts, openings and pairs of answers, near at 0.8, as they stand."""
    compared = read_compared(battles)
    documents = duplicates._documents(battles, compared.prompts).with_columns(own="text")
    rows = Partition(len(battles))
    for edges in (
        duplicates._same_text(documents),
        duplicates._near_text(documents, 0.8, SEED),
        duplicates._same_responses(compared.answers),
    ):
        rows.merge(edges["a"].to_numpy(), edges["b"].to_numpy())
    return rows


def false_joins(battles: pl.DataFrame, read: int) -> None:
    """Count groups of battles that are joined beyond whole texts, and show some."""
    plain = whole_texts_alone(battles)
    groups = len(set(plain.labels.tolist()))
    found = find_duplicates(battles)
    row = {name: number for number, name in enumerate(battles["id"])}
    edges = found.pairs.with_columns(
        a=pl.col("id_a").replace_strict(row, return_dtype=pl.Int64),
        b=pl.col("id_b").replace_strict(row, return_dtype=pl.Int64),
    )
    beyond = edges.filter(pl.Series(plain.labels[edges["a"]] != plain.labels[edges["b"]]))
    both = Partition(len(battles))
    both.merge(plain.labels, both.labels)
    both.merge(edges["a"].to_numpy(), edges["b"].to_numpy())
    joined = groups - len(set(both.labels.tolist()))
    print(f"{len(battles):,} real battles, {groups:,} groups by whole texts;", end=" ")
    print(f"{joined} of them joined beyond that: {joined / groups:.2%}", end=" ")
    print(f"({found.clusters['cluster'].n_unique():,} clusters)")
    for kind, a, b, similarity in (
        beyond.sample(min(read, len(beyond)), seed=3)
        .select("kind", "a", "b", "similarity")
        .iter_rows()
    ):
        print(f"\n{kind} {similarity:.2f}")
        for place in (a, b):
            texts = battles.row(place, named=True)
            shown = texts["prompt"] if "prompt" in kind else texts["response_a"]
            print(f"  {battles['source'][place]}: {' | '.join(t or '' for t in shown)[:400]!r}")


def different(battles: pl.DataFrame) -> list[Rounds]:
    """Take one battle of each different conversation."""
    return [
        rounds_of(row)
        for row in battles.unique("prompt", maintain_order=True).iter_rows(named=True)
    ]


def measure(name: str, data: Path, sentences: list[str]) -> str:
    """Make one line of the table."""
    wrapping = next(w for w in wrappings(sentences) if w.name == name)
    rounds = different(read_battles(data))
    same, _, _ = escape(wrapping, rounds, other=False)
    other, copies, groups = escape(wrapping, rounds, other=True)
    shares = f"{same / copies:.2%} | {other / copies:.2%}"
    return f"| {wrapping.name} | {copies:,} | {shares} | {groups:,} |"


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with arena/ and sources/")
    parser.add_argument("--read", type=int, default=0, help="print so many joins, to read")
    parser.add_argument("--only", default="", help="wrappings whose name has this")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    battles = read_battles(options.data)
    if not options.only:
        false_joins(battles, options.read)
    if options.read:
        return
    sentences = generated_sentences(np.random.default_rng(5), 4000)
    names = [w.name for w in wrappings(sentences) if options.only in w.name]
    print(f"\n{len(different(battles)):,} different conversations\n")
    print(
        "| wrapping | copies | escape, same answers | escape, other answers | groups of originals |"
    )
    print("|---|---|---|---|---|", flush=True)
    context = get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        task = partial(measure, data=options.data, sentences=sentences)
        for line in pool.map(task, names):
            print(line, flush=True)


if __name__ == "__main__":
    main()
