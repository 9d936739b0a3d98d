"""Prompts and responses of generated battles: text whose quality and shape are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ensemble.datasets.words import (
    ADJECTIVES,
    BENCHMARKS,
    CODE,
    DETAILS,
    EMOJI,
    FILLERS,
    FOLLOW_UPS,
    FOREIGN,
    INSIGHT,
    NEUTRAL,
    PROMPTS,
    REFUSALS,
    SLIPS,
    SYLLABLES,
    TOPICS,
    VAGUE,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

SHINGLE = 5
"""Characters in a shingle, for the similarity that planted near duplicates keep."""
NEAR_SIMILARITY = 0.85
"""Least Jaccard similarity of an edited prompt's first turn to its original."""

_TOPIC_NAMES = tuple(TOPICS)
_KINDS = ("code", "chat", "facts", "facts", "writing", "writing", "code", "chat", "language")
_BENCHMARK_KINDS = tuple(BENCHMARKS)
_VALUES = {"insight": 1.0, "neutral": 0.0, "vague": -0.5, "slip": -1.2}


@dataclass(frozen=True, slots=True)
class Model:
    """How an imaginary model writes; shares are per sentence, except where said."""

    name: str
    skill: float
    """Mean share of sentences that help, in [0, 1]."""
    slips: float
    """Share of sentences that are wrong."""
    sentences: float
    """Typical number of sentences of a turn."""
    bullets: float
    """Share of turns written as a list."""
    code: float
    """Share of turns on programming that show code."""
    refusals: float
    """Share of responses that refuse."""
    emoji: float
    """Share of turns that end in an emoji."""


MODELS: tuple[Model, ...] = (
    Model("aster-70b", 0.55, 0.02, 9, 0.55, 0.95, 0.005, 0.05),
    Model("birch-34b", 0.48, 0.03, 11, 0.70, 0.90, 0.010, 0.00),
    Model("cedar-chat", 0.45, 0.04, 6, 0.20, 0.80, 0.020, 0.30),
    Model("dahlia-2", 0.42, 0.04, 8, 0.40, 0.70, 0.060, 0.00),
    Model("elm-13b", 0.36, 0.06, 7, 0.30, 0.75, 0.020, 0.02),
    Model("fern-mini", 0.32, 0.08, 4, 0.10, 0.60, 0.010, 0.10),
    Model("gorse-13b", 0.30, 0.08, 10, 0.50, 0.50, 0.030, 0.00),
    Model("hazel-7b", 0.25, 0.11, 6, 0.25, 0.50, 0.050, 0.05),
    Model("iris-safe", 0.28, 0.06, 5, 0.15, 0.40, 0.150, 0.00),
    Model("juniper-6b", 0.18, 0.16, 5, 0.10, 0.35, 0.020, 0.15),
    Model("kelp-3b", 0.13, 0.22, 4, 0.05, 0.20, 0.010, 0.00),
    Model("larch-base", 0.08, 0.28, 8, 0.02, 0.15, 0.000, 0.00),
)
"""The competitors, roughly from strong to weak; part of the world that no seed changes."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The turns of one user, with what they are about."""

    kind: str
    topic: str
    nouns: tuple[str, ...]
    turns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """The turns of one model, with what the label rules look at."""

    turns: tuple[str | None, ...]
    quality: float
    """Mean worth of a sentence: 1 helps, 0 neutral, negative harms."""
    chars: int
    bullets: bool
    code: bool
    refused: bool


def pick(rng: Random, items: Sequence[str]) -> str:
    """Draw one item; cheaper than ``Random.choice``, which matters over a million sentences."""
    return items[int(rng.random() * len(items))]


def draw_prompt(
    rng: Random, *, benchmark: bool, kind: str | None = None, turns: int | None = None
) -> Prompt:
    """Draw a prompt of a person, or of a benchmark, on one topic."""
    kind = kind or pick(rng, _BENCHMARK_KINDS if benchmark else _KINDS)
    topic = pick(rng, _TOPIC_NAMES)
    nouns = tuple(rng.sample(TOPICS[topic], 4))
    forms = BENCHMARKS.get(kind, PROMPTS[kind]) if benchmark else PROMPTS[kind]
    first = _fill(rng, pick(rng, forms), nouns)
    if rng.random() < 0.6 or (len(first) < 100 and kind != "chat"):
        first += _fill(rng, pick(rng, DETAILS), rng.sample(TOPICS[topic], 4))
    count = turns or (1 if rng.random() < 0.8 else 2 + int(rng.random() < 0.3))
    later = [_fill(rng, pick(rng, FOLLOW_UPS), nouns) for _ in range(count - 1)]
    return Prompt(kind, topic, nouns, (first, *later))


