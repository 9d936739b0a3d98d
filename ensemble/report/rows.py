"""Figures with one row a name: name above, mark below, numbers at the right; legible on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.report.svg import CARD, INK
from ensemble.report.text import shorten, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 460.0
"""Natural width, CSS pixels: narrow enough for text to stay legible on a phone."""

HEADING = 20.0
"""Room above the rows for words, CSS pixels."""

MARK = 0.76
"""Where the mark of a row stands, as a share of its height."""

# Nearer to its own mark than to that of the row above, and too far off to be underlined by it.
_WORDS = 0.4
_ROW, _TOP, _BOTTOM, _SIDE = 44.0, 6.0, 40.0, 14.0
_NAME_LENGTH = 34
# Width of a digit at the size of notes, and the room between axes and notes, CSS pixels.
_CHARACTER, _GAP = 6.6, 14.0


def height_of(rows: int, heading: float = 0.0) -> float:
    """Give the height of a figure, CSS pixels."""
    return heading + _TOP + _ROW * rows + _BOTTOM


def row_axes(
    figure: Figure, rows: int, axis: str, *, notes: Sequence[str], heading: float = 0.0
) -> Axes:
    """Add axes for some rows: row ``i`` spans ``i`` to ``i + 1``, downwards.

    Right of them is room for the longest note. They are placed by pixels: the browser measures the
    text, so that no layout could be exact.
    """
    height = height_of(rows, heading)
    margin = _GAP + _CHARACTER * max(map(len, notes), default=0)
    width = WIDTH - 2 * _SIDE - margin
    place = (_SIDE / WIDTH, _BOTTOM / height, width / WIDTH, _ROW * rows / height)
    axes = figure.add_axes(place)
    axes.patch.set_visible(False)
    axes.set(ylim=(rows, 0), yticks=[], xlabel=axis)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=4)
    for position, note in enumerate(notes):
        _write_note(axes, position, note)
    return axes


def _write_note(axes: Axes, position: int, note: str) -> None:
    """Write a row's numbers right of the axes, at the height of its mark."""
    from matplotlib.transforms import blended_transform_factory

    figure = axes.get_figure()
    assert figure is not None  # noqa: S101 - axes that were just added have one
    axes.text(
        1 - _SIDE / WIDTH,
        position + MARK,
        note,
        transform=blended_transform_factory(figure.transFigure, axes.transData),
        color=INK,
        fontsize=12,
        ha="right",
        va="center_baseline",
    )


def write_name(axes: Axes, position: int, name: str, *, bold: bool = False) -> None:
    """Write a row's name above its mark, at the left."""
    axes.text(
        0,
        position + _WORDS,
        shorten(visible(name), _NAME_LENGTH),
        transform=axes.get_yaxis_transform(),
        color=INK,
        # The grid must not run through the words.
        bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1.5},
        fontweight="bold" if bold else "normal",
    )
