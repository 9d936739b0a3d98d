"""Near duplicates: recall, verification and speed, against datasketch in the same run.

::

    python benchmarks/near_duplicates.py                    # 22,000 texts, with datasketch
    python benchmarks/near_duplicates.py --rows 2000        # a quick look
    python benchmarks/near_duplicates.py --scaling          # 27k to 220k battles, ours alone
    python benchmarks/near_duplicates.py --sentences DIR    # sentences of the Parquet files in DIR

A text is a run of sentences from a pool (by default of generated sentences with Zipf's word
frequencies). One text in eleven is an edited copy of another, with an exact Jaccard similarity of
0.8 to 1 that is computed here with Python sets, apart from the code under test.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from machine import describe_machine

from ensemble.battles.duplicates import find_duplicates
from ensemble.battles.near_pairs import near_pairs
from ensemble.battles.normalization import normalized
from ensemble.battles.partition import Partition
from ensemble.battles.shingles import WIDTH

THRESHOLD = 0.8
SCALES = (27_000, 55_000, 110_000, 220_000)
Pairs = list[tuple[int, int]]


@dataclass(frozen=True)
class Corpus:
    """Normalized, different texts and the pairs planted among them (Jaccard >= THRESHOLD)."""

    texts: pl.Series
    planted: Pairs


# Texts


def generated_sentences(rng: np.random.Generator, count: int = 200_000) -> list[str]:
    """Make sentences of 4 to 24 made-up words that are as unevenly frequent as real ones."""
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    lengths = rng.integers(2, 10, size=30_000)
    words = np.array(["".join(rng.choice(letters, size=n)) for n in lengths])
    weights = 1 / np.arange(1, len(words) + 1)
    sizes = rng.integers(4, 25, size=count)
    drawn = rng.choice(words, size=int(sizes.sum()), p=weights / weights.sum())
    return [" ".join(part) for part in np.split(drawn, np.cumsum(sizes)[:-1])]


def read_sentences(directory: Path) -> list[str]:
    """Cut the texts of every Parquet file of battles into different normalized sentences."""
    files = pl.concat(
        pl.read_parquet(file, columns=["prompt", "response_a", "response_b"])
        for file in sorted(directory.glob("*.parquet"))
    )
    lines = files.unpivot()["value"].explode().drop_nulls().str.split("\n").explode()
    sentences = lines.str.split(". ").explode().to_frame("text").select(normalized(pl.col("text")))
    kept = sentences.unique(maintain_order=True).filter(pl.col("text").str.len_chars() > 3)
    return kept["text"].to_list()


def sentence_pool(directory: Path | None) -> list[str]:
    """Read sentences where there is a directory, else make some."""
    return read_sentences(directory) if directory else generated_sentences(np.random.default_rng(0))


def paragraph(rng: np.random.Generator, pool: list[str], mean_sentences: float) -> str:
    """Draw a text: many short ones, a few long ones."""
    count = 1 + rng.poisson(rng.gamma(1.5, mean_sentences / 1.5))
    return ". ".join(pool[place] for place in rng.integers(len(pool), size=count))


def edited(rng: np.random.Generator, text: str, edits: int) -> str:
    """Replace, leave out or double single words."""
    words = text.split(" ")
    for place in rng.integers(len(words), size=edits):
        words[place] = (f"{words[place]}x", "", f"{words[place]} {words[place]}")[rng.integers(3)]
    return " ".join(word for word in words if word)


def shingles_of(text: str) -> set[bytes]:
    """Take a text's set of shingles, by the definition."""
    content = text.ljust(WIDTH, "\0").encode()
    return {content[start : start + WIDTH] for start in range(len(content) - WIDTH + 1)}


def exact_jaccard(left: str, right: str) -> float:
    """Compare two texts, by the definition."""
    first, second = shingles_of(left), shingles_of(right)
    return len(first & second) / len(first | second)


