"""What is wrong with the types and keys of a config, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.config.settings import (
    PATTERNS,
    Config,
    Execution,
    Folds,
    Predict,
    Reading,
    Source,
    Stack,
    Task,
)
from ensemble.errors import nearest
from ensemble.redact import is_secret_name, masked

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_SHOWN = 100
"""Characters of a wrong value that an error shows."""


def explain(error: ValidationError) -> str:
    """Say in sentences, one a fault, which types are wrong and which keys unknown or missing."""
    return "\n".join(_explain_one(item) for item in error.errors(include_url=False))


def _explain_one(item: Any) -> str:
    place = _place(item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {place}: {nearest(str(item['loc'][-1]), _known_keys(item['loc']))}"
    if item["type"] == "missing":
        return f"missing key {place}"
    got = _got(item["input"], [str(part) for part in item["loc"]])
    if item["type"] == "string_pattern_mismatch":
        return f"{place}: should be {PATTERNS[item['ctx']['pattern']]}, got {got}"
    return f"{place}: {item['msg'][0].lower()}{item['msg'][1:]}, got {got}"


def _got(value: Any, place: list[str]) -> str:
    """Show a wrong value: no secret, and not a page of it."""
    secret = next((part for part in place if is_secret_name(part)), "")
    try:
        text = repr(masked(value, secret))
    except ValueError:  # Python writes no number of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}\N{HORIZONTAL ELLIPSIS}"


_UNIONS = ("str", "list[str]", "constrained-int", "literal['all','best_worst']")
"""What pydantic adds to the place of a value that may be of several types."""


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if part in _UNIONS:
            continue
        text += f"[{part + 1}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {
        "sources": Source,
        "test": Reading,
        "task": Task,
        "folds": Folds,
        "stack": Stack,
        "predict": Predict,
        "execution": Execution,
    }
    return list((tables[str(location[0])] if len(location) > 1 else Config).model_fields)
