"""Tiny tokenizers in the shape of every family's, with added tokens of every sort.

Each has added tokens that are special and some that are not, all of them spelled as special tokens
are; pieces and merges of the model spell several of them.
"""

# ruff: noqa: S106 - a token is no password
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

tiny: Any = importlib.import_module("tests.plugins.language_model.tiny_tokenizers")

MARKERS = [
    *("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"),
    *("<|user|>", "<|assistant|>", "<|end|>", "[SEP]", "[CLS]", "</s>", "<s>", "<think>"),
    *("<tool_call>", "<|endoftext|>", "<\uff5cUser\uff5c>"),
]
"""Spelled as special tokens are; every tokenizer below has all of them."""
_ASCII = [chr(code) for code in range(32, 127)]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _add(tokenizer: Tokenizer, special: Sequence[str], **options: Any) -> None:
    """Add the markers: some special, the others not, and none of them twice."""
    for name in MARKERS:
        token = AddedToken(name, special=name in special, **{"normalized": False, **options})
        (tokenizer.add_special_tokens if name in special else tokenizer.add_tokens)([token])


def _byte_level(special: Sequence[str], pattern: str, **options: Any) -> Tokenizer:
    words = [*tiny.WORDS, *(f"Ġ{word}" for word in tiny.WORDS), "ĊĊ", "<|im_end|>", "[INST]"]
    merges = tiny._spell(words)
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    tokenizer = Tokenizer(models.BPE(tiny._number(pieces), merges, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    _add(tokenizer, special, **options)
    return tokenizer


def qwen_like() -> Any:
    """Byte-level BPE with NFC; ``<think>`` and ``<tool_call>`` are added, but not special."""
    tokenizer = _byte_level(["<|im_start|>", "<|im_end|>", "<|endoftext|>"], tiny.LLAMA3_PATTERN)
    tokenizer.normalizer = normalizers.NFC()
    roles = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHATML, **roles)


def smollm_like() -> Any:
    """Byte-level BPE without a normalizer or tokens of its own around a text."""
    tokenizer = _byte_level(MARKERS, r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHATML)


def modernbert_like() -> Any:
    """Byte-level BPE with ``[CLS]`` and ``[SEP]``; markers take the blanks before them."""
    tokenizer = _byte_level(
        ["[CLS]", "[SEP]"], r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+", lstrip=True
    )
    tiny._surround(tokenizer, "[CLS]", "[SEP]")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[SEP]"
    )


def _sentencepiece_bpe(special: Sequence[str], **options: Any) -> Tokenizer:
    """Make a BPE with byte fallback over "▁", whose pieces and merges spell markers."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    spelled = ["</s>", "[INST]", "<|end|>", "<start_of_turn>"]
    merges = tiny._spell([*tiny.WORDS, *(f"▁{word}" for word in tiny.WORDS), *spelled])
    pieces += [*_ASCII[1:], *(a + b for a, b in merges)]
    model = models.BPE(
        tiny._number(pieces), merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    _add(tokenizer, special, **options)
    return tokenizer


def llama2_like() -> Any:
    """SentencePiece BPE with a blank before every text."""
    tokenizer = _sentencepiece_bpe(["<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tiny._surround(tokenizer, "<s>")
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


def mistral_like() -> Any:
    """Metaspace before the first word alone; ``[INST]`` is special."""
    tokenizer = _sentencepiece_bpe(["<s>", "</s>", "[INST]", "[/INST]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tiny._surround(tokenizer, "<s>")
    chat = (
        "{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
        "{% endfor %}"
    )
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=chat, **roles)


def phi_like() -> Any:
    """As Llama-2's, with markers that take the blanks after them."""
    tokenizer = _sentencepiece_bpe(["<s>", "<|end|>", "<|user|>", "<|assistant|>"], rstrip=True)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    chat = (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
        "{% endfor %}{{ '<|assistant|>\n' }}"
    )
    roles = {"bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=chat, **roles)


def gemma_like() -> Any:
    """Gemma's BPE, with the other families' markers as added tokens that are not special."""
    tokenizer = tiny.gemma2_tokenizer()
    _add(tokenizer.backend_tokenizer, ["<start_of_turn>", "<end_of_turn>"])
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m['role'] + '\n' + "
        "m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{{ '<start_of_turn>model\n' }}"
    )
    return tokenizer


