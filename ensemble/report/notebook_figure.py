"""Figures of the report as figures of matplotlib: real colors, and shown without ``pyplot``."""

from __future__ import annotations

import io
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from ensemble.report import svg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.artist import Artist

    from ensemble.report.svg import Drawing

_COLORS = {
    svg.INK: "#17191d",
    svg.MUTED: "#5d6470",
    svg.GRID: "#dfe3e8",
    svg.CARD: "#ffffff",
    svg.PLAIN: "#4a5566",
    svg.CHOSEN: "#b3400f",
    svg.SIDE_A: "#0b6cb0",
    svg.SIDE_B: "#b8500a",
    svg.TIE: "#727a86",
}
"""Those of the page on a light screen."""
_COLORED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
_TITLE = 26.0
_PIXELS = 2
"""Pixels of a picture for each of the page, for screens that have so many."""


class NotebookFigure(Figure):
    """A figure that a notebook shows, whether or not ``pyplot`` was ever imported there."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        with _no_glyph_warnings():
            self.savefig(buffer, format="png", dpi=72 * _PIXELS)
        width, height = (round(72 * side) for side in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height}


def matplotlib_figure(drawings: Sequence[Drawing], titles: Sequence[str] = ()) -> Figure:
    """Paint drawings beside one another.

    Parameters
    ----------
    drawings
        One or more.
    titles
        Written over each; may be empty.
    """
    widths = [one.width for one in drawings]
    height = max(one.height for one in drawings)
    top = _TITLE if titles else 0.0
    with mpl.rc_context(svg.style(_COLORS)), _no_glyph_warnings():
        size = (sum(widths) / 72, (height + top) / 72)
        figure = NotebookFigure(figsize=size, dpi=72, facecolor=_COLORS[svg.CARD])
        FigureCanvasAgg(figure)
        rows: Any = None
        if top:
            rows = figure.subfigures(2, 1, height_ratios=[top, height], hspace=0)
        places = _places(figure if rows is None else rows[1], drawings)
        for place, drawing in zip(places, drawings, strict=True):
            drawing.paint(place)
        if rows is not None:
            _write_titles(rows[0], widths, titles)
        # Ticks are made when a figure is drawn first, and take the settings of that moment.
        figure.draw_without_rendering()
    for artist in _artists(figure):
        _recolor(artist)
    return figure


def _places(parent: Any, drawings: Sequence[Drawing]) -> list[Any]:
    if len(drawings) == 1:
        return [parent]
    widths = [one.width for one in drawings]
    return list(parent.subfigures(1, len(drawings), width_ratios=widths, wspace=0))


def _write_titles(parent: Any, widths: Sequence[float], titles: Sequence[str]) -> None:
    left = 0.0
    for width, title in zip(widths, titles, strict=True):
        middle = (left + width / 2) / sum(widths)
        parent.text(middle, 0.5, title, ha="center", va="center", fontweight="bold")
        left += width


def _artists(figure: Figure) -> Iterator[Artist]:
    for artist in figure.findobj():
        yield artist
        if isinstance(artist, Text) and (box := artist.get_bbox_patch()) is not None:
            yield box


def _recolor(artist: Any) -> None:
    """Put real colors in the place of the stand-ins; opacity stays."""
    for name in _COLORED:
        getter = getattr(artist, f"get_{name}", None)
        if getter is None or (name == "color" and hasattr(artist, "get_facecolor")):
            continue
        value = getter()
        if isinstance(value, str) or not hasattr(value, "ndim") or value.ndim < 2:
            if (real := _real(value)) is not None:
                getattr(artist, f"set_{name}")(real)
        elif any(_real(one) is not None for one in value):
            getattr(artist, f"set_{name}")([_real(one) or tuple(one) for one in value])


def _real(value: Any) -> tuple[float, ...] | None:
    red, green, blue, opacity = to_rgba(value)
    found = _COLORS.get(to_hex((red, green, blue)))
    return None if found is None else (*to_rgba(found)[:3], opacity)


@contextmanager
def _no_glyph_warnings() -> Iterator[None]:
    """Say nothing of names in scripts that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield
