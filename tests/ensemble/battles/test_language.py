from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.battles import language_scores
from ensemble.battles.language import LANGUAGES, UNDECIDED, head, identify, languages
from ensemble.battles.language_scores import LanguageModel, load_model
from ensemble.errors import EnsembleError
from ensemble.storage.json_files import read_json

CONTENT: dict[str, Any] = read_json(Path(__file__).parents[2] / "features" / "languages.json")
ITEMS = CONTENT["languages"]
TEXTS = [text for item in ITEMS.values() for text in item["prompts"]] + CONTENT["none"]


def model() -> LanguageModel:
    return load_model(("en", "de", "fr", "ru", "uk", "zh", "yue", "ja", "sr", "zxx"))


def heads(texts: list[str]) -> pl.Series:
    return pl.DataFrame({"text": texts}).select(head(pl.col("text"))).to_series()


@pytest.mark.parametrize("name", ITEMS)
def test_texts_are_identified(name: str) -> None:
    item = ITEMS[name]
    paragraphs = [text["text"] for text in item["texts"]]
    assert identify(heads(paragraphs)).to_list() == [item["code"]] * len(paragraphs)
    prompts = identify(heads(item["prompts"])).to_list()
    assert prompts.count(item["code"]) >= len(prompts) - 1
    assert item["code"] in LANGUAGES


def test_code_numbers_and_nothing_are_in_no_language() -> None:
    texts = pl.Series([*CONTENT["none"], "", " ", None, "ok"], dtype=pl.String)
    assert identify(texts).to_list() == [None] * len(texts)
    assert identify(pl.Series([], dtype=pl.String)).to_list() == []


def test_the_prose_around_code_decides() -> None:
    code = "```python\nfor the_value in range(10): print(the_value)\n```\n"
    texts = [
        code + "Was macht dieses Programm und warum?",
        "https://example.org/the/of/and ¿Qué es?",
    ]
    assert identify(heads(texts)).to_list() == ["de", "es"]
    assert heads(["```\nnever closed " + "x " * 900]).to_list() == [""]


def test_the_answers_are_those_of_the_library() -> None:
    mine = model()
    for text, row in zip(TEXTS, mine.probabilities(TEXTS), strict=True):
        wanted = dict(mine.identifier.rank(text))
        got = dict.fromkeys(mine.labels, 0.0)
        for label, value in zip(mine.labels, row.tolist(), strict=True):
            got[label] += value
        assert got == pytest.approx(wanted, abs=1e-4), text


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=6))
def test_a_text_alone_is_as_likely_as_among_others(texts: list[str]) -> None:
    together = model().probabilities(texts)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_array_equal(model().probabilities([text])[0], row)
        label, value = model().identifier.classify(text)
        own = [name == label for name in model().labels]
        assert float(row[own].sum()) == pytest.approx(value, abs=1e-4)


def test_a_library_that_answers_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = model()

    class Other:
        def __getattr__(self, name: str) -> Any:
            return getattr(good.identifier, name)

        def classify(self, text: str) -> tuple[str, float]:
            return "de", 0.9

    with pytest.raises(EnsembleError, match="identifies languages in another way"):
        language_scores._check(dataclasses.replace(good, identifier=Other()))


def test_languages_have_names_and_the_response_decides_where_the_prompt_does_not() -> None:
    german = "Das ist eine ganz gewöhnliche Antwort auf die Frage."
    battles = pl.DataFrame(
        {
            "prompt": [["Как дела у твоей бабушки?"], ["17 * 3"], ["17 * 3"], [None]],
            "response_a": [[german], [german], ["51"], [None, ""]],
        }
    )
    assert languages(battles).to_list() == ["Russian", "German", UNDECIDED, UNDECIDED]


def test_the_library_is_not_imported_before_it_is_asked() -> None:
    code = (
        "import ensemble.battles.language, sys; "
        "assert not {'py3langid', 'scipy.sparse'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