def corpus(rng: np.random.Generator, pool: list[str], rows: int) -> Corpus:
    """Draw texts, and edited copies of some of them."""
    copies = rows // 11
    texts = list(dict.fromkeys(paragraph(rng, pool, 8) for _ in range(rows - copies)))
    known, planted = set(texts), []
    for base in rng.permutation(len(texts)):
        words = texts[base].count(" ")
        copy = edited(rng, texts[base], 1 + int(rng.integers(1 + words // 12)))
        if copy not in known and exact_jaccard(texts[base], copy) >= THRESHOLD:
            planted.append((int(base), len(texts)))
            texts.append(copy)
            known.add(copy)
        if len(planted) == copies:
            break
    return Corpus(pl.Series("text", texts), planted)


def battles(rng: np.random.Generator, pool: list[str], rows: int) -> pl.DataFrame:
    """Draw battles of about 3 kB: a tenth has an edited copy's prompt, a fifth has two turns."""
    prompts = [paragraph(rng, pool, 8) for _ in range(rows)]
    for row in range(10, rows, 10):
        prompts[row] = edited(rng, prompts[int(rng.integers(row))], 2)
    turns = [
        [text, pool[row % len(pool)]][: 1 + (row % 5 == 0)] for row, text in enumerate(prompts)
    ]
    sides = {
        side: [[paragraph(rng, pool, 16)] for _ in range(rows)]
        for side in ("response_a", "response_b")
    }
    return pl.DataFrame({"id": [f"battle-{row}" for row in range(rows)], "prompt": turns, **sides})


# The search to compare with, and the check of ours


def datasketch(texts: pl.Series, *, packed: bool) -> tuple[list[set[int]], float]:
    """Search with datasketch's MinHashLSH: the candidates of each text, unverified, and seconds.

    With its defaults it hashes each shingle with SHA-1. `packed` spares it that: it gets integers.
    """
    from datasketch import MinHash, MinHashLSH

    start = time.perf_counter()
    sets: list[Any] = [shingles_of(text) for text in texts]
    options: dict[str, Any] = {}
    if packed:
        sets = [[int.from_bytes(shingle, "little") for shingle in one] for one in sets]
        options = {"hashfunc": int, "scheme": "affine64"}
    index = MinHashLSH(threshold=THRESHOLD, num_perm=128)
    sketches = list(MinHash.generator(sets, num_perm=128, **options))
    for number, sketch in enumerate(sketches):
        index.insert(number, sketch, check_duplication=False)
    candidates = [set(index.query(sketch)) for sketch in sketches]
    return candidates, time.perf_counter() - start


def unverified(texts: pl.Series, pairs: pl.DataFrame) -> int:
    """Count returned pairs under the threshold, or with another similarity than the exact one."""
    exact = [exact_jaccard(texts[left], texts[right]) for left, right, _ in pairs.iter_rows()]
    wrong = [
        similarity < THRESHOLD or abs(similarity - told) > 1e-12
        for similarity, told in zip(exact, pairs["jaccard"], strict=True)
    ]
    return sum(wrong)


# What is printed


def compare(pool: list[str], rows: int) -> None:
    """Print recall and time of both searches on the same texts."""
    made = corpus(np.random.default_rng(1), pool, rows)
    texts, planted = made.texts, made.planted
    print(f"{len(texts):,} texts, {sum(map(len, texts)) / 1e6:.1f} million characters")
    print(f"{len(planted):,} planted pairs with a Jaccard similarity of {THRESHOLD} or more")
    start = time.perf_counter()
    pairs = near_pairs(texts, THRESHOLD)
    seconds = time.perf_counter() - start
    parts = Partition(len(texts))
    parts.merge(pairs["left"].to_numpy(), pairs["right"].to_numpy())
    found = sum(bool(parts.labels[left] == parts.labels[right]) for left, right in planted)
    print(f"ours        recall {found / len(planted):.4f}  {seconds:7.2f} s, verification included")
    print(f"            {len(pairs):,} pairs, {unverified(texts, pairs)} unverified")
    for packed in (False, True):
        candidates, theirs = datasketch(texts, packed=packed)
        found = sum(right in candidates[left] for left, right in planted)
        name = "packed shingles, no SHA-1" if packed else "defaults"
        print(f"datasketch  recall {found / len(planted):.4f}  {theirs:7.2f} s ({name}),", end=" ")
        print(f"{theirs / seconds:.1f} times as long as ours")


def memory(field: str) -> float:
    """Read a figure about this process from Linux, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def write_battles(file: Path, sentences: Path | None, rows: int) -> None:
    """Draw battles into a file."""
    battles(np.random.default_rng(2), sentence_pool(sentences), rows).write_parquet(file)


def scale_one(sentences: Path | None, rows: int) -> None:
    """Print time and peak memory of one search over whole battles."""
    with TemporaryDirectory() as folder, ProcessPoolExecutor(1) as apart:
        # Apart, so that no memory that was freed here hides what the search takes.
        file = Path(folder, "battles.parquet")
        apart.submit(write_battles, file, sentences, rows).result()
        table = pl.read_parquet(file, memory_map=False)
    before = memory("VmRSS")
    start = time.perf_counter()
    found = find_duplicates(table, threshold=THRESHOLD)
    seconds = time.perf_counter() - start
    print(f"{rows:>8,} battles, {table.estimated_size('mb'):>4.0f} MiB:", end=" ")
    print(f"{seconds:>6.1f} s ({1e6 * seconds / rows:.0f} us each),", end=" ")
    print(f"{memory('VmHWM') - before:,.0f} MiB more at the peak,", end=" ")
    print(f"{found.clusters['cluster'].n_unique():,} clusters", flush=True)


def scale_all(arguments: list[str]) -> None:
    """Run each size in a process of its own, so that peaks of memory are its own too."""
    for rows in SCALES:
        command = [sys.executable, __file__, "--battles", str(rows), *arguments]
        subprocess.run(command, check=True)


def main() -> None:
    """Read the arguments and run one of the modes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=22_000, help="texts to compare (22,000)")
    parser.add_argument("--sentences", type=Path, help="folder of Parquet files to take text from")
    parser.add_argument("--scaling", action="store_true", help="27k to 220k battles, ours alone")
    parser.add_argument("--battles", type=int, help="one size of --scaling")
    options = parser.parse_args()
    source = ["--sentences", str(options.sentences)] if options.sentences else []
    if options.scaling:
        print(describe_machine(), flush=True)
        return scale_all(source)
    if options.battles:
        return scale_one(options.sentences, options.battles)
    print(describe_machine())
    return compare(sentence_pool(options.sentences), options.rows)


if __name__ == "__main__":
    main()
