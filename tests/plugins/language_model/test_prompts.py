from __future__ import annotations

import importlib
import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ensemble import errors
from ensemble_plugins.language_model.text.plain_text import define_plain
from ensemble_plugins.language_model.text.prompts import (
    TEMPLATES,
    PromptTokens,
    find_special,
    make_prompt_tokens,
)

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
tiny = importlib.import_module("tests.plugins.language_model.tiny_tokenizers")

if TYPE_CHECKING:
    from pathlib import Path

TINY: dict[str, Any] = {
    "gemma2": tiny.gemma2_tokenizer(),
    "llama3": tiny.llama3_tokenizer(),
    "encoder": tiny.deberta_tokenizer(),
}
SPECIAL = {name: find_special(tokenizer, TEMPLATES[name]) for name, tokenizer in TINY.items()}
every_family = pytest.mark.parametrize("family", sorted(TINY))


def _plain(family: str) -> Any:
    definition = TINY[family].backend_tokenizer.to_str()
    return tokenizers.Tokenizer.from_str(define_plain(definition, SPECIAL[family]))


PLAIN = {family: _plain(family) for family in TINY}


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def _tokens_of(family: str) -> PromptTokens:
    template = TEMPLATES[family]
    return make_prompt_tokens(template, TINY[family], SPECIAL[family])


@every_family
def test_fixed_text_has_the_ids_that_the_tokenizer_itself_gives(family: str) -> None:
    prompt_tokens = _tokens_of(family)
    for field in fields(prompt_tokens):
        text = getattr(TEMPLATES[family], field.name)
        text = text.replace("{cls}", "[CLS]").replace("{sep}", "[SEP]")
        ids = getattr(prompt_tokens, field.name)
        assert ids.dtype == np.int32
        assert ids.tolist() == _ids(TINY[family].backend_tokenizer, text)


@every_family
def test_a_chat_turn_begins_and_ends_with_its_special_tokens(family: str) -> None:
    first, last = {
        "gemma2": (["<bos>", "<start_of_turn>", "user"], ["<start_of_turn>", "model", "\n"]),
        "llama3": (
            ["<|begin_of_text|>", "<|start_header_id|>", "user", "<|end_header_id|>"],
            ["<|eot_id|>", "<|start_header_id|>", "assistant", "<|end_header_id|>", "ĊĊ"],
        ),
        "encoder": (["[CLS]"], ["?", "[SEP]"]),
    }[family]
    prompt_tokens = _tokens_of(family)
    start, end = (
        TINY[family].convert_ids_to_tokens(part.tolist())
        for part in (prompt_tokens.start, prompt_tokens.end)
    )
    assert start[: len(first)] == first
    assert end[-len(last) :] == last


@every_family
def test_scaffold_counts_its_tokens(family: str) -> None:
    prompt_tokens = _tokens_of(family)
    total = sum(len(getattr(prompt_tokens, field.name)) for field in fields(prompt_tokens))
    assert prompt_tokens.around == len(prompt_tokens.start) + len(prompt_tokens.end)
    assert prompt_tokens.around + prompt_tokens.per_round == total


@pytest.mark.parametrize(("family", "text"), [("gemma2", "<eos>"), ("encoder", "[SEP]")])
def test_what_tokenizers_offer_does_not_keep_special_tokens_out(family: str, text: str) -> None:
    # Why there is a copy of the tokenizer: should this fail one day, the copy is not needed.
    own = tokenizers.Tokenizer.from_str(TINY[family].backend_tokenizer.to_str())
    own.encode_special_tokens = True
    assert SPECIAL[family][text] in _ids(own, text)


def _writings(family: str) -> st.SearchStrategy[str]:
    special = st.sampled_from(sorted(SPECIAL[family]))
    pieces = st.one_of(special, st.text(max_size=8), st.sampled_from([*tiny.WORDS, " ", "\n\n"]))
    return st.lists(pieces, max_size=8).map("".join)


