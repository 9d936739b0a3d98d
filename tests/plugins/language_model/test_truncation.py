from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ensemble import errors
from ensemble_plugins.language_model.text.tokenization import find_rule
from ensemble_plugins.language_model.text.truncation import (
    LEAST_ROUND,
    PROMPT_TOKENS,
    RULES,
    RoundCut,
)

Lengths = list[tuple[int, int, int]]

PART = st.one_of(st.integers(0, 4), st.integers(0, 60), st.integers(0, 1200))
BATTLES: st.SearchStrategy[Lengths] = st.lists(st.tuples(PART, PART, PART), min_size=1, max_size=6)
ROOM = st.one_of(st.integers(0, 12), st.integers(0, 400), st.integers(0, 4000))
SCAFFOLD = st.integers(0, 40)
every_rule = pytest.mark.parametrize("name", sorted(RULES))


def _apply(name: str, lengths: Lengths, room: int, overhead: int) -> list[RoundCut]:
    return find_rule(name)(lengths, room + overhead, overhead)


def _kept(cuts: Sequence[RoundCut]) -> Lengths:
    return [(sum(p), sum(a), sum(b)) for p, a, b in cuts]


def _total(lengths: Lengths) -> int:
    return sum(map(sum, lengths))


@every_rule
@given(lengths=BATTLES, room=ROOM, overhead=SCAFFOLD)
@example(lengths=[(9, 9, 9)] * 6, room=5, overhead=0)
def test_no_rule_exceeds_the_budget_or_a_part(
    name: str, lengths: Lengths, room: int, overhead: int
) -> None:
    cuts = _apply(name, lengths, room, overhead)
    assert 1 <= len(cuts) <= len(lengths)
    assert _total(_kept(cuts)) + overhead * len(cuts) <= room + overhead
    for kept, length in zip(cuts, lengths[-len(cuts) :], strict=True):
        for (head, tail), whole in zip(kept, length, strict=True):
            assert head >= 0
            assert tail >= 0
            assert head + tail <= whole


@every_rule
@given(lengths=BATTLES, overhead=SCAFFOLD, spare=st.integers(0, 3))
def test_nothing_is_cut_while_everything_fits(
    name: str, lengths: Lengths, overhead: int, spare: int
) -> None:
    budget = _total(lengths) + overhead * len(lengths) + spare
    assert _kept(find_rule(name)(lengths, budget, overhead)) == lengths


@every_rule
@given(lengths=BATTLES, room=ROOM, overhead=SCAFFOLD)
@example(lengths=[(7, 30, 29)], room=40, overhead=0)
def test_exchanging_the_responses_exchanges_the_cuts(
    name: str, lengths: Lengths, room: int, overhead: int
) -> None:
    swapped = [(prompt, b, a) for prompt, a, b in lengths]
    cuts = _apply(name, lengths, room, overhead)
    assert _apply(name, swapped, room, overhead) == [(prompt, b, a) for prompt, a, b in cuts]


@every_rule
@given(lengths=BATTLES, room=ROOM, overhead=SCAFFOLD)
@example(lengths=[(1000, 1000, 1000)], room=3, overhead=0)
@example(lengths=[(1, 1000, 0)], room=2, overhead=0)
@example(lengths=[(1, 1000, 1000)], room=9, overhead=0)
def test_every_part_of_the_last_round_keeps_a_token(
    name: str, lengths: Lengths, room: int, overhead: int
) -> None:
    assume(room >= sum(1 for length in lengths[-1] if length))
    kept = _kept(_apply(name, lengths, room, overhead))[-1]
    assert [bool(n) for n in kept] == [bool(length) for length in lengths[-1]]


@every_rule
@given(lengths=BATTLES, room=ROOM, overhead=SCAFFOLD)
def test_room_is_used_where_something_is_cut(
    name: str, lengths: Lengths, room: int, overhead: int
) -> None:
    cuts = _apply(name, lengths, room, overhead)
    kept, shown = _kept(cuts), lengths[-len(cuts) :]
    flat = ([n for round_ in rounds for n in round_] for rounds in (kept, shown))
    parts = sum(n < length for n, length in zip(*flat, strict=True))
    unused = room + overhead - overhead * len(cuts) - _total(kept)
    assert parts == 0 or unused < parts


