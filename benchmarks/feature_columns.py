"""Feature columns in Polars against the same columns row by row with pandas and ``re``.

The row-by-row side is what public notebooks do: one ``apply`` a column, each from the text itself.
With ``--keep-words`` it keeps each text's words instead of finding them again for every column. The
values of both sides are compared. Run it alone on the machine::

    python benchmarks/feature_columns.py [--rows N] [--data TRAIN.CSV] [--keep-words] [--quick]
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
from machine import describe_machine

from ensemble.battles.features import compute_features
from ensemble.plugin.feature import FeatureSet
from ensemble_features.catalog import feature_sets
from ensemble_features.text import needed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ensemble.battles.features import FeatureMatrix

    Words = Callable[[str], list[str]]

TEXTS = ("prompt", "response_a", "response_b")
ROWS, QUICK_ROWS = 20_000, 1_000
BYTES_A_ROW = 3_000
_HEDGES = re.compile(
    r"\b(?:may|might|perhaps|possibly|probably|it depends|it seems|likely|generally)\b"
)


def _counter(pattern: str, flags: int = 0) -> Callable[[str], int]:
    compiled = re.compile(pattern, flags)
    return lambda text: len(compiled.findall(text))


ON_TEXT: dict[str, Callable[[str], float]] = {
    "chars": len,
    "bold": _counter(r"\*\*[^*\n]+\*\*"),
    "bullets": _counter("^[ \t]*[-*+\u2022] ", re.MULTILINE),
    "numbered": _counter(r"^[ \t]*[0-9]+[.)] ", re.MULTILINE),
    "headings": _counter(r"^#{1,6} ", re.MULTILINE),
    "newlines": lambda text: text.count("\n"),
    "code_fences": lambda text: text.count("```"),
    "inline_code": _counter(r"`[^`\n]+`"),
    "urls": _counter(r"https?://|\bwww\."),
    "quotes": _counter('["\u201c\u201d]'),
    "digits": _counter(r"[0-9]"),
    "non_ascii": _counter(r"[^\x00-\x7f]"),
    "capitals": _counter(r"[A-Z]"),
    "periods": lambda text: text.count("."),
    "commas": lambda text: text.count(","),
    "question_marks": lambda text: text.count("?"),
    "hedges": lambda text: len(_HEDGES.findall(text.lower())),
    "warnings": lambda text: len(
        re.findall(
            r"\b(?:it(?:'s| is) important to|please note|keep in mind|be aware|consult)\b",
            text.lower().replace("\u2019", "'"),
        )
    ),
}
ON_WORDS: dict[str, Callable[[list[str]], float]] = {
    "words": len,
    "distinct_words": lambda words: len(set(words)) / len(words) if words else np.nan,
    "word_length": lambda words: sum(map(len, words)) / len(words) if words else np.nan,
}


def _grams(words: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def find_words(text: str) -> list[str]:
    """Find the words of one text, in lower case."""
    return re.findall(r"\w+", text.lower().replace("\u2019", "'"))


def row_by_row(frame: pd.DataFrame, words: Words) -> pd.DataFrame:
    """Compute the columns with one ``apply`` each; a cell holds one text."""

    def jaccard(row: Any, n: int) -> float:
        a, b = (_grams(words(row[column]), n) for column in ("response_a", "response_b"))
        return len(a & b) / len(a | b) if a or b else np.nan

    def covered(row: Any, column: str) -> float:
        prompt = set(words(row["prompt"]))
        return len(prompt & set(words(row[column]))) / len(prompt) if prompt else np.nan

    def of_words(text: str, measure: Callable[[list[str]], float]) -> float:
        return measure(words(text))

    out = pd.DataFrame(index=frame.index)
    for side in ("a", "b"):
        texts = frame[f"response_{side}"]
        for name, on_text in ON_TEXT.items():
            out[f"{name}_{side}"] = texts.apply(on_text)
        for name, on_words in ON_WORDS.items():
            out[f"{name}_{side}"] = texts.apply(of_words, measure=on_words)
        out[f"prompt_covered_{side}"] = frame.apply(covered, axis=1, column=f"response_{side}")
    for name in (*ON_TEXT, *ON_WORDS, "prompt_covered"):
        out[f"{name}_diff"] = out[f"{name}_a"] - out[f"{name}_b"]
    for n in (1, 2, 3):
        out[f"jaccard_{n}grams"] = frame.apply(jaccard, axis=1, n=n)
    return out


def only(names: set[str]) -> list[FeatureSet]:
    """Keep some columns of the built-in sets."""
    sets = []
    for feature_set in feature_sets():
        kept = tuple(feature for feature in feature_set.features if feature.name in names)
        if kept:
            sets.append(FeatureSet(feature_set.name, kept, helpers=needed(kept)))
    return sets


def read(path: Path) -> pl.DataFrame:
    """Read the competition's CSV."""
    table = pl.read_csv(path, infer_schema=False)
    turns = {
        c: pl.Series([json.loads(cell) for cell in table[c]], dtype=pl.List(pl.String))
        for c in TEXTS
    }
    return pl.DataFrame({"id": table["id"], **turns})


