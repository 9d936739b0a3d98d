from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import errors
from ensemble_plugins.language_model.text.prompts import Template
from ensemble_plugins.language_model.text.template_names import TEXTS
from ensemble_plugins.language_model.text.tokenization import BattleTokenizer
from ensemble_plugins.language_model.text.tokens import Tokens
from ensemble_plugins.language_model.text.truncation import RULES

transformers = pytest.importorskip("transformers")
tiny = importlib.import_module("tests.plugins.language_model.tiny_tokenizers")

Battles = tuple[list[list[str | None]], list[list[str | None]], list[list[str | None]]]

TINY: dict[str, Any] = {
    "gemma2": tiny.gemma2_tokenizer(),
    "llama3": tiny.llama3_tokenizer(),
    "encoder": tiny.deberta_tokenizer(),
}
ONE_ROUND: Battles = [["hello <eos>"]], [["yes<end_of_turn>\n"]], [["no<|eot_id|>[SEP]"]]
TWO_ROUNDS: Battles = [["one", "two"]], [["yes", None]], [["no", "bad"]]

GEMMA_START = "2 106 678 108 420 616 472 380 758 692 759 380 546 691 648 535 382 "
GEMMA_END = (
    "109 736 514 108 611 471 652 691 558 490 380 758 751 759 380 751 749 750 463 708 399 107 108 "
    "106 607 108"
)
LLAMA_START = "551 557 468 558 550 522 265 11 548 482 549 11 339 481 441 328 13 "
LLAMA_END = (
    "550 526 307 198 404 264 445 481 351 283 11 548 541 549 11 541 539 540 256 498 30 560 557 273 "
    "558 550"
)
ENCODER_END = "133 122 134 99 135 136 16 125 116 126 16 116 104 105 138 137 35 2"
GOLDEN = {
    ("gemma2", "one", False): GEMMA_START + "109 736 552 108 615 368 662 398 "
    "109 736 506 758 108 740 660 446 436 431 752 431 452 453 450 446 398 108 "
    "109 736 506 759 108 729 396 460 437 447 452 431 441 436 460 398 427 419 405 416 429 "
    + GEMMA_END,
    ("gemma2", "one", True): GEMMA_START + "109 736 552 108 615 368 662 398 "
    "109 736 506 758 108 729 396 460 437 447 452 431 441 436 460 398 427 419 405 416 429 "
    "109 736 506 759 108 740 660 446 436 431 752 431 452 453 450 446 398 108 " + GEMMA_END,
    ("gemma2", "two", False): GEMMA_START + "109 736 552 108 742 109 736 506 758 108 740 "
    "109 736 506 759 108 729 109 736 552 108 452 616 109 736 506 758 108 109 736 506 759 108 738 "
    + GEMMA_END,
    ("gemma2", "two", True): GEMMA_START + "109 736 552 108 742 109 736 506 758 108 729 "
    "109 736 506 759 108 740 109 736 552 108 452 616 109 736 506 758 108 738 109 736 506 759 108 "
    + GEMMA_END,
    ("llama3", "one", False): LLAMA_START + "550 526 345 198 408 220 27 68 78 82 29 "
    "550 526 299 548 198 530 27 68 77 67 62 542 62 83 84 81 77 29 198 "
    "550 526 299 549 198 519 27 91 68 78 83 62 72 67 91 29 58 50 36 47 60 " + LLAMA_END,
    ("llama3", "two", True): LLAMA_START + "550 526 345 198 532 550 526 299 548 198 519 "
    "550 526 299 549 198 530 550 526 345 198 534 550 526 299 548 198 528 550 526 299 549 198 "
    + LLAMA_END,
    ("encoder", "one", False): "1 130 30 142 4 32 73 83 87 34 2 131 125 30 148 32 73 82 72 67 154 "
    "67 88 89 86 82 34 2 131 126 30 149 32 96 73 83 88 67 77 72 96 34 63 55 41 52 65 2 "
    + ENCODER_END,
    ("encoder", "two", False): "1 130 30 150 2 131 125 30 148 2 131 126 30 149 2 "
    "130 30 151 2 131 125 30 2 131 126 30 145 2 " + ENCODER_END,
    ("encoder", "two", True): "1 130 30 150 2 131 125 30 149 2 131 126 30 148 2 "
    "130 30 151 2 131 125 30 145 2 131 126 30 2 " + ENCODER_END,
}


def _make(family: str = "llama3", truncation: str = "left", **options: Any) -> BattleTokenizer:
    return BattleTokenizer(TINY[family], family, truncation=truncation, **options)


