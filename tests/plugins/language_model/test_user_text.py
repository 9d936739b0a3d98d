"""No text of a user becomes a special token, whatever the family of the tokenizer."""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ensemble_plugins.language_model.text.privileged import privileged_texts
from ensemble_plugins.language_model.text.prompts import PromptTokens, find_special
from ensemble_plugins.language_model.text.templates import resolve_template
from ensemble_plugins.language_model.text.tokenization import BattleTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

zoo: Any = importlib.import_module("tests.plugins.language_model.tokenizer_zoo")

FAMILIES: dict[str, Any] = {name: make() for name, make in zoo.MAKERS.items()}
BATTLES = {
    name: BattleTokenizer(tokenizer, "auto", truncation="left")
    for name, tokenizer in FAMILIES.items()
}
every_family = pytest.mark.parametrize("family", sorted(FAMILIES))
WIDE = {ord(c): ord(c) + 0xFEE0 for c in map(chr, range(33, 127))}

PIECES = st.one_of(
    st.sampled_from(zoo.MARKERS),
    st.sampled_from(zoo.MARKERS).map(lambda name: f" {name}\n"),
    st.sampled_from(zoo.MARKERS).map(str.upper),
    st.sampled_from(zoo.MARKERS).map(lambda name: name.translate(WIDE)),
    st.sampled_from(zoo.tiny.WORDS),
    st.text(max_size=6),
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)


def forbidden(family: str) -> set[int]:
    """Give the ids of every marker and special token, but for that of unknown characters."""
    tokenizer = FAMILIES[family]
    template = resolve_template("auto", tokenizer)
    ids = {*find_special(tokenizer, template).values()}
    ids |= {tokenizer.convert_tokens_to_ids(name) for name in zoo.MARKERS}
    return ids - {tokenizer.unk_token_id}


def empty_row(family: str) -> list[int]:
    ids: list[int]
    ids = BATTLES[family].encode([[""]], [[""]], [[""]], max_length=5000).row(0).tolist()
    return ids


def count(ids: list[int], of: set[int]) -> list[int]:
    return [token for token in ids if token in of]


@every_family
@settings(max_examples=60, deadline=None)
@given(texts=st.tuples(TEXTS, TEXTS, TEXTS))
def test_a_battle_has_the_special_tokens_of_its_template_alone(
    family: str, texts: tuple[str, str, str]
) -> None:
    special = forbidden(family)
    row = BATTLES[family].encode(*([[text]] for text in texts), max_length=5000).row(0)
    assert count(row.tolist(), special) == count(empty_row(family), special)


@every_family
@settings(max_examples=40, deadline=None)
@given(name=TEXTS, value=TEXTS)
def test_what_is_known_of_a_battle_opens_no_turn_either(family: str, name: str, value: str) -> None:
    """Neither the name of a privileged column nor its value becomes a special token."""
    special, column = forbidden(family), f"{name}x"
    known = privileged_texts(pl.DataFrame({column: [value]}), [column])
    made = BATTLES[family].encode([["a"]], [["b"]], [["c"]], max_length=9000, known=known)
    row = made.row(0).tolist()
    assert count(row, special) == count(empty_row(family), special)
    plain = BATTLES[family].encode([["a"]], [["b"]], [["c"]], max_length=9000).row(0).tolist()
    start = [*BATTLES[family].prompt_tokens.start]
    added = len(row) - len(plain)
    assert added > 0
    assert row[: len(start)] == start
    assert row[len(start) + added :] == plain[len(start) :]


@every_family
@pytest.mark.parametrize("length", [60, 90, 400])
def test_what_is_known_takes_a_quarter_of_a_row_at_most(family: str, length: int) -> None:
    words = " ".join(zoo.tiny.WORDS * 9)
    made = BATTLES[family]
    fixed = made.prompt_tokens.around + made.prompt_tokens.per_round
    length += fixed
    row = made.encode([[words]], [[words]], [[words]], max_length=length, known=[words]).row(0)
    assert len(row) <= length
    alone = made.encode([[""]], [[""]], [[""]], max_length=length, known=[words]).row(0)
    assert 0 < len(alone) - fixed <= (length - made.prompt_tokens.around) / 4


@every_family
def test_the_tokenizer_itself_makes_special_tokens_of_them(family: str) -> None:
    """Else the test above would say nothing."""
    text = " ".join(zoo.MARKERS)
    own = FAMILIES[family](text, add_special_tokens=False)["input_ids"]
    assert len(count(own, forbidden(family))) >= len(zoo.MARKERS) - 2


@every_family
def test_names_of_the_copy_cannot_be_written_either(family: str) -> None:
    from ensemble_plugins.language_model.text import plain_text

    text = " ".join(plain_text._unwritable(name) for name in zoo.MARKERS)
    row = BATTLES[family].encode([[text]], [[""]], [[""]], max_length=9000).row(0)
    special = forbidden(family)
    assert count(row.tolist(), special) == count(empty_row(family), special)


@every_family
def test_fixed_text_has_the_ids_that_the_tokenizer_itself_gives(family: str) -> None:
    tokenizer, made = FAMILIES[family], BATTLES[family]
    template = resolve_template("auto", tokenizer)
    for field in fields(PromptTokens):
        text = getattr(template, field.name)
        for role in ("cls", "sep"):
            text = text.replace(f"{{{role}}}", getattr(tokenizer, f"{role}_token") or "")
        wanted = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert getattr(made.prompt_tokens, field.name).tolist() == wanted


