"""The forest plot: points with intervals, one row each, against lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ensemble.report.rows import HEADING, MARK, WIDTH, height_of, row_axes, write_name
from ensemble.report.svg import CHOSEN, MUTED, PLAIN, Drawing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The axis ends at most so many times as far right of the median as it begins left of it: a learner
# far off the scale must not squeeze the others into one point.
_LONGEST_AXIS = 3.0

# Where the name of a row has ended, as a share of the row's height.
_CLEAR = 0.5


@dataclass(frozen=True)
class Row:
    """One row of a forest plot.

    Parameters
    ----------
    name
        Shown above the interval, at the left.
    value, low, high
        The point and the ends of its interval; NaN where not measured.
    note
        Shown beside the interval, at the right.
    emphasis
        Whether it is the chosen one.
    combined
        Whether it combines learners (a filled mark) or is one (a hollow mark).
    dots
        Smaller points on the same row, such as folds.
    """

    name: str
    value: float
    low: float
    high: float
    note: str
    emphasis: bool = False
    combined: bool = False
    dots: tuple[float, ...] = ()


def forest(
    rows: Sequence[Row],
    lines: Mapping[str, float],
    *,
    axis: str,
    name: str,
    label: str,
    end: float | None = None,
) -> Drawing:
    """Draw points with intervals, one row each, and vertical lines to measure them against.

    Parameters
    ----------
    rows
        From top to bottom.
    lines
        Text over a line, and where it stands.
    axis
        What the horizontal axis measures.
    name, label
        As in ``svg.Drawing``.
    end
        Greatest value that there can be: the axis then reaches up to it.
    """
    heading = HEADING if lines else 0.0
    height = height_of(len(rows), heading)
    limits = _limits(rows, [v for v in lines.values() if np.isfinite(v)], end)

    def paint(figure: Figure) -> None:
        notes = [row.note for row in rows]
        axes = row_axes(figure, len(rows), axis, notes=notes, heading=heading)
        axes.set_xlim(*limits)
        _reference_lines(axes, lines, len(rows))
        for position, row in enumerate(rows):
            _forest_row(axes, position, row, limits)

    return Drawing(paint, WIDTH, height, name, label)


def _limits(rows: Sequence[Row], lines: Sequence[float], end: float | None) -> tuple[float, float]:
    """Show every line and row, and up to ``end`` where there is one.

    Else nothing so far right that the rest cannot be told apart.
    """
    shown = [v for r in rows for v in (r.value, r.low, r.high, *r.dots)] + [*lines]
    values = np.array([v for v in shown if np.isfinite(v)])
    if not len(values):
        return 0.0, 1.0 if end is None else end
    low, middle, high = float(values.min()), float(np.median(values)), end
    if high is None:
        cap = middle + _LONGEST_AXIS * (middle - low)
        high = max(min(float(values.max()), cap), middle, *lines)
    margin = 0.04 * max(high - low, 1e-6)
    return low - margin, high + margin


def _reference_lines(axes: Axes, lines: Mapping[str, float], rows: int) -> None:
    """Draw each line beside the marks of all rows, with gaps where the names are."""
    starts = np.arange(rows) + _CLEAR
    left, right = axes.get_xlim()
    for text, place in lines.items():
        if not np.isfinite(place):
            continue
        axes.vlines([place] * rows, starts, starts + 1 - _CLEAR, color=MUTED, linewidth=1.2)
        share = (place - left) / (right - left)
        side = "left" if share < 0.25 else "right" if share > 0.75 else "center"
        axes.annotate(
            text,
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 6),
            textcoords="offset points",
            ha=side,
            color=MUTED,
            fontsize=11,
        )


def _forest_row(axes: Axes, position: int, row: Row, limits: tuple[float, float]) -> None:
    color = CHOSEN if row.emphasis else PLAIN
    line = position + MARK
    write_name(axes, position, row.name, bold=row.emphasis)
    dots = [d for d in row.dots if np.isfinite(d)]
    axes.plot(dots, [line] * len(dots), "|", color=MUTED, markersize=9, markeredgewidth=1.2)
    if not np.isfinite(row.value):
        return
    if row.value > limits[1]:
        axes.plot(limits[1], line, ">", color=color, clip_on=False)
        return
    # Ends make an interval of a line under a name; among the ticks of folds they would be two more.
    ends = None if row.dots else "|"
    axes.plot(
        [row.low, row.high], [line, line], color=color, linewidth=1.8, marker=ends, markersize=8
    )
    marker = "D" if row.emphasis else "o"
    fill = color if row.combined or row.emphasis else "none"
    axes.plot(row.value, line, marker, color=color, markersize=7, markerfacecolor=fill)