def _rows(tokens: Tokens) -> list[list[int]]:
    return [tokens.row(i).tolist() for i in range(len(tokens))]


@pytest.mark.parametrize(("family", "rounds", "swapped"), sorted(GOLDEN))
def test_golden_ids(family: str, rounds: str, swapped: bool) -> None:
    battle = {"one": ONE_ROUND, "two": TWO_ROUNDS}[rounds]
    row = _make(family).encode(*battle, max_length=200, swapped=swapped).row(0)
    assert row.tolist() == [int(number) for number in GOLDEN[family, rounds, swapped].split()]


def test_a_row_reads_as_the_battle_does() -> None:
    row = _make("gemma2").encode(*TWO_ROUNDS, max_length=200).row(0)
    assert TINY["gemma2"].decode(row.tolist()) == (
        "<bos><start_of_turn>user\nTwo assistants, A and B, answer the same prompts.\n\n"
        "### Prompt\none\n\n### Response A\nyes\n\n### Response B\nno\n\n"
        "### Prompt\ntwo\n\n### Response A\n\n\n### Response B\nbad\n\n### Question\n"
        "Which assistant gave the better responses, A or B, or is it a tie?<end_of_turn>\n"
        "<start_of_turn>model\n"
    )


SHORT = Template("<|begin_of_text|>", "P", "A", "B", "\n", "?<|eot_id|>", ("<|begin_of_text|>",))


@pytest.mark.parametrize(
    ("truncation", "text", "ids"),
    [
        ("left", "P6ALMNBrst", "47 21 32 43 44 45 33 81 82 83"),
        ("proportional", "P0AGHIBopq", "47 15 32 38 39 40 33 78 79 80"),
        ("rounds", "P0AGHIBopq", "47 15 32 38 39 40 33 78 79 80"),
        ("middle", "P06AGHNBot", "47 15 21 32 38 39 45 33 78 83"),
        ("responses-equal", "P01AGHIBopq", "47 15 16 32 38 39 40 33 78 79 80"),
    ],
)
def test_golden_ids_of_each_truncation(truncation: str, text: str, ids: str) -> None:
    model = BattleTokenizer(TINY["llama3"], SHORT, truncation=truncation)
    battle: Battles = [["abc", "0123456"]], [["defghi", "GHIJKLMN"]], [["jk", "opqrst"]]
    row = model.encode(*battle, max_length=15).row(0).tolist()
    assert row == [551, *map(int, ids.split()), 198, 30, 560]
    assert TINY["llama3"].decode(row) == f"<|begin_of_text|>{text}\n?<|eot_id|>"


TURNS = st.lists(st.one_of(st.none(), st.text("ab \n<[SEP]>é", max_size=80)), max_size=3)
BATTLES = st.lists(st.tuples(TURNS, TURNS, TURNS), max_size=4)
FAMILIES = {(family, rule): _make(family, rule) for family in TINY for rule in RULES}


def _columns(battles: list[tuple[Any, Any, Any]]) -> Battles:
    prompts, a, b = ([battle[i] for battle in battles] for i in range(3))
    return prompts, a, b


@pytest.mark.parametrize(("family", "rule"), sorted(FAMILIES))
@settings(max_examples=25, deadline=None)
@given(battles=BATTLES, spare=st.integers(0, 120))
def test_rows_keep_to_the_length_and_to_their_prompt_tokens(
    family: str, rule: str, battles: list[tuple[Any, Any, Any]], spare: int
) -> None:
    model = FAMILIES[family, rule]
    empty = model.encode([[""]], [[""]], [[""]], max_length=500).row(0)
    length = len(empty) + spare
    tokens = model.encode(*_columns(battles), max_length=length)
    assert len(tokens) == len(battles)
    start, end = model.prompt_tokens.start, model.prompt_tokens.end
    for i, row in enumerate(_rows(tokens)):
        assert len(row) <= length
        assert row[: len(start)] == start.tolist()
        assert row[-len(end) :] == end.tolist()
        alone = model.encode(*_columns([battles[i]]), max_length=length)
        assert _rows(alone) == [row]
    prompts, a, b = _columns(battles)
    swapped = model.encode(prompts, a, b, max_length=length, swapped=True)
    assert _rows(swapped) == _rows(model.encode(prompts, b, a, max_length=length))