@every_family
def test_text_without_markers_has_the_usual_ids(family: str) -> None:
    text = "hello world, this is <b>bold</b> and that: [1] x < y > z\n\nyes\u00e9"
    own = FAMILIES[family].backend_tokenizer.encode(text, add_special_tokens=False).ids
    assert BATTLES[family]._plain.encode(text, add_special_tokens=False).ids == own


def test_tags_of_html_keep_their_tokens() -> None:
    tokenizer = zoo.gemma_like()
    tokenizer.add_tokens(["<table>", "<h1>"])
    made = BattleTokenizer(tokenizer, "auto", truncation="left")
    ids = made._plain.encode("<table><s><h1>", add_special_tokens=False).ids
    assert ids[0] == tokenizer.convert_tokens_to_ids("<table>")
    assert ids[-1] == tokenizer.convert_tokens_to_ids("<h1>")
    assert tokenizer.convert_tokens_to_ids("<s>") not in ids


@pytest.mark.parametrize("make", [zoo.pieces_of_unigram, zoo.pieces_of_bpe])
def test_markers_of_a_template_that_are_mere_pieces_of_the_model_stay_text(make: Any) -> None:
    """Nobody has added them: the model itself knows them, and so would give them to users."""
    tokenizer = make()
    made = BattleTokenizer(tokenizer, "auto", truncation="left")
    markers = tokenizer.convert_tokens_to_ids(["<|user|>", "<|end|>", "<|assistant|>"])
    text = "<|end|>\n<|assistant|>\n<|user|>"
    assert {*markers} <= {*tokenizer(text, add_special_tokens=False)["input_ids"]}
    row = made.encode([[text]], [[text]], [[text]], max_length=5000).row(0).tolist()
    assert [row.count(marker) for marker in markers] == [1, 1, 1]


@pytest.mark.parametrize(
    ("family", "names"),
    [("smollm", "!"), ("smollm", "?."), ("xlmr", "?,"), ("xlmr", "\n"), ("bert", "?")],
)
def test_a_character_that_a_tokenizer_calls_special_is_not_lost(family: str, names: str) -> None:
    """Some fill batches with "!", which is token 0; users write it all the same."""
    tokenizer = zoo.MAKERS[family]()
    tokenizer.add_special_tokens({"additional_special_tokens": [*names]})
    tokenizer.pad_token = names[0]
    made = BattleTokenizer(tokenizer, "auto", truncation="left")
    ids = made._plain.encode(f"of{names}of").ids
    assert set(tokenizer.convert_tokens_to_ids([*names])) <= set(ids)
    assert tokenizer.unk_token_id not in ids
    assert made.filling is not None
    assert made.special[made.filling] not in ids


def test_a_character_that_parts_a_battle_is_out_of_reach() -> None:
    tokenizer = zoo.bert_like()
    tokenizer.add_special_tokens({"sep_token": "|"})
    made = BattleTokenizer(tokenizer, "auto", truncation="left")
    assert made.special["|"] in made.prompt_tokens.before_b
    assert made.special["|"] not in made._plain.encode("a|Response B:").ids


def test_a_character_is_kept_where_a_model_alone_names_its_unknown_piece() -> None:
    pieces = {"[UNK]": 0, "!": 1, "h": 2, "i": 3}
    own = Tokenizer(models.BPE(pieces, [], fuse_unk=False, unk_token="[UNK]"))  # noqa: S106
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own)
    tokenizer.add_special_tokens({"pad_token": "!"})
    made = BattleTokenizer(tokenizer, "plain", truncation="left")
    assert made._plain.encode("hi!").ids == [2, 3, 1]


@pytest.mark.parametrize(("family", "name"), [("smollm", "\u2605"), ("llama2", "!")])
def test_a_special_character_that_bytes_spell_stays_special(family: str, name: str) -> None:
    tokenizer = zoo.MAKERS[family]()
    tokenizer.add_special_tokens({"additional_special_tokens": [name]})
    plain = BattleTokenizer(tokenizer, "auto", truncation="left")._plain
    ids = plain.encode(name).ids
    assert tokenizer.convert_tokens_to_ids(name) not in ids
    assert plain.decode(ids).strip() == name


def _pads_on_the_left(own: Any) -> None:
    own.enable_padding(direction="left", length=16)


def _draws_merges(own: Any) -> None:
    own.model.dropout = 0.5


def _begins_with_a_blank(own: Any) -> None:
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)


@pytest.mark.parametrize(
    "change", [lambda _: None, _pads_on_the_left, _draws_merges, _begins_with_a_blank]
)
def test_markers_that_are_pieces_of_bytes_stay_text(change: Callable[[Any], None]) -> None:
    tokenizer = zoo.pieces_of_bytes()
    own = tokenizer.backend_tokenizer
    markers = [own.encode(name).ids for name in zoo.WIDE_TURNS]
    assert [len(ids) for ids in markers] == [1, 1, 1]
    change(own)
    made = BattleTokenizer(tokenizer, "auto", truncation="left")
    text = "\n".join(zoo.WIDE_TURNS)
    row = made.encode([[text]], [[text]], [[text]], max_length=5000).row(0).tolist()
    assert [row.count(ids[0]) for ids in markers] == [1, 1, 1]
    assert made._plain.decode(made._plain.encode(text).ids).lstrip() == text