def _cut_rounds(kept: Lengths, lengths: Lengths) -> list[int]:
    return [i for i, (k, n) in enumerate(zip(kept, lengths, strict=True)) if k != n]


@pytest.mark.parametrize("name", ["left", "proportional", "responses-equal", "rounds"])
@given(lengths=BATTLES, room=ROOM, overhead=SCAFFOLD)
def test_only_the_oldest_round_that_is_kept_is_cut(
    name: str, lengths: Lengths, room: int, overhead: int
) -> None:
    cuts = _apply(name, lengths, room, overhead)
    assert _cut_rounds(_kept(cuts), lengths[-len(cuts) :]) in ([], [0])


def _room_of_cut_round(
    name: str, lengths: Lengths, room: int, overhead: int
) -> tuple[int, tuple[int, int, int], tuple[int, int, int], RoundCut]:
    """Give the room for the round that is cut, its lengths, what it keeps, and how."""
    cuts = _apply(name, lengths, room, overhead)
    kept, shown = _kept(cuts), lengths[-len(cuts) :]
    assume(_cut_rounds(kept, shown) == [0])
    later = _total(shown[1:]) + overhead * len(shown[1:])
    return room - later, shown[0], kept[0], cuts[0]


@given(lengths=BATTLES, room=ROOM, overhead=SCAFFOLD)
def test_left_keeps_the_last_tokens(lengths: Lengths, room: int, overhead: int) -> None:
    space, (_, *whole), (prompt, *kept), cut = _room_of_cut_round("left", lengths, room, overhead)
    assert all(head == 0 for head, _ in cut)
    assert all(n >= min(length, (space - 1) // 2) for n, length in zip(kept, whole, strict=True))
    if kept != whole:
        assert prompt <= 1
        longer = [n for n, length in zip(kept, whole, strict=True) if n < length]
        assert len(set(longer)) == 1
        assert max(kept) == longer[0]


@pytest.mark.parametrize("name", ["proportional", "rounds"])
@given(lengths=BATTLES, room=ROOM, overhead=SCAFFOLD)
def test_proportional_parts_keep_their_share(
    name: str, lengths: Lengths, room: int, overhead: int
) -> None:
    space, whole, kept, cut = _room_of_cut_round(name, lengths, room, overhead)
    assume(space >= 5)
    assert all(tail == 0 for _, tail in cut)
    for n, length, share in zip(kept, whole, (1, 2, 2), strict=True):
        assert n >= min(length, share * space // 5)


@given(lengths=BATTLES, room=ROOM, overhead=SCAFFOLD)
def test_equal_responses_keep_as_much(lengths: Lengths, room: int, overhead: int) -> None:
    cut_round = _room_of_cut_round("responses-equal", lengths, room, overhead)
    space, (prompt, *whole), (kept_prompt, *kept), cut = cut_round
    assert all(tail == 0 for _, tail in cut)
    assert kept_prompt >= min(prompt, PROMPT_TOKENS, space // 3)
    assert all(
        n >= min(length, (space - kept_prompt) // 2) for n, length in zip(kept, whole, strict=True)
    )
    if kept != whole:
        assert kept_prompt <= max(1, min(prompt, PROMPT_TOKENS, space // 3))


@given(lengths=BATTLES, room=ROOM, overhead=SCAFFOLD)
def test_middle_cuts_all_parts_by_one_factor(lengths: Lengths, room: int, overhead: int) -> None:
    cuts = _apply("middle", lengths, room, overhead)
    kept, shown = _kept(cuts), lengths[-len(cuts) :]
    space, total = room - overhead * (len(cuts) - 1), _total(shown)
    assume(total > space)
    last = len(shown) - 1
    for i, (round_, whole) in enumerate(zip(kept, shown, strict=True)):
        for n, length in zip(round_, whole, strict=True):
            assert n >= length * (space - 3) // total
            assert n <= length * space / total or (i == last and n == 1)
    assert all(head - tail in (0, 1) for round_ in cuts for head, tail in round_)


@given(lengths=BATTLES, room=ROOM, overhead=SCAFFOLD)
def test_rounds_keeps_as_many_whole_rounds_as_fit(
    lengths: Lengths, room: int, overhead: int
) -> None:
    kept = _kept(_apply("rounds", lengths, room, overhead))
    shown = lengths[-len(kept) :]
    assert kept == shown or len(kept) == 1
    one_more = lengths[-len(kept) - 1 :]
    fits = _total(one_more) + overhead * len(one_more) <= room + overhead
    assert len(kept) == len(lengths) or not fits


LONG: Lengths = [(40, 50, 60), (100, 200, 300), (30, 10, 20)]
EXAMPLES: list[tuple[str, int, list[RoundCut]]] = [
    ("left", 5, [((0, 0), (0, 0), (0, 0))]),
    ("left", 10, [((0, 1), (0, 2), (0, 2))]),
    ("left", 45, [((0, 10), (0, 10), (0, 20))]),
    ("left", 71, [((30, 0), (10, 0), (20, 0))]),
    ("left", 77, [((0, 1), (0, 3), (0, 3)), ((30, 0), (10, 0), (20, 0))]),
    ("left", 590, [((0, 20), (0, 200), (0, 300)), ((30, 0), (10, 0), (20, 0))]),
    ("proportional", 45, [((10, 0), (10, 0), (20, 0))]),
    ("proportional", 25, [((4, 0), (8, 0), (8, 0))]),
    ("proportional", 149, [((30, 0), (10, 0), (20, 0))]),
    ("proportional", 150, [((16, 0), (32, 0), (32, 0)), ((30, 0), (10, 0), (20, 0))]),
    ("rounds", 600, [((30, 0), (10, 0), (20, 0))]),
    ("rounds", 670, [((100, 0), (200, 0), (300, 0)), ((30, 0), (10, 0), (20, 0))]),
    ("rounds", 25, [((4, 0), (8, 0), (8, 0))]),
    ("middle", 35, [((8, 7), (3, 2), (5, 5))]),
    ("middle", 250, [((18, 18), (36, 36), (55, 54)), ((5, 5), (2, 1), (4, 3))]),
    ("responses-equal", 35, [((10, 0), (10, 0), (10, 0))]),
    ("responses-equal", 370, [((100, 0), (100, 0), (100, 0)), ((30, 0), (10, 0), (20, 0))]),
]


@pytest.mark.parametrize(("name", "budget", "expected"), EXAMPLES)
def test_worked_examples(name: str, budget: int, expected: list[RoundCut]) -> None:
    assert find_rule(name)(LONG, budget, 5) == expected


def test_a_long_prompt_beside_long_responses_keeps_256_tokens() -> None:
    assert RULES["responses-equal"]([(5000, 5000, 4000)], 2000, 0) == [
        ((PROMPT_TOKENS, 0), (872, 0), (872, 0))
    ]


def test_middle_drops_rounds_that_would_be_shreds() -> None:
    rounds: Lengths = [(100, 100, 100)] * 10
    assert len(RULES["middle"](rounds, 10 * LEAST_ROUND, 0)) == 10
    assert len(RULES["middle"](rounds, 10 * LEAST_ROUND - 1, 0)) == 9


@every_rule
@pytest.mark.parametrize(("lengths", "budget"), [([(1, 1, 1)], 4), ([], 100)])
def test_no_round_or_no_room_for_its_scaffold_is_refused(
    name: str, lengths: list[list[int]], budget: int
) -> None:
    with pytest.raises(ValueError, match="there must be one, and room for its overhead of 5"):
        find_rule(name)(lengths, budget, 5)


def test_an_unknown_rule_names_the_nearest() -> None:
    with pytest.raises(errors.UnknownNameError, match='did you mean "middle"'):
        find_rule("midle")