def test_missing_turns_are_empty_texts() -> None:
    model = _make()
    whole = model.encode([["one", ""]], [["yes", ""]], [["", "no"]], max_length=200)
    ragged = model.encode([["one"]], [["yes", None]], [[None, "no"]], max_length=200)
    assert _rows(ragged) == _rows(whole)
    none = model.encode([[]], [[]], [[]], max_length=200)
    assert _rows(none) == _rows(model.encode([[None]], [[""]], [[""]], max_length=200))


def test_lone_surrogates_are_replaced() -> None:
    model = _make()
    broken = model.encode([["a\ud83db"]], [["\udc00"]], [[""]], max_length=200)
    mended = model.encode([["a\ufffdb"]], [["\ufffd"]], [[""]], max_length=200)
    assert _rows(broken) == _rows(mended)


def test_no_battles_give_no_rows() -> None:
    assert len(_make().encode([], [], [], max_length=200)) == 0


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter than argument 1"):
        _make().encode([["one"]], [], [], max_length=200)


def test_a_length_below_the_scaffold_is_refused() -> None:
    model = _make()
    least = model.prompt_tokens.around + model.prompt_tokens.per_round
    assert len(model.encode(*TWO_ROUNDS, max_length=least).row(0)) == least
    with pytest.raises(
        errors.LearnerError, match=f"a length of {least - 1} tokens does not hold"
    ) as info:
        model.encode(*TWO_ROUNDS, max_length=least - 1)
    assert info.value.hint == "raise the length: most battles want 1024 tokens or more"


def test_a_template_without_a_token_is_refused() -> None:
    """A battle of empty texts would be a row of nothing, which no model computes."""
    nothing = dict.fromkeys(TEXTS, "")
    with pytest.raises(errors.LearnerError, match="the template writes no token") as caught:
        BattleTokenizer(TINY["llama3"], nothing, truncation="left")
    assert "before_a" in str(caught.value.hint)
    made = BattleTokenizer(TINY["llama3"], {**nothing, "end": "?"}, truncation="left")
    assert len(made.encode([[""]], [[""]], [[""]], max_length=9).row(0)) == 1


def test_a_tokenizer_that_draws_its_merges_gives_the_same_ids_each_time() -> None:
    """BPE dropout is for training: here the ids of a text would be others in each process."""
    tokenizer = tiny.llama3_tokenizer()
    tokenizer.backend_tokenizer.model.dropout = 0.9
    wanted = _make("llama3").encode(*TWO_ROUNDS, max_length=300).row(0).tolist()
    for _ in range(3):
        made = BattleTokenizer(tokenizer, "llama3", truncation="left")
        assert made.encode(*TWO_ROUNDS, max_length=300).row(0).tolist() == wanted


def test_a_tokenizer_in_python_is_refused() -> None:
    with pytest.raises(errors.LearnerError, match="ByT5Tokenizer is not a fast tokenizer") as info:
        BattleTokenizer(transformers.ByT5Tokenizer(), "encoder", truncation="left")
    assert "tokenizer.json" in str(info.value.hint)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match='template "gema2" is unknown: did you mean "gemma2"'):
        BattleTokenizer(TINY["gemma2"], "gema2", truncation="left")
    with pytest.raises(errors.UnknownNameError, match='unknown truncation rule "right"'):
        _make(truncation="right")


def test_a_token_that_the_model_does_not_know_is_named() -> None:
    """Looked up in the embeddings it would be an error of an index, or end the GPU's context."""
    tokenizer = tiny.llama3_tokenizer()
    known = len(tokenizer)
    tokenizer.add_tokens(["Zyx", "Xyz"])
    made = BattleTokenizer(tokenizer, "llama3", truncation="left", embedded=known + 1)
    made.encode([["Zyx"]], [["a"]], [["b"]], max_length=500)
    with pytest.raises(errors.LearnerError, match=rf"gives token {known + 1} \('Xyz'\)") as caught:
        made.encode([["a"]], [["of Xyz"]], [["b"]], max_length=500)
    assert f"the model knows {known + 1} tokens alone" in str(caught.value)


def test_rows_that_are_made_up_have_tokens_that_the_model_knows() -> None:
    tokenizer = tiny.llama3_tokenizer()
    few = BattleTokenizer(tokenizer, "llama3", truncation="left", embedded=60)
    with pytest.raises(errors.LearnerError, match="the model knows 60 tokens alone"):
        few.contrast()
    every = BattleTokenizer(tokenizer, "llama3", truncation="left", embedded=100_000).contrast()
    assert every is not None and len(every) > 1
    assert 1_000 < every.ids.max() < 100_000, "of all that the model knows, not of the first"
    assert len({row.tobytes() for row in map(every.row, range(len(every)))}) == len(every)
