from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble.once import once, one_verb
from ensemble.oof.spec import LearnerSpec

if TYPE_CHECKING:
    from tests.fixture_types import Project


def test_a_value_is_made_once_a_verb_and_again_by_the_next() -> None:
    made = iter(range(9))
    for first in (0, 1):
        with one_verb():
            assert once("key", lambda: next(made)) == first
            with one_verb():
                assert once("key", lambda: next(made)) == first
    assert [once("key", lambda: next(made)) for _ in range(2)] == [2, 3]


def test_what_has_no_key_and_what_fails_is_not_kept() -> None:
    made = iter(range(9))

    def fail() -> int:
        raise ValueError("no")

    with one_verb():
        assert [once(None, lambda: next(made)) for _ in range(2)] == [0, 1]
        with pytest.raises(ValueError, match="no"):
            once("key", fail)
        assert once("key", lambda: next(made)) == 2


def test_what_a_plugin_does_to_a_prototype_reaches_no_key(project: Project) -> None:
    def spec() -> LearnerSpec:
        return LearnerSpec("x", "prior", {}, Path(project.path))

    with one_verb():
        before = spec().all_parameters()
        spec().prototype.shift = 99.0  # type: ignore[attr-defined]
        assert spec().all_parameters() == before
        assert spec().prototype is spec().prototype