def text_bytes(battles: pl.DataFrame) -> int:
    """Size of all texts."""
    lengths = battles.select(pl.col(TEXTS).list.join("").str.len_bytes().sum())
    return int(sum(lengths.row(0)))


def enlarge(battles: pl.DataFrame, rows: int, seed: int = 0) -> pl.DataFrame:
    """Draw rows and join their texts with those of others until a row has about 3 kB."""
    random = np.random.default_rng(seed)
    size = text_bytes(battles) / battles.height
    joined = max(1, round(BYTES_A_ROW / size))
    parts = [battles[random.integers(0, battles.height, rows)] for _ in range(joined)]
    turns = [pl.concat_list([pl.Series(p[c]) for p in parts]).alias(c) for c in TEXTS]
    ids = pl.Series("id", [str(i) for i in range(rows)])
    return pl.select(turns).insert_column(0, ids)


def check(fast: FeatureMatrix, slow: pd.DataFrame, ascii_only: NDArray[np.bool_]) -> None:
    """Demand the same values; of combining marks alone the two say differently what a word is."""
    assert set(fast.names) == set(slow.columns)
    expected = slow[list(fast.names)].to_numpy(dtype=np.float64)
    same = np.isclose(fast.values, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert ascii_only.any()
    wrong = ~same[ascii_only].all(axis=0)
    assert not wrong.any(), [n for n, odd in zip(fast.names, wrong, strict=True) if odd]
    assert same.mean() > 0.99


def compare(battles: pl.DataFrame, words: Words) -> dict[str, float]:
    """Time both ways on the same rows and check that they agree."""
    flat = battles.select(pl.col(TEXTS).list.join("\n", ignore_nulls=True))
    frame = pd.DataFrame({name: flat[name].to_list() for name in TEXTS})
    started = time.perf_counter()
    slow = row_by_row(frame, words)
    row_by_row_seconds = time.perf_counter() - started
    sets = only(set(slow.columns))
    started = time.perf_counter()
    fast = compute_features(battles, sets)
    seconds = time.perf_counter() - started
    check(fast, slow, ascii_only=frame[list(TEXTS)].map(str.isascii).all(axis=1).to_numpy())
    return {"columns": slow.shape[1], "pandas": row_by_row_seconds, "polars": seconds}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    default = Path(__file__).parents[2] / "shared" / "data" / "arena" / "train.csv"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--keep-words", action="store_true", help="find each text's words once")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS} rows")
    options = parser.parse_args()
    battles = enlarge(read(options.data), QUICK_ROWS if options.quick else options.rows)
    megabytes = text_bytes(battles) / 1e6
    print(describe_machine())
    print(f"{battles.height:,} battles, {megabytes:.0f} MB of text")
    result = compare(battles, functools.cache(find_words) if options.keep_words else find_words)
    print(f"pandas and re, row by row: {result['pandas']:8.1f} s, {result['columns']} columns")
    print(f"feature sets in Polars:    {result['polars']:8.1f} s, the same values")
    print(f"ratio:                     {result['pandas'] / result['polars']:8.1f}")
    started = time.perf_counter()
    matrix = compute_features(battles, feature_sets())
    print(f"all {len(matrix.names)} columns in Polars:  {time.perf_counter() - started:8.1f} s")


if __name__ == "__main__":
    main()
