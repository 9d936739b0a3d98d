"""Small HTML for notebooks: tables that look right on light and dark pages, and nothing unescaped.

A notebook strips style sheets, so that every element has its own style; colors are the page's.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BOX = "font: 13px/1.45 system-ui, sans-serif; max-width: 60em; text-align: left"
_MUTED = "opacity: 0.7"
_EDGE = "1px solid rgba(128, 128, 128, 0.35)"
_COLORS = {"good": "#1c8a56", "bad": "#d6453b", "open": "#b98a2a"}
_ROWS = 200


class Html(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """Escape a value, unless it is HTML already."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def box(*parts: Html) -> str:
    """Put parts below one another."""
    return f'<div style="{_BOX}">{"".join(parts)}</div>'


def heading(text: object, note: object = "") -> Html:
    """Write a title, with a quieter note beside it."""
    beside = f' <span style="{_MUTED}">{escaped(note)}</span>' if note else ""
    return Html(f'<div style="margin: 0 0 4px"><b>{escaped(text)}</b>{beside}</div>')


def paragraph(text: object) -> Html:
    """Write a paragraph."""
    return Html(f'<p style="margin: 6px 0">{escaped(text)}</p>')


def badge(text: object, kind: str) -> Html:
    """Write a word in the color of a state: ``good``, ``bad`` or ``open``."""
    return Html(f'<b style="color: {_COLORS[kind]}">{escaped(text)}</b>')


def strong(text: object) -> Html:
    """Write in bold."""
    return Html(f"<b>{escaped(text)}</b>")


def muted(text: object) -> Html:
    """Write quietly."""
    return Html(f'<span style="{_MUTED}">{escaped(text)}</span>')


def table(headings: Sequence[object], rows: Sequence[Sequence[object]], left: int = 1) -> Html:
    """Write a table; the first ``left`` columns are text, the others are numbers."""
    top = "".join(_cell("th", one, at < left) for at, one in enumerate(headings))
    body = "".join(
        f"<tr>{''.join(_cell('td', one, at < left) for at, one in enumerate(row))}</tr>"
        for row in rows[:_ROWS]
    )
    more = muted(f"and {len(rows) - _ROWS:,} more rows") if len(rows) > _ROWS else ""
    style = "border-collapse: collapse; margin: 4px 0"
    return Html(
        f'<table style="{style}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>{more}'
    )


def _cell(tag: str, value: object, is_text: bool) -> str:
    side = "left" if is_text else "right"
    style = f"text-align: {side}; padding: 2px 10px 2px 0; border-bottom: {_EDGE}"
    style += "; white-space: nowrap" if not is_text else ""
    return f'<{tag} style="{style}">{escaped(value)}</{tag}>'


def interval_bar(value: float, low: float, high: float, span: tuple[float, float]) -> Html:
    """Draw a point with its interval on a scale that all rows of a table share."""
    width, middle = 150.0, 7.0
    least, most = span
    size = (most - least) or 1.0

    def place(number: float) -> float:
        return round(4 + (width - 8) * min(max((number - least) / size, 0.0), 1.0), 1)

    line = ""
    if low == low and high == high:
        line = (
            f'<line x1="{place(low)}" x2="{place(high)}" y1="{middle}" y2="{middle}" '
            'stroke="currentColor" stroke-width="2" opacity="0.55"/>'
        )
    dot = f'<circle cx="{place(value)}" cy="{middle}" r="3.2" fill="currentColor"/>'
    return Html(
        f'<svg width="{width:.0f}" height="14" role="img" aria-hidden="true">{line}{dot}</svg>'
    )
