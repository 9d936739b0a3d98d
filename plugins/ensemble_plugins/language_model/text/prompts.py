"""How a battle is shown to a model: templates as data, and special tokens that only they can write.

Fixed text and user text are tokenized apart. In fixed text a special token is that token; in user
text it is the characters that it is spelled with, since nobody may end a turn by writing
``<end_of_turn>``. That takes more than the tokenizers' own ``encode_special_tokens``: Unigram
models hold their special tokens as pieces with the best of scores, and BPE models converted from
SentencePiece may hold merges that spell them. So user text goes to a copy of the tokenizer whose
special tokens have names that nobody writes.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import LearnerError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Template:
    """Fixed text around the parts of a battle.

    A battle is ``start``, its rounds, ``end``; a round is ``before_prompt``, the prompt,
    ``before_a``, response A, ``before_b``, response B, ``after_round``. Special tokens are written
    out; ``{cls}`` and ``{sep}`` stand for those of the tokenizer.

    Parameters
    ----------
    start, before_prompt, before_a, before_b, after_round, end
        Fixed text.
    special
        Special tokens that the tokenizer has to know.
    """

    start: str
    before_prompt: str
    before_a: str
    before_b: str
    after_round: str
    end: str
    special: tuple[str, ...]


_QUESTION = "Which assistant gave the better responses, A or B, or is it a tie?"

_CHAT = Template(
    start="Two assistants, A and B, answer the same prompts.",
    before_prompt="\n\n### Prompt\n",
    before_a="\n\n### Response A\n",
    before_b="\n\n### Response B\n",
    after_round="",
    end=f"\n\n### Question\n{_QUESTION}",
    special=(),
)

TEMPLATES: dict[str, Template] = {
    "gemma2": replace(
        _CHAT,
        start=f"<bos><start_of_turn>user\n{_CHAT.start}",
        end=f"{_CHAT.end}<end_of_turn>\n<start_of_turn>model\n",
        special=("<bos>", "<start_of_turn>", "<end_of_turn>"),
    ),
    "llama3": replace(
        _CHAT,
        start="<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n" + _CHAT.start,
        end=f"{_CHAT.end}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        special=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "encoder": Template(
        start="{cls}",
        before_prompt="Prompt:",
        before_a="{sep}Response A:",
        before_b="{sep}Response B:",
        after_round="{sep}",
        end=f"{_QUESTION}{{sep}}",
        special=("{cls}", "{sep}"),
    ),
}
"""Templates by the families that options name."""


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """A template in a tokenizer's ids: each field that of the template, ``(k,)`` int32."""

    start: NDArray[np.int32]
    before_prompt: NDArray[np.int32]
    before_a: NDArray[np.int32]
    before_b: NDArray[np.int32]
    after_round: NDArray[np.int32]
    end: NDArray[np.int32]

    @property
    def around(self) -> int:
        """Tokens before the first round and after the last."""
        return len(self.start) + len(self.end)

    @property
    def per_round(self) -> int:
        """Tokens beside the text of each round."""
        before = len(self.before_prompt) + len(self.before_a) + len(self.before_b)
        return before + len(self.after_round)


def find_template(template: Template | str) -> Template:
    """Give the template of a family; a template is given back.

    Raises
    ------
    UnknownNameError
        There is none of that name; says which there are.
    """
    if isinstance(template, Template):
        return template
    if template not in TEMPLATES:
        raise unknown_name("template", template, TEMPLATES)
    return TEMPLATES[template]


def find_special(tokenizer: PreTrainedTokenizerBase, template: Template) -> dict[str, int]:
    """Give the ids of the special tokens: the tokenizer's own, and those of the template.

    Raises
    ------
    LearnerError
        The tokenizer does not know one that the template needs.
    """
    backend = tokenizer.backend_tokenizer
    added = backend.get_added_tokens_decoder().values()
    own = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
    needed = [_write_special(name, tokenizer) for name in template.special]
    ids = {name: backend.token_to_id(name) for name in sorted(own.union(needed))}
    if missing := [name for name in needed if ids[name] is None]:
        raise _does_not_fit(", ".join(missing))
    return {name: token for name, token in ids.items() if token is not None}


def make_prompt_tokens(
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    special: Mapping[str, int],
    plain: Tokenizer,
) -> PromptTokens:
    """Tokenize the fixed text.

    Parameters
    ----------
    template, tokenizer
        The fixed text, and what ``{cls}`` and ``{sep}`` in it are.
    special, plain
        Ids of special tokens by how they are written, and the tokenizer of what is between them.
    """
    encode = _fixed_text_encoder(special, plain)
    texts = (getattr(template, field.name) for field in fields(PromptTokens))
    return PromptTokens(*(encode(_write_special(text, tokenizer)) for text in texts))


def define_plain(definition: str, special: Collection[str]) -> str:
    """Define a tokenizer that gives the same ids, but special tokens for no text whatsoever.

    Parameters
    ----------
    definition
        A fast tokenizer as JSON.
    special
        Tokens that text must not become.

    Returns
    -------
    str
        JSON for ``tokenizers.Tokenizer.from_str``. It neither truncates, pads nor adds tokens.
    """
    document: dict[str, Any] = json.loads(definition)
    names = {token: _unwritable(token) for token in special}
    for added in document["added_tokens"]:
        added["content"] = names.get(added["content"], added["content"])
    _rename_pieces(document["model"], names)
    document.update(truncation=None, padding=None, post_processor=None)
    return json.dumps(document, ensure_ascii=False)


def _rename_pieces(model: dict[str, Any], names: Mapping[str, str]) -> None:
    """Rename pieces of a model, and drop the merges that make or use them. Ids stay."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):  # BPE, WordPiece and WordLevel
        model["vocab"] = {names.get(piece, piece): i for piece, i in vocabulary.items()}
    else:  # Unigram
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if model.get("unk_token") is not None:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        inner = model.get("continuing_subword_prefix") or ""
        model["merges"] = [
            [left, right]
            for left, right in model["merges"]
            if names.keys().isdisjoint((left, right, left + right.removeprefix(inner)))
        ]


def _unwritable(token: str) -> str:
    return f"<special token {hashlib.sha256(token.encode()).hexdigest()}>"


def _fixed_text_encoder(
    special: Mapping[str, int], plain: Tokenizer
) -> Callable[[str], NDArray[np.int32]]:
    # The longest first: one special token may be the beginning of another.
    names = sorted(special, key=len, reverse=True)
    pattern = re.compile(f"({'|'.join(map(re.escape, names)) or '(?!)'})")

    def encode(text: str) -> NDArray[np.int32]:
        ids: list[int] = []
        for piece in filter(None, pattern.split(text)):
            if piece in special:
                ids.append(special[piece])
            else:
                ids += plain.encode(piece, add_special_tokens=False).ids
        return np.array(ids, dtype=np.int32)

    return encode


def _write_special(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    for role in ("cls", "sep"):
        place = f"{{{role}}}"
        if place in text:
            token = getattr(tokenizer, f"{role}_token", None)
            if token is None:
                raise _does_not_fit(f"{role}_token")
            text = text.replace(place, token)
    return text


def _does_not_fit(what: str) -> LearnerError:
    hint = "choose the template of the model's own family; there are: "
    message = f"the tokenizer has no {what}, which the template needs"
    return LearnerError(message, hint=hint + ", ".join(sorted(TEMPLATES)))
