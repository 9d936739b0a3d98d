"""Label cells to distributions: every spelling of a tie, and shares as the cells give them."""

from __future__ import annotations

import re

import pytest

from ensemble.battles.labels import label_of
from ensemble.battles.turns import BadCell

TIE = (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("model_a", (1.0, 0.0, 0.0)),
        ("Model A", (1.0, 0.0, 0.0)),
        ("a", (1.0, 0.0, 0.0)),
        ("model_b", (0.0, 1.0, 0.0)),
        ("B", (0.0, 1.0, 0.0)),
        ("tie", TIE),
        ("tie (bothbad)", TIE),
        ("Tie (Both Bad)", TIE),
        ("tie(bothbad)", TIE),
        ("tie_bothbad", TIE),
        ("bothbad", TIE),
        (" both bad ", TIE),
        ("Tie - both bad", TIE),
        ("[[A]]", (1.0, 0.0, 0.0)),
        ("**MODEL-B**", (0.0, 1.0, 0.0)),
    ],
)
def test_winner_words(word: str, label: tuple[float, float, float]) -> None:
    assert label_of({"winner": word}) == label


UNKNOWN = ["model_c", "ties?", "0", 0, "模型", "!a", "-a", " -b", "a?", "b-", "~tie", "≠ a", "a+"]


@pytest.mark.parametrize("word", UNKNOWN)
def test_an_unknown_word_is_named(word: object) -> None:
    with pytest.raises(BadCell, match=re.escape(f"unknown winner {word!r};")):
        label_of({"winner": word})


@pytest.mark.parametrize("cells", [{}, {"winner": None}, {"winner": " "}])
def test_no_label_is_none(cells: dict[str, object]) -> None:
    assert label_of(cells) is None


@pytest.mark.parametrize("kind", [int, float, bool, str])
def test_the_three_shares_and_the_winner_agree(kind: type) -> None:
    shares = dict(
        zip(["winner_model_a", "winner_model_b", "winner_tie"], map(kind, (0, 1, 0)), strict=True)
    )
    assert label_of({**shares, "winner": "model_b"}) == (0.0, 1.0, 0.0)
    assert label_of({**shares, "winner": " "}) == (0.0, 1.0, 0.0)
    with pytest.raises(BadCell, match="winner and winner_model_a differ"):
        label_of({**shares, "winner": "tie"})


def test_shares_that_were_rounded_are_normalized() -> None:
    near = {"winner_model_a": 1 / 3, "winner_model_b": 1 / 3, "winner_tie": 1 / 3 + 9e-7}
    assert label_of(near) == (1 / 3, 1 / 3, 1 / 3 + 9e-7)
    rounded = {"winner_model_a": 0.5, "winner_model_b": 0.3, "winner_tie": 0.201}
    assert label_of(rounded) == pytest.approx((0.5 / 1.001, 0.3 / 1.001, 0.201 / 1.001))
    with pytest.raises(BadCell, match="do not sum to 1"):
        label_of(near | {"winner_tie": 1 / 3 + 2e-3})
