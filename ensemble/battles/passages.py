"""What of battles is compared: whole prompts, pairs of answers, and passages.

A *passage* is a prompt's turn, a whole prompt of several turns, or an answer, where it is long
enough to be told again. An answer that holds a conversation, as some sources have it, is one like a
prompt too. Answers are most of a table, so every text is normalized once, a slice of
rows at a time, and of answers only digests and fingerprints are kept. The text of a passage is read
again where two have to be compared.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from ensemble.battles.fingerprints import fingerprints, letters
from ensemble.battles.normalization import contains, normalized
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.errors import DataError
from ensemble.processes import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ensemble.battles.shingles import Integers, Shingles

PROMPT = 0
"""The number of the prompt among ``TEXT_COLUMNS``."""
PROMPT_LETTERS = 30
"""Bytes of letters and digits that make a prompt a passage: some 38 characters of English."""
ANSWER_CHARACTERS = 195
"""Characters, after normalization, that make an answer a passage: 200 as it was typed."""
MIN_RESPONSE_CHARACTERS = 200
"""Characters that the two responses of a battle need together, after normalization, before another
battle with the same two counts as its duplicate. Two short answers ("Yes" and "No", two refusals
in stock phrases) are the same for unrelated prompts."""
PROMPT_ONE_IN, ANSWER_ONE_IN = 3, 16
"""About one gram in so many is a fingerprint."""
NUMBER_BITS = 24
"""A fingerprint and the number of its passage share 64 bits."""

_NUMBER = np.uint64((1 << NUMBER_BITS) - 1)
_WHOLE = -1
_ROWS_AT_A_TIME = 4_096
_KEYS_AT_A_TIME = 1 << 20
_ONES = np.uint64((1 << 64) - 1)


@dataclass(frozen=True)
class Passages:
    """``n`` different passages.

    Parameters
    ----------
    rows, columns, turns
        ``(n,)`` where each stands first: the row, the number of the column, and the turn (-1 for
        all turns in one).
    is_prompt
        ``(n,)`` whether it is a prompt, or an answer that holds one.
    owners
        ``passage`` and ``row`` of every place where one stands, each once.
    keys
        ``(m,)`` ascending, each once: a fingerprint (40 bits) and the passage that has it (24).
    """

    rows: Integers
    columns: Integers
    turns: Integers
    is_prompt: NDArray[np.bool_]
    owners: pl.DataFrame
    keys: Shingles

    def __len__(self) -> int:
        """Say how many there are."""
        return len(self.rows)

    @cached_property
    def counts(self) -> Integers:
        """How many fingerprints each passage has: ``(n,)``."""
        counts = np.zeros(len(self), dtype=np.int64)
        for keys in self._parts():
            counts += np.bincount((keys & _NUMBER).astype(np.int64), minlength=len(self))
        return counts

    @property
    def letters(self) -> Integers:
        """About how many letters and digits each has, from how many fingerprints: ``(n,)``."""
        return np.where(self.is_prompt, PROMPT_ONE_IN, ANSWER_ONE_IN) * self.counts

    def _parts(self) -> Iterator[Shingles]:
        for start in range(0, len(self.keys), _KEYS_AT_A_TIME):
            yield self.keys[start : start + _KEYS_AT_A_TIME]

    def fingerprints_of(self, wanted: NDArray[np.bool_]) -> tuple[Shingles, Integers]:
        """Give the fingerprints of some passages, passage by passage.

        Parameters
        ----------
        wanted
            ``(n,)`` mask.

        Returns
        -------
        tuple
            ``(k,)`` fingerprints, ascending within each passage; and ``(n + 1,)`` offsets into it.
        """
        kept = [part[wanted[(part & _NUMBER).astype(np.int64)]] for part in self._parts()]
        keys = np.concatenate([np.empty(0, dtype=np.uint64), *kept])
        bits = np.uint64(NUMBER_BITS)
        turned = ((keys & _NUMBER) << (np.uint64(64) - bits)) | (keys >> bits)
        turned.sort()
        number = turned >> (np.uint64(64) - bits)
        offsets = np.searchsorted(number, np.arange(len(self) + 1, dtype=np.uint64))
        return turned & (_ONES >> bits), offsets

    def texts(self, battles: pl.DataFrame, wanted: Integers) -> pl.Series:
        """Read the normalized texts of some passages again.

        Parameters
        ----------
        battles
            The table that they were found in.
        wanted
            Numbers of passages, ``(k,)``.
        """
        texts = pl.Series("text", [""] * len(wanted), dtype=pl.String)
        for number, column in enumerate(TEXT_COLUMNS):
            place = np.flatnonzero(self.columns[wanted] == number)
            if len(place):
                cells = battles.select(turns=pl.col(column).gather(self.rows[wanted[place]]))
                turns = _turns(cells.with_row_index("row"))
                whole = _joined(turns, len(place))
                one = pl.DataFrame(
                    {"row": np.arange(len(place)), "turn": self.turns[wanted[place]]}
                )
                found = one.join(turns, on=["row", "turn"], how="left", maintain_order="left")
                texts = texts.scatter(
                    place, found.select(pl.col("text").fill_null(whole)).to_series()
                )
        return texts


class Compared(NamedTuple):
    """What of ``n`` battles is compared.

    Parameters
    ----------
    prompts
        ``row``, ``opening`` (whether it is the first of several turns) and ``text`` of every whole
        prompt and every opening turn, normalized, in the order of the rows.
    answers
        ``(n,)`` a digest of the two answers in either order; null where they are too short. Without
        a prompt short ones count too, among themselves: there the answers are all that a battle is,
        and it must not be parted from its own A/B swap.
    passages
        All passages.
    """

    prompts: pl.DataFrame
    answers: pl.Series
    passages: Passages


def read_compared(battles: pl.DataFrame) -> Compared:
    """Read every text once.

    Parameters
    ----------
    battles
        With ``TEXT_COLUMNS``.
    """
    starts = range(0, max(len(battles), 1), _ROWS_AT_A_TIME)
    with ThreadPoolExecutor(available_cores()) as pool:
        parts = list(pool.map(lambda start: _read_slice(battles, start), starts))
    places = pl.concat([part.places for part in parts])
    _check_number(len(places))
    counts = np.array([len(part.places) for part in parts])
    keys = _numbered([part.keys for part in parts], np.cumsum(counts) - counts)
    prompts = pl.concat([part.prompts for part in parts])
    answers = pl.concat([part.answers for part in parts])
    del parts  # its keys are most of what is in memory
    return Compared(prompts, answers, _each_once(places, keys))


def _check_number(passages: int) -> None:
    """Refuse more passages than a key has room to number: they would be taken for one another."""
    most = int(_NUMBER)
    if passages > most:
        raise DataError(
            f"{passages:,} prompts and answers are more than the {most:,} that can be compared",
            hint="leave sources out, or take a share of their rows beforehand",
        )


class _Slice(NamedTuple):
    """A slice's part; ``keys`` count its own passages from 0."""

    prompts: pl.DataFrame
    answers: pl.Series
    places: pl.DataFrame
    keys: Shingles


