"""Rows of generated battles: fresh ones, and ones made from an earlier row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from ensemble.datasets.text import (
    MODELS,
    Prompt,
    Response,
    draw_prompt,
    edit_prompt,
    write_response,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCES = ("target", "external", "test")
BENCHMARK_SOURCES = frozenset({"external", "other_prompts"})
"""Their prompts are a benchmark's; all others have people's."""
_ONCE_ASKED = BENCHMARK_SOURCES | {"test"}
"""Sources in which hardly a prompt is asked twice."""
PLANTED_KINDS = ("near_prompt", "same_prompt", "same_battle", "swap", "same_responses")
"""What a planted pair has in common: an edited prompt; the prompt; all; all, with the sides
exchanged; the responses under another prompt."""
MOST_ROWS = 10_000_000
"""Rows of one source must be fewer, or ids would meet those of another source or seed."""

_PLANTED_SHARE = 0.05
_SHARED_PROMPT_SHARE = 0.17
"""Of rows of a source where prompts are shared; with those they share with, about 30% of it."""
_WINDOW = 200
"""How far back a row looks for another of its own source: independent of the number of rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One battle: a prompt, two models' names and their responses, sides A and B."""

    id: str
    prompt: Prompt
    names: tuple[str, str]
    responses: tuple[Response, Response]


def draw_source(
    source: str,
    count: int,
    seed: int,
    others: Sequence[Sequence[Row]],
    planted: list[tuple[str, str, str]],
) -> list[Row]:
    """Draw a source's rows, each from its own generator, and note what was planted."""
    rows: list[Row] = []
    for index in range(count):
        # Seeding by a string hashes it with SHA-512: no dependence on PYTHONHASHSEED.
        rng = Random(f"{seed}/{source}/{index}")  # noqa: S311 - no secret is made
        battle_id = make_id(source, index, seed)
        kind, base = _draw_base(rng, source, rows, others)
        if base is None:
            prompt = draw_prompt(rng, benchmark=source in BENCHMARK_SOURCES)
            rows.append(_battle(rng, battle_id, prompt))
        else:
            rows.append(derive_row(rng, battle_id, kind, base))
            planted.append((battle_id, base.id, kind))
    return rows


def make_id(source: str, index: int, seed: int) -> str:
    """Make a row's id, which no other source and no other seed has."""
    if source not in SOURCES:
        return f"{source}-{seed}-{index}"
    return str(((seed + 1) * len(SOURCES) + SOURCES.index(source)) * MOST_ROWS + index)


def _draw_base(
    rng: Random, source: str, rows: Sequence[Row], others: Sequence[Sequence[Row]]
) -> tuple[str, Row | None]:
    """Decide whether a row is made from an earlier one, and how."""
    draw, place = rng.random(), rng.random()
    recent = rows[-_WINDOW:]
    if draw < _PLANTED_SHARE:
        kind = PLANTED_KINDS[int(rng.random() ** 1.5 * len(PLANTED_KINDS))]
        pools = [pool for pool in (recent, *others) if pool]
        pool = pools[int(rng.random() * len(pools))] if pools else ()
    else:
        asked_again = draw < _PLANTED_SHARE + _SHARED_PROMPT_SHARE
        shares = asked_again and source not in _ONCE_ASKED
        kind, pool = "same_prompt", recent if shares else ()
    return kind, pool[int(place * len(pool))] if pool else None


def derive_row(rng: Random, battle_id: str, kind: str, base: Row) -> Row:
    """Make a row that has with ``base`` in common what ``kind`` says."""
    (name_a, name_b), (a, b) = base.names, base.responses
    if kind == "near_prompt":
        return _battle(rng, battle_id, edit_prompt(rng, base.prompt))
    if kind == "same_prompt":
        return _battle(rng, battle_id, base.prompt)
    if kind == "same_battle":
        return Row(battle_id, base.prompt, base.names, base.responses)
    if kind == "swap":
        return Row(battle_id, base.prompt, (name_b, name_a), (b, a))
    prompt = draw_prompt(rng, benchmark=False, kind=base.prompt.kind, turns=len(a.turns))
    return Row(battle_id, prompt, base.names, base.responses)


def copy_row(rng: Random, battle_id: str, kind: str, base: Row) -> Row:
    """Copy a row: as it is, with the sides exchanged, or under an edited prompt."""
    if kind == "near_prompt":
        return replace(base, id=battle_id, prompt=edit_prompt(rng, base.prompt))
    return derive_row(rng, battle_id, kind, base)


def _battle(rng: Random, battle_id: str, prompt: Prompt) -> Row:
    """Let two different models answer; seldom they say the same."""
    one, other = rng.sample(MODELS, 2)
    a = write_response(rng, one, prompt)
    b = a if rng.random() < 0.01 else write_response(rng, other, prompt)
    return Row(battle_id, prompt, (one.name, other.name), (a, b))
