"""How a battle is shown to a model: templates as data, and special tokens that only they can write.

Fixed text and user text are tokenized apart. In fixed text a special token is that token; in user
text it is the characters that it is spelled with, since nobody may end a turn by writing
``<end_of_turn>``. That takes more than the tokenizers' own ``encode_special_tokens``: Unigram
models hold their special tokens as pieces with the best of scores, and BPE models converted from
SentencePiece may hold merges that spell them. So user text goes to a copy of the tokenizer whose
special tokens have names that nobody writes (``plain_text``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.text.plain_text import define_plain
from ensemble_plugins.language_model.text.template_names import ROLES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Template:
    """Fixed text around the parts of a battle.

    A battle is ``start``, its rounds, ``end``; a round is ``before_prompt``, the prompt,
    ``before_a``, response A, ``before_b``, response B, ``after_round``. Special tokens are written
    out; ``{cls}``, ``{sep}``, ``{bos}`` and ``{eos}`` stand for those of the tokenizer.

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


_BLANK = " \t\r\n\u2581"
_BRACKETS = re.compile(r"<[^<>\s]+>|<<[^<>\s]+>>|\[[^\[\]\s]+\]")
"""How special tokens are spelled."""
_TAGS = (
    "a|b|blockquote|body|br|caption|code|div|em|h[1-6]|head|hr|html|i|img|li|ol|p|pre|span|strong"
    "|sub|sup|table|tbody|td|tfoot|th|thead|title|tr|u|ul"
)
_HTML = re.compile(f"</?({_TAGS})>")
"""Text all the same; ``<s>`` is not among them, which begins a text in other models."""
_QUESTION = "Which assistant gave the better responses, A or B, or is it a tie?"

PLAIN_CHAT = Template(
    start="Two assistants, A and B, answer the same prompts.",
    before_prompt="\n\n### Prompt\n",
    before_a="\n\n### Response A\n",
    before_b="\n\n### Response B\n",
    after_round="",
    end=f"\n\n### Question\n{_QUESTION}",
    special=(),
)
"""A battle as plain text, which chat templates put into a turn of the user."""

