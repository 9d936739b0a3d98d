"""How long battles of each form take to load, and how much memory.

    python benchmarks/loading.py                    # 220,000 rows of each form
    python benchmarks/loading.py --rows 20000 --forms wsdm trees

Rows have about 3 kB of text, pieced together at random. Each form is written once, and read in a
process of its own, whose peak memory is reported. To reach on 2 cores: 20 s and 4 GiB.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from machine import describe_machine

from ensemble.battles.formats.layout import FormatOptions
from ensemble.battles.loading import load_battles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROWS = 220_000
AT_A_TIME = 20_000
LENGTHS = (600, 1_200, 1_200)
WORDS = 5_000
Row = dict[str, Any]


class Texts:
    """Prompts and answers of about a given length, in lines, with some letters beyond ASCII."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        letters = "eeeeaaiionnrrttsslldcmupgé中"
        words = [
            "".join(self.random.choices(letters, k=self.random.randint(2, 9))) for _ in range(WORDS)
        ]
        self.pool = " ".join(self.random.choices(words, k=400_000)).replace("ee ", 'e,\n"e" ')

    def text(self, length: int) -> str:
        """Cut a text out of the pool."""
        size = int(length * self.random.uniform(0.4, 1.6))
        start = self.random.randrange(len(self.pool) - size)
        return self.pool[start : start + size]

    def three(self) -> tuple[str, str, str]:
        """Give a prompt and two answers."""
        prompt, a, b = (self.text(length) for length in LENGTHS)
        return prompt, a, b


def chat(prompt: str, answer: str) -> list[Row]:
    """Write a conversation of one turn."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def parts(messages: list[Row]) -> list[Row]:
    """Write the contents of messages in parts."""
    return [
        {"role": one["role"], "content": [{"type": "text", "text": one["content"], "image": None}]}
        for one in messages
    ]


def competition(texts: Texts, i: int) -> list[Row]:
    """Write the competition's own columns."""
    p, a, b = (json.dumps([text], ensure_ascii=False) for text in texts.three())
    shares = {"winner_model_a": i % 3 == 0, "winner_model_b": i % 3 == 1, "winner_tie": i % 3 == 2}
    models = {"id": i, "model_a": "m1", "model_b": "m2"}
    return [
        models
        | {"prompt": p, "response_a": a, "response_b": b}
        | {n: int(s) for n, s in shares.items()}
    ]


def wsdm(texts: Texts, i: int) -> list[Row]:
    """Write plain text, without ties."""
    p, a, b = texts.three()
    label = {"winner": ("model_a", "model_b")[i % 2], "language": "English"}
    return [{"id": f"{i:064x}", "prompt": p, "response_a": a, "response_b": b} | label]


def conversations(texts: Texts, i: int) -> list[Row]:
    """Write lists of messages."""
    p, a, b = texts.three()
    more = {"judge": f"u{i % 999}", "language": "English", "turn": 1, "tstamp": 1.5 * i}
    label = {"question_id": f"q{i}", "winner": ("model_a", "tie (bothbad)")[i % 2]}
    return [label | {"conversation_a": chat(p, a), "conversation_b": chat(p, b)} | more]


def content_parts(texts: Texts, i: int) -> list[Row]:
    """Write contents in parts."""
    row = conversations(texts, i)[0]
    row["conversation_a"] = parts(row["conversation_a"])
    row["conversation_b"] = parts(row["conversation_b"])
    return [row]


def chosen(texts: Texts, i: int) -> list[Row]:
    """Write chosen and rejected messages."""
    p, a, b = texts.three()
    return [{"prompt": p, "prompt_id": f"p{i}", "chosen": chat(p, a), "rejected": chat(p, b)}]


def transcripts(texts: Texts, _: int) -> list[Row]:
    """Write chosen and rejected transcripts."""
    p, a, b = (text.replace("\n\n", "\n") for text in texts.three())
    head = f"\n\nHuman: Hello\n\nAssistant: Hi\n\nHuman: {p}\n\nAssistant: "
    return [{"chosen": head + a, "rejected": head + b}]


def better_id(texts: Texts, i: int) -> list[Row]:
    """Write two answers and the better one's number."""
    p, a, b = texts.three()
    return [{"prompt": p, "response_0": a, "response_1": b, "better_response_id": i % 2}]


def strength(texts: Texts, i: int) -> list[Row]:
    """Write two answers and a signed strength."""
    p, a, b = texts.three()
    return [{"prompt": p, "response_1": a, "response_2": b, "preference_strength": i % 7 - 3}]


def ranked(texts: Texts, _: int) -> list[Row]:
    """Write a list of ranked answers."""
    p, a, b = texts.three()
    return [{"prompt": p, "answers": [{"answer": a, "rank": 2.0}, {"answer": b, "rank": 1.0}]}]


def rated_rows(texts: Texts, i: int) -> list[Row]:
    """Write two rows, each with an answer and a score."""
    p, a, b = texts.three()
    return [
        {"prompt": p, "response": text, "helpfulness": i % 5 + at} for at, text in enumerate((a, b))
    ]