def _read_slice(battles: pl.DataFrame, start: int) -> _Slice:
    cells = battles.slice(start, _ROWS_AT_A_TIME)
    turns = [_turns(cells.select(turns=column).with_row_index("row")) for column in TEXT_COLUMNS]
    whole = [_joined(column, len(cells)) for column in turns]
    found = [
        _passages_of(number, *column)
        for number, column in enumerate(zip(turns, whole, strict=True))
    ]
    silent = whole[PROMPT] == ""
    found += [
        _conversations(number, whole[number].filter(rows), rows)
        for number in range(PROMPT + 1, len(TEXT_COLUMNS))
        if (rows := silent | _holds_conversation(cells[TEXT_COLUMNS[number]])).any()
    ]
    sizes = np.cumsum([0, *(len(places) for places, _ in found)])
    keys = _numbered([keys for _, keys in found], sizes[:-1])
    places = pl.concat([places for places, _ in found]).with_columns(pl.col("row") + start)
    prompts = _prompts(turns[PROMPT], whole[PROMPT]).with_columns(pl.col("row") + start)
    return _Slice(prompts, _answer_keys(*whole), places, keys)


_TURNS = {"row": pl.Int64(), "turn": pl.Int64(), "text": pl.String()}


def _turns(cells: pl.DataFrame) -> pl.DataFrame:
    """Normalize every turn that is not null: ``row``, ``turn``, ``text``."""
    numbered = cells.select(
        pl.col("row").cast(pl.Int64), "turns", turn=pl.int_ranges(pl.col("turns").list.len())
    )
    each = numbered.explode("turns", "turn", empty_as_null=False, keep_nulls=False)
    found = each.drop_nulls("turns").select("row", "turn", text=normalized(pl.col("turns")))
    return found.cast(_TURNS)  # type: ignore[arg-type]  # of no rows the types are not known


