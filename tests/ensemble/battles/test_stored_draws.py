"""What stored folds, fits, stacks and studies rest on is as it was when they were made.

A test that fails here asks for a higher ``VERSION`` in the modules that the docstring of the
changed one names, so that nothing stored is taken for what the new code would give. Then the new
values go here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ensemble.battles.groups import assign_by_hash, assign_groups
from ensemble.battles.swap import stack_orders, swap_classes
from ensemble.battles.trees import MULTICLASS, common_settings, hard_rows
from ensemble.oof import fold_key
from ensemble.sources import study
from ensemble.stacking import stack
from ensemble.storage.hashing import fingerprint

LABELS = np.array([[1.0, 0.0, 0.0], [0.25, 0.5, 0.25], [0.0, 0.0, 1.0]])
DRAWS: dict[str, Callable[[], object]] = {
    "groups by load": lambda: assign_groups(
        np.stack([np.arange(40) % 7 + 1.0, np.arange(40) % 3], axis=1), 5, 11
    ).tolist(),
    "groups by hash": lambda: assign_by_hash(np.arange(40) // 2, 4, "a purpose").tolist(),
    "groups by hash and stratum": lambda: assign_by_hash(
        np.arange(40) // 2, 4, "a purpose", np.arange(40) // 2 % 3
    ).tolist(),
    "hard rows": lambda: [part.tolist() for part in hard_rows(LABELS, np.array([1.0, 2.0, 0.5]))],
    "settings of trees": lambda: [MULTICLASS, common_settings(1)],
    "both orders": lambda: [
        stack_orders(np.arange(6.0).reshape(2, 3)).tolist(),
        swap_classes(LABELS).tolist(),
    ],
}
STORED = {
    "groups by load": "74682028366b",
    "groups by hash": "83ea0be33e1e",
    "groups by hash and stratum": "398a88af8dfd",
    "hard rows": "d8810aa292fe",
    "settings of trees": "d1f9688010ce",
    "both orders": "6c0e381f2534",
}
VERSIONS = (8, 4, 9)


@pytest.mark.parametrize("name", DRAWS)
def test_what_is_stored_rests_on_the_same_draws(name: str) -> None:
    assert fingerprint(DRAWS[name]())[:12] == STORED[name]


def test_the_values_belong_to_these_versions() -> None:
    assert (fold_key.VERSION, study.VERSION, stack.VERSION) == VERSIONS
