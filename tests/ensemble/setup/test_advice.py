"""What plugins suggest: asked of each that has a say, and none can stop the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import hookimpl
from ensemble.plugin.suggestion import DataSummary, Machine, Suggestion
from ensemble.setup.advice import advise, free_name, told_time
from tests.fakes import Prior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fixture_types import UsePlugins

IDS = pl.Series("id", ["a", "b"])
DATA, MACHINE = DataSummary(IDS, IDS.clear()), Machine(2)


class Slow(Prior):
    @classmethod
    def suggest(cls, data: DataSummary, machine: Machine) -> Sequence[Suggestion]:
        assert (data, machine) == (DATA, MACHINE)
        return [Suggestion(minutes=9), Suggestion(name="other", unfit="no GPU")]


class Fast(Prior):
    @classmethod
    def suggest(cls, data: DataSummary, machine: Machine) -> Sequence[Suggestion]:
        return [Suggestion(name="slow", minutes=1)]


class Raises(Prior):
    @classmethod
    def suggest(cls, data: DataSummary, machine: Machine) -> Sequence[Suggestion]:
        raise RuntimeError("no idea")


class Odd(Prior):
    @classmethod
    def suggest(cls, data: DataSummary, machine: Machine) -> Any:
        return ["gemma"]


class Own:
    def __init__(self, **kinds: type) -> None:
        self.kinds = kinds

    @hookimpl
    def register_base_learners(self, register: Any) -> None:
        for name, kind in self.kinds.items():
            register(name, kind)


def test_learners_that_fit_come_first_and_the_fast_ones_before(use_plugins: UsePlugins) -> None:
    use_plugins(own=Own(slow=Slow, fast=Fast, silent=Prior))
    found, notes = advise(DATA, MACHINE)
    own = [one for one in found if one.plugin in ("slow", "fast", "silent")]
    assert [(one.plugin, one.name, one.fits) for one in own] == [
        ("fast", "slow", True),
        ("slow", "slow-2", True),
        ("slow", "other", False),
    ]
    assert not notes


def test_a_plugin_that_fails_suggests_nothing_and_is_named(use_plugins: UsePlugins) -> None:
    use_plugins(own=Own(troubled=Raises, odd=Odd, fast=Fast))
    found, notes = advise(DATA, MACHINE)
    assert [one.name for one in found if one.plugin == "fast"] == ["slow"]
    assert notes == [
        "odd suggests nothing: suggest gives something else than Suggestion objects",
        "troubled suggests nothing: suggest raised RuntimeError: no idea",
    ]


@pytest.mark.parametrize(
    ("minutes", "told"),
    [
        (0, "nothing to fit"),
        (0.4, "less than a minute"),
        (1.2, "about 1 minute"),
        (37, "about 35 minutes"),
        (150, "about 2.5 hours"),
        (1230, "about 20 hours"),
    ],
)
def test_times_are_told_no_more_exactly_than_they_are_known(minutes: float, told: str) -> None:
    assert told_time(minutes) == told


def test_names_are_such_as_a_config_may_have() -> None:
    assert free_name("ärger über-alles", set()) == "rger--ber-alles"
    assert free_name("Train", {"train", "train-2"}) == "Train-3"
    assert free_name("...", set()) == "unnamed"
