"""Tiny fast tokenizers in the shape of the real ones, made without network and always the same.

Merges and pieces are spelled out from a list of words, not trained: ids depend on nothing but this
file. Each can be saved with ``save_pretrained`` and comes back through ``AutoTokenizer``.
"""

# ruff: noqa: S106 - a token is no password
from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TEXT = (
    "the of and to in is it that for you with as this are can not have or be your on "
    "Two assistants assistant model user A B answer same prompts Prompt Response Question Which "
    "gave better responses tie a an ## ### hello world good bad long short yes no one two three"
)
WORDS = _TEXT.split()
_ASCII = [chr(code) for code in range(32, 127)]

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def gemma2_tokenizer() -> PreTrainedTokenizerFast:
    """Make a BPE with byte fallback over "▁" for spaces; special ids are those of Gemma-2.

    As in tokenizers converted from SentencePiece, special tokens are pieces of the model, newlines
    in a row are added tokens that are not special, and one special token, ``<eos>``, has merges
    that spell it.
    """
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<2mass>", "[@BOS@]"]
    special += [f"<unused{i}>" for i in range(99)] + ["<start_of_turn>", "<end_of_turn>"]
    newlines = ["\n" * n for n in range(1, 5)]
    pieces = [*special, *newlines, *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", *_ASCII[1:]]
    merges = _spell([*WORDS, *(f"▁{word}" for word in WORDS), "<eos>"])
    model = models.BPE(
        _number([*pieces, *(left + right for left, right in merges)]),
        merges,
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(_added(special))
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in newlines])
    _surround(tokenizer, "<bos>")
    return _wrap(
        tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def llama3_tokenizer() -> PreTrainedTokenizerFast:
    """Make a byte-level BPE; special tokens come after the model's pieces, as in Llama-3."""
    words = [*WORDS, *(f"Ġ{word}" for word in WORDS), "ĊĊ"]
    merges = _spell(words)
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    tokenizer = Tokenizer(models.BPE(_number(pieces), merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    special += [f"<|reserved_special_token_{i}|>" for i in range(4)]
    special += ["<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"]
    tokenizer.add_special_tokens(_added(special))
    _surround(tokenizer, "<|begin_of_text|>")
    return _wrap(tokenizer, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")


def deberta_tokenizer() -> PreTrainedTokenizerFast:
    """Make a Unigram model over printable ASCII; as in DeBERTa-v3, other characters are unknown.

    Special tokens are pieces with the score 0, the best there is: left to itself the model makes
    them of user text, whatever its added tokens are.
    """
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    pieces = [(piece, 0.0) for piece in special]
    pieces += [(character, -10.0) for character in ("▁", *_ASCII[1:])]
    pieces += [(f"▁{word}", -5.0) for word in WORDS]
    pieces += [(word, -7.0) for word in WORDS if len(word) > 1]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex("[\n\r\t]"), " "),
            normalizers.NFKC(),
            normalizers.Strip(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(_added([*special, "[MASK]"]))
    _surround(tokenizer, "[CLS]", "[SEP]")
    return _wrap(
        tokenizer,
        bos_token="[CLS]",
        eos_token="[SEP]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )


def _spell(words: Iterable[str]) -> list[tuple[str, str]]:
    """Give merges that put words together letter by letter, long words first."""
    ordered = sorted(words, key=len, reverse=True)
    merges = ((word[:i], word[i]) for word in ordered for i in range(1, len(word)))
    return list(dict.fromkeys(merges))


def _number(pieces: Iterable[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def _added(special: Sequence[str]) -> list[AddedToken]:
    return [AddedToken(piece, normalized=False, special=True) for piece in special]


def _wrap(tokenizer: Tokenizer, **roles: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


def _surround(tokenizer: Tokenizer, first: str, last: str = "") -> None:
    """Add special tokens around what is encoded, as the real tokenizers do when not told not to."""
    names = [name for name in (first, last) if name]
    single = f"{first} $A {last}".split()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(name, tokenizer.token_to_id(name)) for name in names]
    )
