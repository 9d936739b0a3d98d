"""What of battles is compared: whole prompts, pairs of answers, and passages.

Answers are most of a table, so every text is normalized once, some rows at a time, and of answers
only digests and fingerprints are kept.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from ensemble.battles.fingerprints import letters
from ensemble.battles.masked import contains
from ensemble.battles.passage_keys import NUMBER, count_keys, gathered, numbers_of, with_numbers
from ensemble.battles.passages import PROMPT, WHOLE, Passages, joined_turns, keys_of, turns_of_cells
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.shingles import batches
from ensemble.battles.text_sizes import text_bytes
from ensemble.errors import DataError
from ensemble.memory import release_memory
from ensemble.processes import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.battles.shingles import Shingles

PROMPT_LETTERS = 30
"""Bytes of letters and digits that make a prompt a passage: some 38 characters of English."""
ANSWER_CHARACTERS = 195
"""Characters, after normalization, that make an answer a passage: 200 as it was typed."""
MIN_RESPONSE_CHARACTERS = 200
"""Characters that the two responses of a battle need together, after normalization, before another
battle with the same two counts as its duplicate. Two short answers ("Yes" and "No", two refusals
in stock phrases) are the same for unrelated prompts."""

_NUMBERED_TOGETHER = 4_096
"""Rows whose passages are numbered kind by kind: of equal ones the first is the one that counts."""
_KINDS = 8
_BYTES_AT_A_TIME = 8_000_000
"""Text that is normalized at one time, by each core."""


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
    keys
        ``(m,)`` their fingerprints, ascending, each once; see ``passage_keys``.
    """

    prompts: pl.DataFrame
    answers: pl.Series
    passages: Passages
    keys: Shingles


def read_compared(battles: pl.DataFrame) -> Compared:
    """Read every text once.

    Parameters
    ----------
    battles
        With ``TEXT_COLUMNS``.
    """
    with ThreadPoolExecutor(available_cores()) as pool:
        parts = list(pool.map(lambda rows: _read_slice(battles, rows), _slices(battles)))
    places = pl.concat([part.places for part in parts])
    _check_number(len(places))
    prompts = pl.concat([part.prompts for part in parts])
    answers = pl.concat([part.answers for part in parts])
    keys = [part.keys for part in parts]
    sizes = [len(part.places) for part in parts]
    del parts
    release_memory()  # that of the texts
    return Compared(prompts, answers, *_each_once(places, keys, sizes))


def _slices(battles: pl.DataFrame) -> Iterator[slice]:
    """Cut the rows by the bytes of their text; of none there is one slice."""
    yield from batches(text_bytes(battles), _BYTES_AT_A_TIME) if len(battles) else [slice(0, 0)]


def _check_number(passages: int) -> None:
    """Refuse more passages than a key has room to number: they would be taken for one another."""
    most = int(NUMBER)
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


def _read_slice(battles: pl.DataFrame, rows: slice) -> _Slice:
    cells, start = battles[rows], rows.start
    turns = [
        turns_of_cells(cells.select(turns=column).with_row_index("row")) for column in TEXT_COLUMNS
    ]
    whole = [joined_turns(column, len(cells)) for column in turns]
    found = [
        part
        for number, column in enumerate(zip(turns, whole, strict=True))
        for part in _passages_of(number, *column)
    ]
    silent = whole[PROMPT] == ""
    found += [
        _conversations(number, whole[number].filter(holds), holds)
        for number in range(PROMPT + 1, len(TEXT_COLUMNS))
        if (holds := silent | _holds_conversation(cells[TEXT_COLUMNS[number]])).any()
    ]
    sizes = np.cumsum([0, *(len(places) for places, _ in found)])
    keys = [
        with_numbers(keys, numbers_of(keys) + first)
        for (_, keys), first in zip(found, sizes, strict=False)
    ]
    moved = pl.col("row") + start
    places = pl.concat([places for places, _ in found]).with_columns(moved)
    prompts = _prompts(turns[PROMPT], whole[PROMPT]).with_columns(moved)
    return _Slice(prompts, _answer_keys(*whole), places, np.concatenate(keys))


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
) -> list[tuple[pl.DataFrame, Shingles]]:
    """Find the passages of a column: where they stand, and their fingerprints."""
    long = turns.filter(_is_long(turns["text"], number))
    rows = _several(turns)["row"]
    if number != PROMPT:  # all answers in one only where none is long enough by itself
        rows = rows.filter(~rows.is_in(long["row"].implode()))
    joined = pl.DataFrame(
        {
            "row": rows,
            "turn": pl.Series([WHOLE] * len(rows), dtype=pl.Int64),
            "text": whole.gather(rows),
        }
    )
    joined = joined.filter(_is_long(joined["text"], number))
    return [_placed(long, number, 2 * number), _placed(joined, number, 2 * number + 1)]


def _placed(
    texts: pl.DataFrame, number: int, kind: int, *, mark: str = ""
) -> tuple[pl.DataFrame, Shingles]:
    """Describe passages of a column by where they stand: ``row``, ``turn``, ``text``."""
    is_prompt = number == PROMPT or bool(mark)
    digests = [_digest(f"{mark}{text}") for text in texts["text"]]
    places = texts.select(
        "row",
        "turn",
        column=pl.lit(number),
        is_prompt=pl.lit(is_prompt),
        kind=pl.lit(kind),
        digest=pl.Series(digests, dtype=pl.Binary),
    )
    return places, keys_of(texts["text"], is_prompt)


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
    whole = pl.DataFrame({"row": rows.arg_true().cast(pl.Int64), "text": texts})
    long = whole.filter(_is_long(texts, PROMPT)).with_columns(turn=pl.lit(WHOLE, dtype=pl.Int64))
    # It is an answer as well, which is another passage.
    return _placed(long, number, _KINDS - len(TEXT_COLUMNS) + number, mark="\0")


def _is_long(texts: pl.Series, number: int) -> pl.Series:
    if number != PROMPT:
        return texts.str.len_chars() >= ANSWER_CHARACTERS
    return pl.Series(np.diff(letters(texts).offsets) >= PROMPT_LETTERS)


def _each_once(
    places: pl.DataFrame, keys: list[Shingles], sizes: list[int]
) -> tuple[Passages, Shingles]:
    """Keep the first of equal passages, with its fingerprints alone; ``keys`` is emptied."""
    numbered = places.with_row_index("place").sort(
        pl.col("row") // _NUMBERED_TOGETHER, "kind", maintain_order=True
    )
    stand = numbered.unique("digest", keep="first", maintain_order=True)
    first = stand.select("digest", passage=pl.int_range(pl.len(), dtype=pl.Int64))
    owners = numbered.join(first, on="digest", how="left", maintain_order="left")
    owned = owners.select("passage", "row").unique(maintain_order=True)
    new = np.full(len(places), -1, dtype=np.int64)
    new[stand["place"].to_numpy()] = np.arange(len(stand))
    found = gathered(keys, np.split(new, np.cumsum(sizes)[:-1]))
    row, column, turn = (
        stand[name].to_numpy().astype(np.int64) for name in ("row", "column", "turn")
    )
    counts = count_keys(found, len(stand))
    passages = Passages(row, column, turn, stand["is_prompt"].to_numpy(), owned, counts)
    return passages, found
