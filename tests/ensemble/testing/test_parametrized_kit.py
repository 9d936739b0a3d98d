"""The kit as tests of pytest, as an author writes them."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble.errors import PluginError
from ensemble.testing import parametrize_with_checks
from ensemble.testing.base_learners import GENERAL
from tests.ensemble.testing.broken_learners import BROKEN, Sound
from tests.ensemble.testing.test_loader_kit import sound
from tests.ensemble.testing.test_meta_learner_kit import Scaled


@parametrize_with_checks([Sound(strength=0.5), Scaled, "length", sound])
def test_conformance(plugin: Any, check: Any) -> None:
    check(plugin)


def _cases(plugin: Any) -> Any:
    def function(learner: Any, check: Any) -> None:
        check(learner)

    (mark,) = parametrize_with_checks([plugin])(function).pytestmark
    return mark


def test_each_check_has_an_id_of_its_own_and_the_arguments_are_those_of_the_test() -> None:
    mark = _cases(Sound)
    assert mark.args[0] == ("learner", "check")
    ids = mark.kwargs["ids"]
    assert len(ids) == len({*ids}) == len(GENERAL)
    assert "Sound-other_ids" in ids


def test_a_check_that_fails_raises_and_one_without_a_question_skips() -> None:
    mark = _cases(BROKEN["HashesIds"][0])
    by_id = dict(zip(mark.kwargs["ids"], mark.args[1], strict=True))
    plugin, check = by_id["HashesIds-other_ids"]
    with pytest.raises(PluginError, match="HashesIds, other ids: .*under other ids"):
        check(plugin)
    plugin, check = by_id["HashesIds-pretrain"]
    with pytest.raises(pytest.skip.Exception, match="it has no pretrain"):
        check(plugin)
