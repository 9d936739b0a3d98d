"""Values as lines of a config have them, for messages and for ``ensemble init``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import tomli_w

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def toml_lines(settings: Mapping[str, Any]) -> list[str]:
    """Write settings as lines ``key = value``.

    Examples
    --------
    >>> toml_lines({"columns": {"prompt": "question"}, "pairs": 2})
    ['columns = { prompt = "question" }', 'pairs = 2']
    """
    return [f"{_key(name)} = {toml_value(value)}" for name, value in settings.items()]


def toml_value(value: Any) -> str:
    """Write a value on one line: tables as inline tables, lists as they are."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").removesuffix("\n")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else toml_value(name)
