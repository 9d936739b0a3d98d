from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ensemble import errors
from ensemble_plugins.language_model.text.prompts import PLAIN_CHAT, TEMPLATES
from ensemble_plugins.language_model.text.template_names import NAMES, TEXTS, check_template
from ensemble_plugins.language_model.text.templates import resolve_template, stored_template
from ensemble_plugins.language_model.text.tokenization import BattleTokenizer

if TYPE_CHECKING:
    from pathlib import Path

zoo: Any = importlib.import_module("tests.plugins.language_model.tokenizer_zoo")

LOOP = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + CONTENT + '<|im_end|>' }}"
    "{% endfor %}"
)


def qwen(chat: Any) -> Any:
    tokenizer = zoo.qwen_like()
    tokenizer.chat_template = chat
    return tokenizer


def written(chat: Any, choice: Any = "auto") -> tuple[str, str]:
    """Give what a chat template writes before a battle and after it."""
    found = resolve_template(choice, qwen(chat))
    assert found.start.endswith(PLAIN_CHAT.start)
    assert found.end.startswith(PLAIN_CHAT.end)
    assert (found.before_prompt, found.before_a) == (PLAIN_CHAT.before_prompt, PLAIN_CHAT.before_a)
    before = found.start.removesuffix(PLAIN_CHAT.start)
    return before, found.end.removeprefix(PLAIN_CHAT.end)


SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
)
THINKS = (
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m['content'] }}{% endfor %}"
)
PARTS = (
    "{% for m in messages %}<|user|>{% for part in m['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% endif %}{% endfor %}<|end|>{% endfor %}"
)