def write_response(rng: Random, model: Model, prompt: Prompt) -> Response:
    """Let a model answer every turn of a prompt; seldom with nothing at all."""
    if rng.random() < 0.004:
        return Response(tuple("" for _ in prompt.turns), 0.0, 0, False, False, False)
    if rng.random() < model.refusals:
        return _refuse(rng, prompt)
    # One battle goes better than another for the same model.
    level = min(0.95, max(0.0, model.skill + rng.gauss(0.0, 0.2)))
    code = prompt.kind == "code" and rng.random() < model.code
    bullets = rng.random() < model.bullets
    turns: list[str | None] = []
    values: list[float] = []
    for _ in prompt.turns:
        sentences = _write_sentences(rng, model, prompt, level, values)
        turns.append(_lay_out(rng, sentences, prompt, bullets=bullets, code=code))
        if rng.random() < model.emoji:
            turns[-1] = f"{turns[-1]} {pick(rng, EMOJI)}"
    if rng.random() < 0.006:
        turns[int(rng.random() * len(turns))] = None
    chars = sum(len(turn or "") for turn in turns)
    return Response(tuple(turns), sum(values) / len(values), chars, bullets, code, False)


def edit_prompt(rng: Random, prompt: Prompt) -> Prompt:
    """Insert words in the first turn, as many as keep it a near duplicate of the original."""
    first = prompt.turns[0]
    for count in (4, 3, 2, 1):
        words = first.split(" ")
        for _ in range(count):
            words.insert(1 + int(rng.random() * (len(words) - 1)), pick(rng, FILLERS))
        edited = " ".join(words)
        if jaccard(first, edited) >= NEAR_SIMILARITY:
            return replace(prompt, turns=(edited, *prompt.turns[1:]))
    # Too short for a word more.
    return replace(prompt, turns=(f"{first}!", *prompt.turns[1:]))


def jaccard(left: str, right: str) -> float:
    """Jaccard similarity of two texts' sets of character shingles, in [0, 1]."""
    one, other = _shingles(left), _shingles(right)
    return len(one & other) / len(one | other)


def _shingles(text: str) -> set[str]:
    return {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}


def _fill(rng: Random, form: str, nouns: Sequence[str]) -> str:
    name = "".join(pick(rng, SYLLABLES) for _ in range(3)).capitalize()
    return form.format(*nouns, pick(rng, ADJECTIVES), 2 + int(rng.random() * 1998), name)


def _refuse(rng: Random, prompt: Prompt) -> Response:
    turns = tuple(pick(rng, REFUSALS).format(pick(rng, prompt.nouns)) for _ in prompt.turns)
    return Response(turns, 0.0, sum(map(len, turns)), False, False, True)


def _write_sentences(
    rng: Random, model: Model, prompt: Prompt, level: float, values: list[float]
) -> list[str]:
    """Write one turn's sentences and append the worth of each to ``values``."""
    count = max(1, round(model.sentences * math.exp(rng.gauss(0.0, 0.45))))
    thresholds = (model.slips, model.slips + level, model.slips + level + (1 - level) * 0.3)
    sentences = []
    for _ in range(count):
        sort = _draw_sort(rng.random(), thresholds)
        values.append(_VALUES[sort])
        sentences.append(_write_sentence(rng, prompt, sort))
    return sentences


def _draw_sort(draw: float, thresholds: tuple[float, float, float]) -> str:
    slip, insight, vague = thresholds
    if draw < slip:
        return "slip"
    if draw < insight:
        return "insight"
    return "vague" if draw < vague else "neutral"


def _write_sentence(rng: Random, prompt: Prompt, sort: str) -> str:
    if sort == "slip":
        away = TOPICS[pick(rng, _TOPIC_NAMES)]
        return pick(rng, SLIPS).format(pick(rng, away), pick(rng, away), "", rng.getrandbits(10))
    if sort == "neutral" and prompt.kind == "language":
        return pick(rng, FOREIGN).format(pick(rng, prompt.nouns), pick(rng, prompt.nouns))
    forms = {"insight": INSIGHT, "vague": VAGUE, "neutral": NEUTRAL}[sort]
    around = TOPICS[prompt.topic]
    return pick(rng, forms).format(
        pick(rng, prompt.nouns), pick(rng, prompt.nouns), pick(rng, around), rng.getrandbits(10)
    )


def _lay_out(
    rng: Random, sentences: list[str], prompt: Prompt, *, bullets: bool, code: bool
) -> str:
    """Put sentences together, as a list or a paragraph, with code where asked."""
    if bullets and len(sentences) > 2:
        head, *items = sentences
        text = "\n".join([f"**{prompt.nouns[0].capitalize()}**: {head}", "", *_items(items)])
    else:
        text = " ".join(sentences)
    if code:
        text += "\n\n" + CODE.format(*prompt.nouns[:3], rng.getrandbits(8))
    return text


def _items(sentences: list[str]) -> list[str]:
    return [f"- {sentence}" for sentence in sentences]