def trees(texts: Texts, i: int) -> list[Row]:
    """Write three messages of a tree."""
    p, a, b = texts.three()
    root = {"message_id": f"r{i}", "parent_id": None, "text": p, "role": "prompter", "rank": None}
    replies = [
        {
            "message_id": f"r{i}-{at}",
            "parent_id": f"r{i}",
            "text": text,
            "role": "assistant",
            "rank": at,
        }
        for at, text in enumerate((a, b))
    ]
    return [root, *replies]


def mapped(texts: Texts, i: int) -> list[Row]:
    """Write columns of other names, in a table of tabs."""
    p, a, b = texts.three()
    return [{"key": i, "question": p, "answer_1": a, "answer_2": b, "label": i % 3}]


MAPPING: Row = {
    "columns": {
        "id": "key",
        "prompt": "question",
        "response_a": "answer_1",
        "response_b": "answer_2",
        "winner": "label",
    },
    "winner": {"0": "a", "1": "b", "2": "tie"},
}
FORMS: dict[str, tuple[Callable[[Texts, int], list[Row]], str, Row]] = {
    "competition": (competition, "csv", {}),
    "wsdm": (wsdm, "parquet", {}),
    "conversations": (conversations, "parquet", {}),
    "content parts": (content_parts, "parquet", {}),
    "content parts, lines": (content_parts, "jsonl", {}),
    "chosen": (chosen, "parquet", {}),
    "transcripts": (transcripts, "jsonl.gz", {}),
    "better_id": (better_id, "jsonl", {}),
    "strength": (strength, "jsonl", {}),
    "ranked": (ranked, "json", {}),
    "rated rows": (rated_rows, "jsonl", {}),
    "trees": (trees, "parquet", {}),
    "mapped": (mapped, "tsv", MAPPING),
    "shards": (conversations, "shards", {}),
}
"""Each form: its rows, the kind of file, options."""


def write(form: str, rows: int, directory: Path) -> Path:
    """Write a file of a form."""
    make, kind, _ = FORMS[form]
    texts = Texts()

    def batches() -> Iterator[list[Row]]:
        for start in range(0, rows, AT_A_TIME):
            some = range(start, min(start + AT_A_TIME, rows))
            yield [row for i in some for row in make(texts, i)]

    path = directory / f"{form.replace(' ', '_')}.{kind}"
    if kind in ("csv", "tsv"):
        with path.open("wb") as file:
            for at, batch in enumerate(batches()):
                frame = pl.DataFrame(batch)
                frame.write_csv(
                    file, include_header=not at, separator="\t" if kind == "tsv" else ","
                )
    elif kind == "parquet":
        pl.concat([pl.DataFrame(batch, strict=False) for batch in batches()]).write_parquet(path)
    elif kind == "shards":
        path.mkdir()
        frames = [pl.DataFrame(batch) for batch in batches()]
        for at, frame in enumerate(frames):
            frame.write_parquet(path / f"train-{at:05}-of-{len(frames):05}.parquet")
    else:
        opener: Any = gzip.open if kind.endswith(".gz") else open
        with opener(path, "wt", encoding="utf-8") as file:
            _write_json(file, batches(), array=kind == "json")
    return path


def _write_json(file: Any, batches: Iterator[list[Row]], *, array: bool) -> None:
    file.write("[" if array else "")
    for at, batch in enumerate(batches):
        lines = [json.dumps(row, ensure_ascii=False) for row in batch]
        file.write(",\n" if array and at else "")
        file.write((",\n" if array else "\n").join(lines))
        file.write("" if array else "\n")
    file.write("]" if array else "")


def measure(path: str, options: Row, answer: Any) -> None:
    """Load a file, and send rows, seconds, those of all threads on a core, and the peak in GiB."""
    began, busy = time.perf_counter(), time.process_time()
    loaded = load_battles(Path(path), source="s", role="train", options=FormatOptions(**options))
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    answer.send((len(loaded.battles), seconds, busy, peak, loaded.read_as))


def main() -> None:
    """Measure the forms that are asked for, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--forms", nargs="*", choices=list(FORMS), default=list(FORMS))
    asked = parser.parse_args()
    print(describe_machine())
    print(
        "| form | battles | file, GB | seconds | of a core | peak, GiB | read as |"
        "\n|---|---|---|---|---|---|---|"
    )
    context = multiprocessing.get_context("spawn")
    for form in asked.forms:
        with tempfile.TemporaryDirectory() as directory:
            maker = context.Process(target=write, args=(form, asked.rows, Path(directory)))
            maker.start()
            maker.join()
            path = next(Path(directory).iterdir())
            files = path.rglob("*") if path.is_dir() else [path]
            size = sum(file.stat().st_size for file in files) / 1e9
            here, there = context.Pipe(duplex=False)
            reader = context.Process(target=measure, args=(str(path), FORMS[form][2], there))
            reader.start()
            there.close()
            rows, seconds, busy, peak, read_as = here.recv()
            reader.join()
        cells = (form, f"{rows:,}", f"{size:.2f}", f"{seconds:.1f}", f"{busy:.1f}", f"{peak:.2f}")
        print(f"| {' | '.join(cells)} | {read_as} |", flush=True)


if __name__ == "__main__":
    main()
