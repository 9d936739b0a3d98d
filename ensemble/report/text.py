"""How numbers, durations and the text of battles are written in the report."""

from __future__ import annotations

import json
import math
import re
import unicodedata

from markupsafe import Markup

from ensemble.evaluation import text as numbers

MINUS = "\N{MINUS SIGN}"

NOT_MEASURED = Markup('<span class="missing">not measured</span>')
"""What stands in place of a number that nobody has measured."""

TEXT_LIMIT = 2000
"""Characters of one text that the report shows."""

# Joiners hold emoji and several scripts together; everything else in these categories is unseen.
_HARMLESS = frozenset("\n\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    r"""Write unseen characters as their code points, so that no text can disguise itself.

    Control characters, bidirectional overrides and lone surrogates are concerned; the last cannot
    be written as UTF-8 at all.

    Examples
    --------
    >>> visible("a\u202eb")
    'a[U+202E]b'
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in _HARMLESS or unicodedata.category(character) not in _UNSEEN:
        return character
    return f"[U+{ord(character):04X}]"


def finalize(value: object) -> object:
    """Prepare whatever a template prints: nothing unseen, and no gap that looks like a value."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOT_MEASURED
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def decimal(value: float | None, digits: int = 4) -> str | None:
    """Write a number with fixed decimals; None where there is none."""
    if value is None or not math.isfinite(value):
        return None
    return f"{value:z.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 4) -> str | None:
    """Write a number with its sign; what is rounded to 0 has none."""
    if value is None or not math.isfinite(value):
        return None
    return numbers.signed(value, digits)


def count(value: int | None) -> str | None:
    """Write a whole number with commas between thousands."""
    return None if value is None else f"{value:,}"


def percent(value: float | None, digits: int = 1) -> str | None:
    """Write a share as a percentage."""
    if value is None or not math.isfinite(value):
        return None
    return f"{100 * value:.{digits}f}%"


def duration(seconds: float | None) -> str | None:
    """Write a time with the two units that matter.

    Examples
    --------
    >>> duration(3725.0)
    '1 h 2 min'
    """
    if seconds is None or not math.isfinite(seconds):
        return None
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def compact(value: object) -> str:
    """Write a parameter as JSON on one line."""
    return json.dumps(value, ensure_ascii=False)


def without_folder(text: str, folder: str) -> str:
    """Write a dot for a folder wherever a path begins with it; a root stays.

    Examples
    --------
    >>> without_folder('path = "/home/me/study/train.csv"', "/home/me/study")
    'path = "./train.csv"'
    """
    if len(folder.strip("/\\")) == 0:
        return text
    return re.sub(rf"(?<![\w./-]){re.escape(folder)}(?![\w.-])", ".", text)


def file_name(path: str | None) -> str | None:
    """Give the last part of a path: where a file lies is nobody's business but its owner's."""
    return None if path is None else re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def shorten(text: str, limit: int) -> str:
    """Cut a name to a length, with an ellipsis where something was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
