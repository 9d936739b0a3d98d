from __future__ import annotations

from typing import Any

import numpy as np

from ensemble.battles.swap import swap_battles, swap_classes


def test_swapping_twice_gives_the_battles_back(make_battles: Any) -> None:
    battles = make_battles(5)
    swapped = swap_battles(battles)
    assert swapped.columns == battles.columns
    assert swapped["response_a"].equals(battles["response_b"].alias("response_a"))
    assert swapped["label_b"].equals(battles["label_a"].alias("label_b"))
    assert swap_battles(swapped).equals(battles)


def test_swapping_classes_exchanges_a_and_b() -> None:
    values = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    assert swap_classes(values).tolist() == [[0.2, 0.1, 0.7], [0.3, 0.5, 0.2]]
