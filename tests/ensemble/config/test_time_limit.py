from __future__ import annotations

from typing import Any

import pytest

from ensemble.config.time_limit import parse_time_limit, told_time_limit
from ensemble.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400), ("90min", 5400), ("1.5h", 5400), ("1h30m", 5400), ("1h 30m", 5400),
        ("45s", 45), ("60", 60), (" 2H ", 7200), (".5h", 1800), (30, 30), (0.5, 0.5), ("1d", 86400),
    ],
)  # fmt: skip
def test_a_time_limit_is_a_number_with_units(text: str | float, seconds: float) -> None:
    assert parse_time_limit(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "m",
        "90x",
        "-5m",
        "0",
        "0h",
        "1h30",
        "nan",
        "inf",
        "1e3",
        "5 m 3",
        float("nan"),
        -1,
        10**400,
        True,
        [5],
    ],
)
def test_what_is_no_time_limit_is_refused(text: Any) -> None:
    with pytest.raises(ConfigError, match="is no time limit"):
        parse_time_limit(text)


def test_a_time_limit_is_told_as_it_is_read() -> None:
    for seconds in (1.5, 45, 60, 90, 5400, 7200):
        assert parse_time_limit(told_time_limit(seconds)) == seconds