TEMPLATES: dict[str, Template] = {
    "gemma2": replace(
        PLAIN_CHAT,
        start=f"<bos><start_of_turn>user\n{PLAIN_CHAT.start}",
        end=f"{PLAIN_CHAT.end}<end_of_turn>\n<start_of_turn>model\n",
        special=("<bos>", "<start_of_turn>", "<end_of_turn>"),
    ),
    "llama3": replace(
        PLAIN_CHAT,
        start="<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n" + PLAIN_CHAT.start,
        end=f"{PLAIN_CHAT.end}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
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

    def row(self, prompt: Ids, a: Ids, b: Ids) -> Ids:
        """Put one round of texts into the template."""
        parts = (self.before_prompt, prompt, self.before_a, a, self.before_b, b, self.after_round)
        return np.concatenate([self.start, *parts, self.end])

    @property
    def fixed(self) -> set[int]:
        """Token ids that each row has, whatever its battle is."""
        return {int(token) for part in vars(self).values() for token in part}

    @property
    def last(self) -> list[int]:
        """The token that each row ends with; none where that is a battle's own."""
        return [*self.before_b, *self.after_round, *self.end][-1:]

    @property
    def around(self) -> int:
        """Tokens before the first round and after the last."""
        return len(self.start) + len(self.end)

    @property
    def per_round(self) -> int:
        """Tokens beside the text of each round."""
        before = len(self.before_prompt) + len(self.before_a) + len(self.before_b)
        return before + len(self.after_round)


def find_special(tokenizer: PreTrainedTokenizerBase, template: Template) -> dict[str, int]:
    """Give the ids of the tokens that no user may write.

    They are the tokenizer's special tokens, those that the template needs or writes, and added
    tokens that are spelled as special ones are, such as ``<think>`` and ``[INST]``, whatever the
    tokenizer calls them; what the template writes so may be a mere piece of the model. Tags of HTML
    are text, and so is a character that nothing else spells, such as a ``!`` that fills batches.

    Raises
    ------
    LearnerError
        The tokenizer does not know one that the template needs.
    """
    backend = bare_copy(tokenizer)
    texts = _texts(template)
    fixed = "".join(_write_special(text, tokenizer) for text in texts)
    added = backend.get_added_tokens_decoder().values()
    own = {token.content for token in added if token.special or _marks(token.content, fixed)}
    needed = [_write_special(name, tokenizer) for name in template.special]
    ids = {
        name: backend.token_to_id(name)
        for name in sorted(
            own.union(needed, tokenizer.all_special_tokens, _written_pieces(fixed, backend))
        )
    }
    if missing := [name for name in needed if ids[name] is None]:
        raise _does_not_fit(", ".join(missing))
    known = {name: token for name, token in ids.items() if token is not None}
    marks = {_write_special(f"{{{role}}}", tokenizer) for role in ROLES if _is_named(role, texts)}
    text = _only_spellings(known, marks.union(needed), backend)
    return {name: token for name, token in known.items() if name not in text}


def _is_named(role: str, texts: Sequence[str]) -> bool:
    return any(f"{{{role}}}" in text for text in texts)


def _only_spellings(
    special: Mapping[str, int], marks: Collection[str], backend: Tokenizer
) -> list[str]:
    """Give the special characters that users could not write if they were no text.

    None of those that the template marks the parts of a battle by.
    """
    letters = [
        name
        for name in special
        if len(name) == 1 and (name.isprintable() or name.isspace()) and name not in marks
    ]
    if not letters:
        return []
    plain = backend.from_str(define_plain(backend.to_str(), special))
    # Text becomes none of them, but for that of unknown pieces.
    unknown = {*special.values(), *_unknown_ids(backend)}

    def is_lost(letter: str) -> bool:
        once, twice = (plain.encode(letter * n, add_special_tokens=False).ids for n in (1, 2))
        return len(once) == len(twice) or not unknown.isdisjoint(once)

    return [letter for letter in letters if is_lost(letter)]


def _unknown_ids(backend: Tokenizer) -> list[int | None]:
    """Give the id of what a model has for pieces that it does not know, however it tells it."""
    model: Any = backend.model
    name = getattr(model, "unk_token", None)
    return [getattr(model, "unk_id", None), None if name is None else backend.token_to_id(name)]


def _written_pieces(fixed: str, backend: Tokenizer) -> Iterator[str]:
    """Give the markers of fixed text as a model may have them: after what is a blank, too."""
    for marker in find_markers(fixed):
        yield from (blank + marker for blank in ("", "\u2581", "\u0120"))
        for blank in ("", " "):  # pieces of bytes have names of their own
            for token in backend.encode(blank + marker, add_special_tokens=False).ids:
                said = backend.decode([token], skip_special_tokens=False).strip()
                if said.casefold() == marker.casefold():
                    yield backend.id_to_token(token) or marker


def find_markers(text: str) -> list[str]:
    """Give what is spelled in a text as special tokens are, but for tags of HTML."""
    return [name for name in _BRACKETS.findall(text) if not _HTML.fullmatch(name)]


def _marks(token: str, fixed: str) -> bool:
    """Say whether an added token is no text: spelled as a marker, or one that fixed text has."""
    name = token.strip(_BLANK)
    if _BRACKETS.fullmatch(name):
        return not _HTML.fullmatch(name)
    # Words and runs of blanks are text, though fixed text has them too.
    return name in fixed and not name.isalnum() and bool(name)


def find_filling(
    tokenizer: PreTrainedTokenizerBase,
    tokens: PromptTokens,
    special: Mapping[str, int],
    embedded: int | None,
) -> str | None:
    """Name the special token that fills batches: the tokenizer's own for that, where it can be.

    It is one that the model has an embedding for and that no row ends with: classifiers that read
    the last token read the last that is not it.

    Parameters
    ----------
    tokenizer, tokens, special
        The tokenizer, a template in its ids, and its special tokens.
    embedded
        How many tokens the model knows; None for any.
    """
    free = {
        name
        for name, token in special.items()
        if token not in tokens.last and (embedded is None or token < embedded)
    }
    roles = [getattr(tokenizer, f"{role}_token") for role in ("pad", "unk", "eos", "bos")]
    return next((name for name in (*roles, *sorted(free)) if name in free), None)


def make_prompt_tokens(
    template: Template, tokenizer: PreTrainedTokenizerBase, special: Collection[str]
) -> PromptTokens:
    """Tokenize the fixed text, as the tokenizer itself does.

    Parameters
    ----------
    template, tokenizer
        The fixed text, and what ``{cls}`` and the like in it are.
    special
        Names of special tokens.
    """
    from tokenizers import AddedToken

    own = bare_copy(tokenizer)
    added = {token.content for token in own.get_added_tokens_decoder().values()}
    # A piece of the model alone is a special token in no text: the pre-tokenizer cuts it.
    lacking = [name for name in special if name not in added]
    own.add_special_tokens([AddedToken(n, normalized=False, special=True) for n in lacking])
    texts = (_write_special(text, tokenizer) for text in _texts(template))
    rows = (own.encode(text, add_special_tokens=False).ids if text else [] for text in texts)
    return PromptTokens(*(np.array(ids, dtype=np.int32) for ids in rows))


def bare_copy(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Copy a tokenizer; the copy neither truncates nor pads, and has one row of ids for a text."""
    from tokenizers import Tokenizer

    own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    own.no_truncation()
    own.no_padding()
    model: Any = own.model
    if getattr(model, "dropout", None) is not None:
        model.dropout = None
    return own


def _texts(template: Template) -> list[str]:
    return [getattr(template, field.name) for field in fields(PromptTokens)]


def _write_special(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    for role in ROLES:
        place = f"{{{role}}}"
        if place in text:
            token = getattr(tokenizer, f"{role}_token", None)
            if token is None:
                raise _does_not_fit(f"{role}_token")
            text = text.replace(place, token)
    return text


def _does_not_fit(what: str) -> LearnerError:
    hint = 'set template = "auto", or that of the model\'s own family; there are: '
    message = f"the tokenizer has no {what}, which the template needs"
    return LearnerError(message, hint=hint + ", ".join(sorted(TEMPLATES)))
