"""Battles to token ids: each text once, in parallel, from a store where there is one.

Nothing here is fitted: what is stored of a text depends on that text and the tokenizer alone, so it
may be shared by folds, by rows of every role, and by learners.
"""

from __future__ import annotations

import hashlib
import secrets
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ensemble.errors import LearnerError, unknown_name
from ensemble.storage.hashing import fingerprint
from ensemble_plugins.language_model.text.plain_text import define_plain
from ensemble_plugins.language_model.text.prompts import (
    find_filling,
    find_special,
    make_prompt_tokens,
)
from ensemble_plugins.language_model.text.templates import resolve_template
from ensemble_plugins.language_model.text.tokens import DIGEST_BYTES, Tokens, TokenStore
from ensemble_plugins.language_model.text.truncation import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from ensemble_plugins.language_model.text.prompts import PromptTokens
    from ensemble_plugins.language_model.text.templates import TemplateChoice
    from ensemble_plugins.language_model.text.truncation import Cut, Rule

    Turns = Sequence[str | None]

VERSION = 2
"""Of what is stored: another one is stored apart."""

_CHUNK_CHARACTERS = 4_000_000
"""Tokenized at once and stored as a file: some 100 MB while the tokenizer holds the tokens."""

_CONTRASTS, _CONTRAST, _DRAWN = 4, 16, 1000
"""Rows that are held against one another, tokens of each of their texts, and of which ids."""


