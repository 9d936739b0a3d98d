"""Who wins a generated battle: the true label distribution, known from how the text was made.

People (target and test) follow Davidson's model of paired comparisons with ties (R. R. Davidson,
"On extending the Bradley-Terry model to accommodate ties in paired comparison experiments", JASA
1970): ``p ∝ (exp(d/2), exp(-d/2), nu)`` for a difference ``d`` of utilities. What counts depends on
the kind of prompt, so that no fixed linear mix of "better text" and "longer text" is right
everywhere. The external judge follows a plain Bradley-Terry model of length and formatting.

Judges of generated sources: one follows the taste of people but may not call a tie; one likes
length and formatting and calls ties as people do; one does not read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensemble.datasets.text import Prompt, Response

POSITION_BIAS = 0.15
"""Advantage of side A with people, in utility."""

_TYPICAL_CHARS = 450.0
_REFUSAL, _NOTHING = -2.0, -5.0
_TIE, _TIE_IF_SAME, _TIE_IF_BOTH_FAIL = 0.1, 2.5, 1.5
_POLISH_TIE = 0.0


@dataclass(frozen=True, slots=True)
class _Taste:
    """What a unit of each is worth to people with one kind of prompt."""

    quality: float
    length: float
    bullets: float = 0.0
    code: float = 0.0


_TASTES = {
    "code": _Taste(quality=1.5, length=0.2, code=1.6),
    "chat": _Taste(quality=0.6, length=-1.8, bullets=-1.0),
    "facts": _Taste(quality=3.4, length=0.4, bullets=0.6),
    "writing": _Taste(quality=2.2, length=1.4, bullets=-0.6),
    "language": _Taste(quality=3.4, length=0.0),
}

Distribution = tuple[float, float, float]
"""Probabilities in ``CLASSES`` order."""


def judge_as_people(prompt: Prompt, a: Response, b: Response) -> Distribution:
    """Give the probabilities that A wins, B wins, or neither, with people as judges."""
    gap = _utility(prompt, a) - _utility(prompt, b) + POSITION_BIAS
    if a.turns == b.turns:
        gap, tie = POSITION_BIAS, _TIE_IF_SAME
    else:
        tie = _TIE_IF_BOTH_FAIL if _failed(a) and _failed(b) else _TIE
    return _softmax(gap / 2, -gap / 2, tie)


def judge_as_benchmark(a: Response, b: Response) -> Distribution:
    """Give the same for the external judge, who knows no tie: longer and more formatted wins."""
    win = 1.0 / (1.0 + math.exp(_polish(b) - _polish(a)))
    return win, 1.0 - win, 0.0


def judge_without_ties(prompt: Prompt, a: Response, b: Response) -> Distribution:
    """Give the same for people who may not call a tie.

    By Luce's choice axiom (R. D. Luce, "Individual Choice Behavior", 1959) taking a choice away
    leaves the odds of the others as they were. So at each battle the log odds differ from people's
    by a constant for each class, which is what an offset for the label shares stands for.
    """
    win, loss, _ = judge_as_people(prompt, a, b)
    return win / (win + loss), loss / (win + loss), 0.0


def judge_by_polish(a: Response, b: Response) -> Distribution:
    """Give the same for a judge of length and formatting who calls ties about as people do."""
    gap = _polish(a) - _polish(b) + POSITION_BIAS
    return _softmax(gap / 2, -gap / 2, _TIE_IF_SAME if a.turns == b.turns else _POLISH_TIE)


def _utility(prompt: Prompt, response: Response) -> float:
    if response.chars == 0:
        return _NOTHING
    if response.refused:
        return _REFUSAL
    taste = _TASTES[prompt.kind]
    return (
        taste.quality * response.quality
        + taste.length * _length(response, prompt)
        + taste.bullets * response.bullets
        + taste.code * response.code
    )


def _polish(response: Response) -> float:
    if response.chars == 0:
        return _NOTHING
    length = math.log(response.chars / _TYPICAL_CHARS)
    return 1.5 * length + 1.0 * response.bullets + 0.5 * response.code


def _length(response: Response, prompt: Prompt) -> float:
    return math.log(response.chars / len(prompt.turns) / _TYPICAL_CHARS)


def _failed(response: Response) -> bool:
    return response.refused or response.chars == 0


def _softmax(*logits: float) -> Distribution:
    top = max(logits)
    a, b, tie = (math.exp(logit - top) for logit in logits)
    total = a + b + tie
    return a / total, b / total, tie / total