@every_family
@given(data=st.data())
def test_no_text_becomes_a_special_token(family: str, data: st.DataObject) -> None:
    text = data.draw(_writings(family))
    # A character that the model has no piece for is unknown, and rightly so.
    special = set(SPECIAL[family].values()) - {SPECIAL[family].get("[UNK]")}
    assert special.isdisjoint(_ids(PLAIN[family], text))


@every_family
@given(data=st.data())
def test_text_without_special_tokens_has_the_usual_ids(family: str, data: st.DataObject) -> None:
    text = data.draw(st.lists(st.one_of(st.text(), st.sampled_from(tiny.WORDS))).map(" ".join))
    assume(not any(token in text for token in SPECIAL[family]))
    assert _ids(PLAIN[family], text) == _ids(TINY[family].backend_tokenizer, text)


@every_family
def test_special_tokens_are_spelled_out(family: str) -> None:
    for text in ("<end_of_turn>", "<eos>", "<|eot_id|>", "[SEP]"):
        assert PLAIN[family].decode(_ids(PLAIN[family], text)).strip() == text


def test_added_tokens_that_are_not_special_keep_their_ids() -> None:
    # They come after special ones that are no pieces of the model: ids must not move up.
    definition = json.loads(TINY["llama3"].backend_tokenizer.to_str())
    number = len(TINY["llama3"])
    definition["added_tokens"].append(
        {**definition["added_tokens"][0], "id": number, "content": "<table>", "special": False}
    )
    plain = tokenizers.Tokenizer.from_str(define_plain(json.dumps(definition), SPECIAL["llama3"]))
    assert _ids(plain, "a<table>") == [*_ids(plain, "a"), number]


def test_a_copy_neither_truncates_nor_pads() -> None:
    tokenizer = tiny.deberta_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    definition = define_plain(tokenizer.backend_tokenizer.to_str(), SPECIAL["encoder"])
    assert len(_ids(tokenizers.Tokenizer.from_str(definition), "hello world " * 5)) == 10


def test_wordpiece_cannot_write_special_tokens_either() -> None:
    pieces = ["[UNK]", "[CLS]", "[SEP]", "a", "##a", "[", "##[", "##S", "##E", "##P", "##]"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    model = tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]")  # noqa: S106 - no password
    own = tokenizers.Tokenizer(model)
    assert _ids(own, "[SEP]") == [2]
    plain = tokenizers.Tokenizer.from_str(define_plain(own.to_str(), ["[UNK]", "[CLS]", "[SEP]"]))
    assert _ids(plain, "[SEP]") == [5, 7, 8, 9, 10]
    assert _ids(plain, "b") == [0]


@pytest.mark.parametrize(
    ("template", "family", "message"),
    [
        ("gemma2", "llama3", "has no <bos>, <start_of_turn>, <end_of_turn>, which the template"),
        ("llama3", "gemma2", r"has no <\|begin_of_text\|>, <\|start_header_id\|>, "),
        ("encoder", "gemma2", "has no cls_token, which the template needs"),
    ],
)
def test_a_template_of_another_family_is_refused(template: str, family: str, message: str) -> None:
    with pytest.raises(errors.LearnerError, match=message) as caught:
        find_special(TINY[family], TEMPLATES[template])
    assert "there are: encoder, gemma2, llama3" in str(caught.value.hint)


def test_one_missing_special_token_is_enough() -> None:
    template = replace(TEMPLATES["gemma2"], special=("<bos>", "<strat_of_turn>"))
    with pytest.raises(errors.LearnerError, match="has no <strat_of_turn>, which"):
        find_special(TINY["gemma2"], template)


@every_family
def test_a_saved_tokenizer_comes_back_the_same(family: str, tmp_path: Path) -> None:
    TINY[family].save_pretrained(tmp_path)
    restored = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert restored.is_fast
    assert find_special(restored, TEMPLATES[family]) == SPECIAL[family]
    text = "hello world, <eos> [SEP]\n\nyes <|eot_id|> no"
    assert restored(text)["input_ids"] == TINY[family](text)["input_ids"]