def _unigram(pieces: list[tuple[str, float]], unknown: int, *, fallback: bool) -> Tokenizer:
    pieces = [*pieces, *((character, -10.0) for character in ("▁", *_ASCII[1:]))]
    pieces += [(f"▁{word}", -5.0) for word in tiny.WORDS]
    if fallback:
        pieces += [(f"<0x{byte:02X}>", -12.0) for byte in range(256)]
    known = {piece for piece, _ in pieces}
    pieces += [(name, -3.0) for name in MARKERS[:6] if name not in known]
    return Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=fallback))


def xlmr_like() -> Any:
    """Unigram with NFKC, which makes a marker of full-width letters."""
    first = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    tokenizer = _unigram(first, 3, fallback=False)
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    _add(tokenizer, ["<s>", "</s>"], normalized=True)
    tiny._surround(tokenizer, "<s>", "</s>")
    roles = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", **roles
    )


def unigram_fallback() -> Any:
    """Unigram with byte fallback and no normalizer; all markers are pieces with good scores."""
    tokenizer = _unigram([("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)], 0, fallback=True)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    _add(tokenizer, ["<s>", "</s>", "<start_of_turn>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


TURNS = (
    "{% for m in messages %}{{ '<|user|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{{ '<|assistant|>\n' }}"
)
_TURNS = ["<|user|>", "<|end|>", "<|assistant|>"]
WIDE_TURNS = ["<\uff5cUser\uff5c>", "<\uff5cend\uff5c>", "<\uff5cAssistant\uff5c>"]


def pieces_of_unigram() -> Any:
    """Unigram whose template writes markers that are pieces, and no added tokens."""
    pieces = [("<unk>", 0.0), ("\n", -3.0), *((name, -2.0) for name in _TURNS)]
    tokenizer = Tokenizer(
        models.Unigram([*pieces, *((c, -9.0) for c in ["\u2581", *_ASCII[1:]])], 0)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", chat_template=TURNS
    )


def pieces_of_bpe() -> Any:
    """BPE whose merges spell the markers of its template, which are no added tokens."""
    merges = tiny._spell(_TURNS)
    pieces = ["<unk>", "\n", *_ASCII, *(a + b for a, b in merges)]
    model = models.BPE(tiny._number(pieces), merges, unk_token="<unk>")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(model), unk_token="<unk>", chat_template=TURNS
    )


def pieces_of_bytes() -> Any:
    """BPE over bytes, with markers of wide characters that are pieces: their names are others."""
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelled = ["".join(p for p, _ in bytes_.pre_tokenize_str(name)) for name in WIDE_TURNS]
    merges = tiny._spell(spelled)
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    tokenizer = Tokenizer(models.BPE(tiny._number(pieces), merges))
    tokenizer.pre_tokenizer = bytes_
    tokenizer.decoder = decoders.ByteLevel()
    user, end, assistant = WIDE_TURNS
    chat = f"{{{{ '{user}' + messages[0]['content'] + '{end}{assistant}' }}}}"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=chat)


def bert_like() -> Any:
    """WordPiece in lower case, whose added tokens are matched after it."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_ASCII, *(f"##{c}" for c in _ASCII)]
    pieces += [word.lower() for word in tiny.WORDS]
    model = models.WordPiece(tiny._number(pieces), unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    _add(tokenizer, ["[CLS]", "[SEP]"], normalized=True)
    tiny._surround(tokenizer, "[CLS]", "[SEP]")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
    )


MAKERS: dict[str, Callable[[], Any]] = {
    "bert": bert_like,
    "gemma": gemma_like,
    "llama2": llama2_like,
    "mistral": mistral_like,
    "modernbert": modernbert_like,
    "phi": phi_like,
    "qwen": qwen_like,
    "smollm": smollm_like,
    "unigram": unigram_fallback,
    "xlmr": xlmr_like,
}