def _joined(turns: pl.DataFrame, rows: int) -> pl.Series:
    """Join the turns of each row; one without any is empty."""
    texts = turns.filter(pl.col("text") != "").group_by("row").agg(pl.col("text").str.join(" "))
    every = pl.DataFrame({"row": np.arange(rows, dtype=np.int64)})
    found = every.join(texts, on="row", how="left", maintain_order="left")
    return found["text"].fill_null("")


def _several(turns: pl.DataFrame) -> pl.DataFrame:
    """Keep the first turn of each row that has several."""
    first = turns.group_by("row", maintain_order=True).agg(pl.col("text").first(), count=pl.len())
    return first.filter(pl.col("count") > 1)


def _prompts(turns: pl.DataFrame, whole: pl.Series) -> pl.DataFrame:
    rows = pl.Series(np.arange(len(whole), dtype=np.int64))
    all_ = pl.DataFrame({"row": rows, "text": whole}).select(
        "row", opening=pl.lit(value=False), text="text"
    )
    openings = _several(turns).select("row", opening=pl.lit(value=True), text="text")
    both = pl.concat([all_, openings]).filter(pl.col("text") != "")
    return both.sort("row", "opening")


def _answer_keys(prompt: pl.Series, a: pl.Series, b: pl.Series) -> pl.Series:
    texts = pl.DataFrame({"prompt": prompt, "a": a, "b": b})
    length = pl.col("a").str.len_chars() + pl.col("b").str.len_chars()
    ordered = pl.when(pl.col("a") <= pl.col("b")).then(pl.concat_str("a", "b", separator="\0"))
    pairs = ordered.otherwise(pl.concat_str("b", "a", separator="\0"))
    # What is not there at all is no evidence.
    only_answers = pl.when((pl.col("prompt") == "") & (length > 0)).then(pl.lit("\0\0") + pairs)
    enough = length >= MIN_RESPONSE_CHARACTERS
    content = texts.select(pl.when(enough).then(pairs).otherwise(only_answers)).to_series()
    digests = [None if pair is None else _digest(pair) for pair in content]
    return pl.Series("key", digests, dtype=pl.Binary)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _passages_of(
    number: int, turns: pl.DataFrame, whole: pl.Series
) -> tuple[pl.DataFrame, Shingles]:
    """Find the passages of a column: where they stand, and their fingerprints."""
    long = turns.filter(_is_long(turns["text"], number))
    rows = _several(turns)["row"]
    if number != PROMPT:  # all answers in one only where none is long enough by itself
        rows = rows.filter(~rows.is_in(long["row"].implode()))
    joined = pl.DataFrame(
        {
            "row": rows,
            "turn": pl.Series([_WHOLE] * len(rows), dtype=pl.Int64),
            "text": whole.gather(rows),
        }
    )
    places = pl.concat([long, joined.filter(_is_long(joined["text"], number))])
    is_prompt = number == PROMPT
    found = places.with_columns(column=pl.lit(number), is_prompt=pl.lit(is_prompt))
    digests = pl.Series([_digest(text) for text in places["text"]], dtype=pl.Binary)
    one_in = PROMPT_ONE_IN if is_prompt else ANSWER_ONE_IN
    return found.drop("text").with_columns(digest=digests), _keys(places["text"], one_in)


