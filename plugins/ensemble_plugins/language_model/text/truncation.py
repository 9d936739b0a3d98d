"""What is cut where a battle is too long: rules over the lengths of its parts.

A battle is rounds, oldest first, each of three parts: prompt, response A, response B, of so many
tokens. A rule says how many tokens of the head and of the tail of every part are kept, of the last
rounds that are kept at all. Of every rule holds:

- With the overhead of each kept round, what is kept never exceeds the budget.
- Nothing is cut while everything fits.
- Rounds are dropped from the oldest on; the last round stays, whatever the budget.
- Exchanging A and B exchanges what is kept of them, exactly: no rule favours a side, not by one
  token. What cannot be divided evenly is left unused: less than a token for each part that is cut.
- Every part of the last round that is not empty keeps at least a token, if there is room for one
  of each.

Where the middle is cut nothing marks the gap: "..." would be read as the author's own, and each
mark would take tokens from the text.

Exported models take this file along: it knows no other of the toolkit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Cut = tuple[int, int]
"""Tokens kept of a part: so many of its head, so many of its tail. Together at most its length."""
RoundCut = tuple[Cut, Cut, Cut]
"""What is kept of prompt, response A and response B."""
Rule = Callable[[Sequence[Sequence[int]], int, int], list[RoundCut]]
"""Lengths ``(rounds, 3)``, oldest round first; the budget; the overhead of a round -> cuts of the
last rounds, oldest first. Budget and overhead are in tokens, and the budget pays for the overhead
of the rounds that are kept. A budget below the overhead of one round is a ``ValueError``, and so
is a battle without a round."""

SHARES = (1, 2, 2)
"""Prompt, A and B: 20, 40 and 40 percent (4th place)."""
LEAST_ROUND = 80
"""A round but the last is not worth its overhead with fewer tokens than these (4th place)."""
PROMPT_TOKENS = 256
"""Of a prompt beside long responses (1st place)."""


def truncate_left(lengths: Sequence[Sequence[int]], budget: int, overhead: int) -> list[RoundCut]:
    """Keep the last tokens (``"left"``): the oldest go first.

    Within a round the prompt is older than the responses, and these are of the same age: both lose
    their heads until they keep the same number of tokens, or the shorter is whole. (Cutting the
    text as it stands would take all of A before a token of B.) So of the round that is cut, each
    response keeps at least ``min(length, (room - 1) // 2)`` tokens, and more than one token of the
    prompt is kept only where both responses are whole. Rounds after it are whole, rounds before it
    are dropped. ``room`` is what later rounds and its overhead leave.
    """
    return _newest_first(lengths, budget, overhead, _keep_tails, least=1)


def cut_to_shares(lengths: Sequence[Sequence[int]], budget: int, overhead: int) -> list[RoundCut]:
    """Keep the newest rounds and cut one more (``"proportional"``), to 20, 40 and 40 percent.

    Rounds are taken whole, the newest first. The first that does not fit is cut to the room left
    for it, or dropped if that is under 80 tokens and it is not the last round; older ones are
    dropped. From 5 tokens on, a part of the round that is cut keeps at least its share,
    ``min(length, share * room // 5)`` with shares 1, 2 and 2; a part shorter than its share is
    whole, and what it does not use goes to the others by their shares. Heads are kept.
    """
    return _newest_first(lengths, budget, overhead, _keep_shares, least=LEAST_ROUND)


def drop_rounds(lengths: Sequence[Sequence[int]], budget: int, overhead: int) -> list[RoundCut]:
    """Drop the oldest rounds whole (``"rounds"``) until the others fit.

    Only a last round that is too long by itself is cut, as in ``cut_to_shares`` and with the same
    guarantee.
    """
    return _newest_first(lengths, budget, overhead, _keep_shares, least=None)


def cut_middles(lengths: Sequence[Sequence[int]], budget: int, overhead: int) -> list[RoundCut]:
    """Keep head and tail of every part (``"middle"``), all parts cut by the same factor.

    The oldest rounds are dropped while those kept do not fit and have under 80 tokens each, on
    average. Of ``total`` tokens of kept rounds and ``room`` for them, a part keeps at least
    ``length * (room - 3) // total`` tokens and at most ``length * room / total`` or, in the last
    round, one token. Of an odd number the head keeps the larger half.
    """
    _check(lengths, budget, overhead)
    for first in range(len(lengths)):
        kept = lengths[first:]
        parts = [length for round_ in kept for length in round_]
        room = budget - overhead * len(kept)
        if sum(parts) <= room:
            return [_whole(round_) for round_ in kept]
        if room >= LEAST_ROUND * len(kept) or len(kept) == 1:
            break
    shares = iter(_share_out(parts, parts, room, needy=range(len(parts) - 3, len(parts))))
    halves = (((n + 1) // 2, n // 2) for n in shares)
    return [(prompt, a, b) for prompt, a, b in zip(halves, halves, halves, strict=True)]


def cut_responses_equally(
    lengths: Sequence[Sequence[int]], budget: int, overhead: int
) -> list[RoundCut]:
    """Keep the newest rounds and cut one more (``"responses-equal"``), the responses alike.

    Rounds are chosen as in ``cut_to_shares``. Of the one that is cut the prompt keeps
    ``min(length, 256, room // 3)`` tokens (but one, where that is none and there is room for one of
    each part), or all that the responses leave where they are whole; the responses keep the same
    number of tokens, or the shorter is whole: at least ``min(length, (room - kept of prompt) //
    2)``. Heads are kept.
    """
    return _newest_first(lengths, budget, overhead, _keep_equal_responses, least=LEAST_ROUND)


RULES: dict[str, Rule] = {
    "left": truncate_left,
    "proportional": cut_to_shares,
    "rounds": drop_rounds,
    "middle": cut_middles,
    "responses-equal": cut_responses_equally,
}
"""Rules by the names that options use."""


def _newest_first(
    lengths: Sequence[Sequence[int]],
    budget: int,
    overhead: int,
    cut: Callable[[Sequence[int], int], RoundCut],
    *,
    least: int | None,
) -> list[RoundCut]:
    """Take rounds whole from the last on, and cut the first that does not fit.

    A round but the last is cut only where ``least`` tokens remain for its text; None never cuts it.
    """
    _check(lengths, budget, overhead)
    kept: list[RoundCut] = []
    for round_ in reversed(lengths):
        room = budget - overhead
        if sum(round_) <= room:
            kept.append(_whole(round_))
            budget = room - sum(round_)
            continue
        if not kept:
            kept.append(cut(round_, room))
        elif least is not None and room >= least:
            older = cut(round_, room)
            kept += [older] if any(map(any, older)) else []
        break
    return kept[::-1]


def _keep_tails(round_: Sequence[int], room: int) -> RoundCut:
    prompt, *responses = round_
    reserved = 1 if prompt and room >= _parts(round_) else 0
    a, b = _share_out(responses, (1, 1), room - reserved)
    if a + b == sum(responses):
        reserved = min(prompt, room - a - b)
    return (0, reserved), (0, a), (0, b)


def _keep_shares(round_: Sequence[int], room: int) -> RoundCut:
    prompt, a, b = _share_out(round_, SHARES, room, needy=range(3))
    return (prompt, 0), (a, 0), (b, 0)


def _keep_equal_responses(round_: Sequence[int], room: int) -> RoundCut:
    prompt, *responses = round_
    least = 1 if room >= _parts(round_) else 0
    kept = min(prompt, PROMPT_TOKENS, max(room // 3, least))
    a, b = _share_out(responses, (1, 1), room - kept)
    if a + b == sum(responses):
        kept = min(prompt, room - a - b)
    return (kept, 0), (a, 0), (b, 0)


def _share_out(
    lengths: Sequence[int], weights: Sequence[int], room: int, *, needy: Sequence[int] = ()
) -> list[int]:
    """Divide room by weights; a part shorter than its share leaves the rest to the others.

    Parts of the numbers ``needy`` that are not empty get at least a token, if room is for all of
    them. In integers throughout: equal parts get equal room, and no rounding favours any.
    """
    needy = [i for i in needy if lengths[i]]
    pinned: list[int] = []
    while True:
        rest = [0 if i in pinned else length for i, length in enumerate(lengths)]
        kept = _fill(rest, weights, room - len(pinned))
        starved = [i for i in needy if not kept[i] and i not in pinned]
        if not starved or room < len(needy):
            return [1 if i in pinned else n for i, n in enumerate(kept)]
        pinned += starved


def _fill(lengths: Sequence[int], weights: Sequence[int], room: int) -> list[int]:
    """Divide room by weights among parts of these lengths, rounded down."""
    kept = [0] * len(lengths)
    cut = [i for i, length in enumerate(lengths) if length]
    while cut:
        total = sum(weights[i] for i in cut)
        whole = [i for i in cut if lengths[i] * total <= weights[i] * room]
        if not whole:
            for i in cut:
                kept[i] = weights[i] * room // total
            break
        for i in whole:
            kept[i] = lengths[i]
            room -= lengths[i]
        cut = [i for i in cut if i not in whole]
    return kept


def _whole(round_: Sequence[int]) -> RoundCut:
    prompt, a, b = round_
    return (prompt, 0), (a, 0), (b, 0)


def _parts(round_: Sequence[int]) -> int:
    return sum(1 for length in round_ if length)


def _check(lengths: Sequence[Sequence[int]], budget: int, overhead: int) -> None:
    if not lengths or budget < overhead:
        raise ValueError(
            f"{len(lengths)} rounds in {budget} tokens: there must be one, and room for its "
            f"overhead of {overhead}"
        )