class BattleTokenizer:
    """Turns battles into rows of token ids that never exceed a length.

    Every text is tokenized once, alone, with special tokens inside it as plain text; rows are put
    together from these ids and those of the template. The ids of the last call's texts stay in
    memory, so that the other order of A and B, or another length, tokenizes nothing.

    Parameters
    ----------
    tokenizer
        A fast one. Only its definition is used, at the time of this call.
    template
        As in ``templates.resolve_template``.
    truncation
        A rule's name in ``truncation.RULES``.
    longest
        Most tokens of a row that the model takes, whatever length is asked for; None for no bound.
    embedded
        How many tokens the model knows; None for any.
    cache_directory
        Where the ids of texts are stored; None stores nothing. Several processes may share it.

    Attributes
    ----------
    special
        Ids of the tokens that no text becomes, by name.
    filling
        Name of the special token that fills batches; None where none can.
    longest, embedded
        As given.
    prompt_tokens
        The template in ids.

    Raises
    ------
    LearnerError
        The tokenizer is not a fast one, or lacks a special token of the template; or the template
        writes no token.
    UnknownNameError
        No template, or no rule, of that name.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: TemplateChoice,
        *,
        truncation: str,
        longest: int | None = None,
        embedded: int | None = None,
        cache_directory: Path | None = None,
    ) -> None:
        from tokenizers import Tokenizer, __version__

        _check_fast(tokenizer)
        template = resolve_template(template, tokenizer)
        self._rule = find_rule(truncation)
        self.longest, self.embedded = longest, embedded
        self.special = special = find_special(tokenizer, template)
        definition = tokenizer.backend_tokenizer.to_str()
        plain = define_plain(definition, special, secrets.token_hex())
        self._plain: Tokenizer = Tokenizer.from_str(plain)
        self.prompt_tokens = make_prompt_tokens(template, tokenizer, special)
        _check_written(self.prompt_tokens)
        self.filling = find_filling(tokenizer, self.prompt_tokens, special, embedded)
        self._store: TokenStore | None = None
        if cache_directory is not None:
            key = fingerprint([VERSION, __version__, definition, sorted(special)])
            self._store = TokenStore(cache_directory / key)
        self._memory: tuple[list[bytes], Tokens] = ([], Tokens.from_rows([]))

    def encode(
        self,
        prompts: Sequence[Turns],
        responses_a: Sequence[Turns],
        responses_b: Sequence[Turns],
        *,
        max_length: int,
        swapped: bool = False,
        known: Sequence[str] | None = None,
    ) -> Tokens:
        """Give a row of ids for each battle.

        Parameters
        ----------
        prompts, responses_a, responses_b
            ``n`` lists of turns, the oldest first. A turn that is None, or that one of the three
            lists lacks, is an empty text; a battle without turns has one round of empty texts.
        max_length
            Most tokens of a row.
        swapped
            Whether A and B are exchanged.
        known
            ``n`` texts that stand before the first round, as they are; special tokens in them are
            plain text. Each takes at most a quarter of the row. None for none.

        Returns
        -------
        Tokens
            ``n`` rows; row ``i`` is battle ``i`` and depends on no other.

        Raises
        ------
        LearnerError
            The length does not hold the template's own text; or the model does not know a token.
        ValueError
            The three are not of the same length.
        """
        max_length = max_length if self.longest is None else min(max_length, self.longest)
        self._check_length(max_length)
        if swapped:
            responses_a, responses_b = responses_b, responses_a
        rounds = _number_texts(prompts, responses_a, responses_b)
        numbers = {text: number for number, text in enumerate(rounds.texts)}
        first = [numbers.setdefault(_to_utf8(text), len(numbers)) for text in known or ()]
        texts = self._tokenize(list(numbers))
        before = None if known is None else [texts.row(number) for number in first]
        rows = self._assemble(rounds, texts, max_length - self.prompt_tokens.around, before)
        self._check_known(rows)
        return rows

    def contrast(self) -> Tokens | None:
        """Give rows of one length that have the template alone in common; None for no room."""
        tokens, length = self.prompt_tokens, _CONTRAST
        if self.longest is not None:
            length = min(length, (self.longest - tokens.around - tokens.per_round) // 3)
        ids = np.arange(self.embedded or _DRAWN, dtype=np.int32)
        drawn = np.setdiff1d(ids, [*self.special.values()])
        if length < 1 or len(drawn) < 2:
            return None
        texts = np.random.default_rng(0).choice(drawn, (_CONTRASTS, 3, length))
        rows = Tokens.from_rows([tokens.row(*three) for three in texts])
        self._check_known(rows)
        return rows

    def _check_known(self, rows: Tokens) -> None:
        highest = int(rows.ids.max(initial=0))
        if self.embedded is None or highest < self.embedded:
            return
        names = {token: name for name, token in self.special.items()}
        name = names.get(highest, self._plain.id_to_token(highest))
        raise LearnerError(
            f"the tokenizer gives token {highest} ({name!r}), and the model knows "
            f"{self.embedded:,} tokens alone",
            hint="give the tokenizer that belongs to the weights, or weights whose embeddings were "
            "resized to it",
        )

    def _check_length(self, max_length: int) -> None:
        least = self.prompt_tokens.around + self.prompt_tokens.per_round
        if max_length < least:
            raise LearnerError(
                f"a length of {max_length} tokens does not hold the template's own text, which "
                f"takes {least} with a single round",
                hint=f"take a model with more positions: this one has {self.longest}"
                if max_length == self.longest
                else "raise the length: most battles want 1024 tokens or more",
            )

    def _tokenize(self, texts: Sequence[str]) -> Tokens:
        """Give a row of ids for each text; the texts differ from one another."""
        digests = [hashlib.blake2b(t.encode(), digest_size=DIGEST_BYTES).digest() for t in texts]
        numbers = {digest: number for number, digest in enumerate(digests)}
        rows: dict[int, NDArray[np.int32]] = {}
        for known, tokens in self._known():
            if len(rows) == len(texts):
                break
            for i, digest in enumerate(known):
                if (number := numbers.get(digest)) is not None:
                    rows[number] = tokens.row(i)
        missing = [number for number in range(len(texts)) if number not in rows]
        for chunk in _chunks(missing, texts):
            made = self._run_tokenizer([texts[number] for number in chunk])
            if self._store is not None:
                self._store.add([digests[number] for number in chunk], made)
            rows.update((number, made.row(i)) for i, number in enumerate(chunk))
        tokens = Tokens.from_rows([rows[number] for number in range(len(texts))])
        self._memory = digests, tokens
        return tokens

    def _known(self) -> Iterator[tuple[list[bytes], Tokens]]:
        yield self._memory
        if self._store is not None:
            yield from self._store.shards()

    def _run_tokenizer(self, texts: list[str]) -> Tokens:
        # The Rust side divides a batch among its threads.
        encodings = self._plain.encode_batch_fast(texts, add_special_tokens=False)
        return Tokens.from_rows([np.array(encoding.ids, dtype=np.int32) for encoding in encodings])

    def _assemble(
        self,
        rounds: _Rounds,
        texts: Tokens,
        budget: int,
        known: Sequence[NDArray[np.int32]] | None,
    ) -> Tokens:
        prompt_tokens = self.prompt_tokens
        before = (prompt_tokens.before_prompt, prompt_tokens.before_a, prompt_tokens.before_b)
        lengths = texts.lengths[rounds.parts].tolist()
        rows = []
        most = min(budget // 4, budget - prompt_tokens.per_round)
        for battle, (first, end) in enumerate(pairwise(rounds.bounds)):
            said = [] if known is None else [known[battle][:most]]
            room = budget - sum(map(len, said))
            cuts = self._rule(lengths[first:end], room, prompt_tokens.per_round)
            pieces = [prompt_tokens.start, *said]
            for parts, cut in zip(rounds.parts[end - len(cuts) : end], cuts, strict=True):
                for fixed, part, kept in zip(before, parts, cut, strict=True):
                    pieces += [fixed, *_keep(texts.row(part), kept)]
                pieces.append(prompt_tokens.after_round)
            rows.append(np.concatenate([*pieces, prompt_tokens.end]))
        return Tokens.from_rows(rows)


def find_rule(name: str) -> Rule:
    """Give the rule of a name.

    Raises
    ------
    UnknownNameError
        There is none; says which there are.
    """
    if name not in RULES:
        raise unknown_name("truncation rule", name, RULES)
    return RULES[name]


class _Rounds(NamedTuple):
    """Rounds of battles by the numbers of their texts.

    ``parts`` is ``(rounds, 3)`` int64, into ``texts``; battle ``i`` has the rounds from
    ``bounds[i]`` to ``bounds[i + 1]``.
    """

    texts: list[str]
    parts: NDArray[np.int64]
    bounds: list[int]


def _number_texts(
    prompts: Sequence[Turns], responses_a: Sequence[Turns], responses_b: Sequence[Turns]
) -> _Rounds:
    numbers: dict[str, int] = {}
    parts: list[list[int]] = []
    bounds = [0]
    for battle in zip(prompts, responses_a, responses_b, strict=True):
        for turns in list(zip_longest(*battle)) or [(None, None, None)]:
            clean = (_to_utf8(turn or "") for turn in turns)
            parts.append([numbers.setdefault(text, len(numbers)) for text in clean])
        bounds.append(len(parts))
    return _Rounds(list(numbers), np.array(parts, dtype=np.int64).reshape(-1, 3), bounds)


def _to_utf8(text: str) -> str:
    """Replace lone surrogates, which no tokenizer takes; what loads battles has done so before."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _chunks(numbers: Sequence[int], texts: Sequence[str]) -> Iterator[list[int]]:
    """Divide texts among chunks of about as many characters."""
    chunk: list[int] = []
    size = 0
    for number in numbers:
        chunk.append(number)
        size += len(texts[number])
        if size >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _keep(ids: NDArray[np.int32], cut: Cut) -> list[NDArray[np.int32]]:
    head, tail = cut
    return [ids[:head], ids[len(ids) - tail :]] if tail else [ids[:head]]


def _check_written(tokens: PromptTokens) -> None:
    if not tokens.around + tokens.per_round:
        raise LearnerError(
            "the template writes no token: a battle of empty texts would be a row of nothing",
            hint="write what parts the texts of a battle: before_a, before_b and end, for a start",
        )


def _check_fast(tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.is_fast:
        raise LearnerError(
            f"{type(tokenizer).__name__} is not a fast tokenizer: it runs in Python, one by one",
            hint="give a model with a tokenizer.json, which AutoTokenizer loads as a fast one",
        )