@pytest.mark.parametrize(
    ("chat", "before", "after"),
    [
        (zoo.CHATML, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
        (LOOP.replace("CONTENT", "m['content'] | trim"), "<|im_start|>user\n", "<|im_end|>"),
        (SYSTEM + LOOP.replace("CONTENT", "m['content'].strip()"), None, "<|im_end|>"),
        (zoo.CHATML + THINKS, "<|im_start|>user\n", None),
        (STRICT, "", ""),
        (PARTS, "<|user|>", "<|end|>"),
        ("{{ strftime_now('%d %b %Y') }}" + STRICT, "26 Jul 2024", ""),
    ],
)
def test_a_chat_template_stands_around_a_battle(
    chat: str, before: str | None, after: str | None
) -> None:
    found = written(chat)
    if before is None:
        before = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
    if after is None:
        after = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert found == (before, after)


@pytest.mark.parametrize(
    "content",
    [
        "m['content'] | upper",
        "m['content'] | e",
        "m['content'] | tojson",
        "m['content'][:2000]",
        "m['content'].replace('<', '&lt;')",
        "m['content'].split('</think>')[-1]",
        "m['content'].split('[INST]') | join('')",
        "m['content'] | wordwrap(60)",
        "m['content'] + m['content']",
        "'something else'",
        "m['content'].replace('\n\n', '\n')",
        "m['content'] + (range(100000) | random | string)",
    ],
)
def test_a_chat_template_that_changes_text_is_refused(content: str) -> None:
    with pytest.raises(errors.LearnerError, match="changes what users write") as caught:
        written(LOOP.replace("CONTENT", content))
    assert 'set `template` to "plain", or to a table' in str(caught.value.hint)


@pytest.mark.parametrize(
    "chat",
    [
        "{{ raise_exception('only with tools') }}",
        "{% for %}",
        "{{ messages[3]['role'] }}",
        "{{ '\\ud800' + messages[0]['content'] }}",
    ],
)
def test_a_chat_template_that_fails_is_named(chat: str) -> None:
    with pytest.raises(errors.LearnerError, match="fails with one turn of the user: .+"):
        written(chat)


def test_of_several_chat_templates_the_default_or_a_named_one_is_taken() -> None:
    both = {"default": STRICT, "rag": PARTS}
    assert written(both) == ("", "")
    assert written({"rag": PARTS}) == ("<|user|>", "<|end|>")
    assert written(both, {"chat": "rag"}) == ("<|user|>", "<|end|>")
    with pytest.raises(errors.LearnerError, match="2 chat templates, none of which") as caught:
        written({"rag": PARTS, "tool_use": STRICT})
    assert 'template = {chat = "rag"}' in str(caught.value.hint)
    with pytest.raises(errors.UnknownNameError, match='unknown chat template "rga"'):
        written(both, {"chat": "rga"})
    with pytest.raises(errors.LearnerError, match="no chat templates by name, nor 'rag'"):
        written(STRICT, {"chat": "rag"})


def test_a_tokenizer_without_a_chat_template_has_a_plain_one() -> None:
    assert written(None) == ("", "")
    llama2 = zoo.llama2_like()
    found = resolve_template("auto", llama2)
    assert found.start == f"<s>{PLAIN_CHAT.start}"
    assert found.end == PLAIN_CHAT.end
    assert resolve_template("plain", qwen(zoo.CHATML)) == PLAIN_CHAT
    assert resolve_template("auto", qwen({})) == PLAIN_CHAT
    for make in (zoo.bert_like, zoo.xlmr_like, zoo.modernbert_like):
        assert resolve_template("auto", make()) is TEMPLATES["encoder"]


def test_what_a_tokenizer_fills_or_cuts_batches_by_is_no_part_of_a_template() -> None:
    """Files of tokenizers may keep the length of the last batch, and what filled it."""
    wanted = resolve_template("plain", zoo.llama2_like())
    padded, cut = zoo.llama2_like(), zoo.llama2_like()
    padded.backend_tokenizer.enable_padding(length=64, pad_id=2)
    cut.backend_tokenizer.enable_truncation(1)
    for changed in (padded, cut):
        before = changed.backend_tokenizer.to_str()
        assert resolve_template("plain", changed) == wanted
        assert changed.backend_tokenizer.to_str() == before


def test_a_tokenizer_that_knows_no_letter_keeps_its_first_token() -> None:
    backend = Tokenizer(models.BPE({"<s>": 0, "B": 1}, []))
    backend.add_special_tokens(["<s>"])
    zoo.tiny._surround(backend, "<s>")
    found = resolve_template("plain", PreTrainedTokenizerFast(tokenizer_object=backend))
    assert found.start == f"<s>{PLAIN_CHAT.start}"


def test_a_first_token_is_one_whatever_it_is_called() -> None:
    pieces = ["B", "O", "S", "BOS", *(chr(c) for c in range(32, 127) if chr(c) not in "BOS")]
    backend = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    zoo.tiny._surround(backend, "BOS")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    row = BattleTokenizer(tokenizer, "auto", truncation="left").encode(
        [["BOS"]], [["yes"]], [["no"]], max_length=900
    )
    assert row.row(0).tolist()[0] == 3
    assert row.row(0).tolist().count(3) == 1


@pytest.mark.parametrize("family", ["gemma", "mistral"])
def test_the_first_token_is_not_doubled(family: str) -> None:
    tokenizer = zoo.MAKERS[family]()
    row = BattleTokenizer(tokenizer, "auto", truncation="left").encode(
        [["one"]], [["yes"]], [["no"]], max_length=500
    )
    assert row.row(0).tolist().count(tokenizer.bos_token_id) == 1
    assert row.row(0)[0] == tokenizer.bos_token_id


def test_a_table_overrides_texts_of_its_base() -> None:
    tokenizer = qwen(zoo.CHATML)
    auto = resolve_template("auto", tokenizer)
    found = resolve_template({"before_a": "\nFirst: ", "before_b": "\nSecond: "}, tokenizer)
    assert (found.start, found.end) == (auto.start, auto.end)
    assert (found.before_a, found.before_b) == ("\nFirst: ", "\nSecond: ")
    gemma = resolve_template({"base": "gemma2", "end": "?"}, tokenizer)
    assert (gemma.start, gemma.end) == (TEMPLATES["gemma2"].start, "?")
    whole = dict.fromkeys(("start", "before_prompt", "before_a", "before_b", "end"), "x")
    broken = qwen("{{ raise_exception('no') }}")
    assert resolve_template({**whole, "after_round": ""}, broken).start == "x"
    for text in (r"\boxed{A}? {}", r"\frac{1}{2} x^{2}", r"\boxed {A}", "{A}, {B} or {tie}"):
        assert resolve_template({"end": text}, tokenizer).end == text
    made = BattleTokenizer(tokenizer, {**whole, "after_round": "{eos}"}, truncation="left")
    assert made.prompt_tokens.after_round.tolist() == [tokenizer.eos_token_id]
    with pytest.raises(errors.LearnerError, match="has no <|nothing|>"):
        BattleTokenizer(tokenizer, {"special": ["<|nothing|>"]}, truncation="left")


@pytest.mark.parametrize(
    ("end", "known"),
    [
        ("<|im_strat|>", "<|im_start|>"),
        ("?<|im_end>", "<|im_end|>"),
        ("<end_of_turn><start_of_trun>model", "<start_of_turn>"),
        ("[/INTS]", "[/INST]"),
    ],
)
def test_a_marker_that_is_nearly_one_of_the_tokenizer_is_refused(end: str, known: str) -> None:
    """It would be text, and no turn would end."""
    with pytest.raises(errors.LearnerError, match="end writes .+, which is no token") as caught:
        resolve_template({"end": end}, zoo.qwen_like())
    assert f'did you mean "{known}"' in str(caught.value.hint)


@pytest.mark.parametrize(
    "end",
    [
        *("<A>", "[B]", "<|turn|>", "<b>", "<response>", "<think>", "[1]", "<|user_a|>"),
        *("<|assistant_b|>", "<|users|>", "<response_a>", "</response>", "</think>", "<turn_2>"),
    ],
)
def test_other_words_in_brackets_are_text(end: str) -> None:
    tokenizer = zoo.qwen_like()
    tokenizer.add_tokens(["<|user|>", "<|assistant|>", "<response>", "<think>", "<turn_1>"])
    assert resolve_template({"end": end}, tokenizer).end == end


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("gemma", 'template "gemma" is unknown: did you mean "gemma2"'),
        ({"before": "x"}, 'template has no key "before": did you mean'),
        ({"start": 3}, r"template\.start must be text, got 3"),
        ({"special": "<s>"}, r"template\.special must be a list of texts"),
        ({"base": "lama3"}, 'template "lama3" is unknown'),
        ({"base": "plain", "chat": "rag"}, 'which base = "plain" has not'),
        (
            {**dict.fromkeys(TEXTS, "x"), "chat": "rag"},
            r"template\.chat names a chat template, of which nothing is left",
        ),
        ({"end": "?{boss}"}, r'end has "\{boss\}", which stands for nothing: did you mean "bos"'),
        ({"end": "{BOS}"}, r'has "\{BOS\}", which stands for nothing'),
        ({"start": "{{ bos_token }}"}, r'has "\{ bos_token \}", which stands for nothing'),
        (
            {"before_a": "\n{response_a}"},
            r'"\{response_a\}", which has no place: a battle',
        ),
        ({"special": ["{pad}"]}, r'special has "\{pad\}", which stands for nothing'),
    ],
)
def test_a_wrong_choice_is_refused(template: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_template(template)
    with pytest.raises(ValueError, match=message):
        resolve_template(template, zoo.qwen_like())


def test_names_are_those_of_the_templates() -> None:
    assert {*NAMES} == {"auto", "plain", *TEMPLATES}


@pytest.mark.parametrize("family", sorted(zoo.MAKERS))
def test_a_saved_tokenizer_has_the_same_template(family: str, tmp_path: Path) -> None:
    tokenizer = zoo.MAKERS[family]()
    tokenizer.save_pretrained(tmp_path)
    wanted = resolve_template("auto", tokenizer)
    assert resolve_template("auto", AutoTokenizer.from_pretrained(tmp_path)) == wanted
    texts = {**vars(wanted), "special": [*wanted.special]}
    assert stored_template(texts) == wanted