def _keys(texts: pl.Series, one_in: int) -> Shingles:
    """Give the fingerprints of passages, each with the number of its passage."""
    found = fingerprints(letters(texts), one_in)
    bits = np.uint64(NUMBER_BITS)
    return ((found.hashes >> bits) << bits) | found.text.astype(np.uint64)


_PERSON = r"(?:human|user|instruction)(?: ?\d{1,3})?[*_\])]* *:"
_TOKENS = (
    r"<\|[^<>|\n]{0,20}user[^<>|\n]{0,20}\|>|<start_of_turn>\s*user|\[INST\]"
    r"|[\"']role[\"']\s*:\s*[\"'](?:user|human)"
)
_CONVERSATION = rf"(?mi)^[ \t#>*_\[(-]*\b{_PERSON}|{_TOKENS}"
"""What stands before what a person says, where a whole conversation is written as one answer."""
_MAYBE_CONVERSATION = rf"(?i){_PERSON}|{_TOKENS}"
"""The same anywhere in a line: which of the texts to look at more closely, ten times as fast."""


def _holds_conversation(answers: pl.Series) -> pl.Series:
    """Say which answers, as they were typed, hold what a person has said too."""
    typed = answers.list.join("\n", ignore_nulls=True)
    return contains(typed, _CONVERSATION, only=_MAYBE_CONVERSATION)


def _conversations(number: int, texts: pl.Series, rows: pl.Series) -> tuple[pl.DataFrame, Shingles]:
    """Take whole answers as passages like prompts, which may stand in them."""
    places = pl.DataFrame({"row": rows.arg_true().cast(pl.Int64), "text": texts})
    places = places.filter(_is_long(places["text"], PROMPT))
    # It is an answer as well, which is another passage.
    digests = [_digest(f"\0{text}") for text in places["text"]]
    found = places.select(
        "row",
        turn=pl.lit(_WHOLE, dtype=pl.Int64),
        column=pl.lit(number),
        is_prompt=pl.lit(value=True),
        digest=pl.Series(digests, dtype=pl.Binary),
    )
    return found, _keys(places["text"], PROMPT_ONE_IN)


def _is_long(texts: pl.Series, number: int) -> pl.Series:
    if number != PROMPT:
        return texts.str.len_chars() >= ANSWER_CHARACTERS
    return pl.Series(np.diff(letters(texts).offsets) >= PROMPT_LETTERS)


def _numbered(parts: list[Shingles], firsts: Integers) -> Shingles:
    """Count the passages of one part after those of the part before."""
    moved = [keys + np.uint64(first) for keys, first in zip(parts, firsts, strict=True)]
    return np.concatenate([np.empty(0, dtype=np.uint64), *moved])


def _each_once(places: pl.DataFrame, keys: Shingles) -> Passages:
    """Keep the first of equal passages, with its fingerprints alone."""
    numbered = places.with_row_index("place")
    first = numbered.group_by("digest", maintain_order=True).agg(pl.col("place").first())
    first = first.with_row_index("passage").cast({"passage": pl.Int64, "place": pl.Int64})
    owners = numbered.join(first, on="digest", how="left", maintain_order="left")
    new = np.full(len(places), _NUMBER, dtype=np.uint64)
    new[first["place"]] = first["passage"]
    number = new[(keys & _NUMBER).astype(np.int64)]
    kept = ((keys & ~_NUMBER) | number)[number < _NUMBER]
    del keys, number
    kept.sort()
    if len(kept):
        kept = kept[np.append(True, kept[1:] != kept[:-1])]
    stand = places[first["place"]]
    row, column, turn = (
        stand[name].to_numpy().astype(np.int64) for name in ("row", "column", "turn")
    )
    owned = owners.select("passage", "row").unique(maintain_order=True)
    return Passages(row, column, turn, stand["is_prompt"].to_numpy(), owned, kept)
