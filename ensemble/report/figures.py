"""The report's other pictures: label shares, reliability, agreement, bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.evaluation.ties import TIE as TIE_PLACE
from ensemble.evaluation.ties import number_of_classes
from ensemble.report.rows import HEADING, MARK, WIDTH, height_of, row_axes, write_name
from ensemble.report.svg import GRID, INK, MUTED, PLAIN, SIDE_A, SIDE_B, TIE, Drawing
from ensemble.report.text import MINUS, shorten, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ensemble.evaluation.calibration import Bin, Reliability
    from ensemble.plugin.base import FloatArray
    from ensemble.report.tables import LabelShares

CLASS_NAMES = ("A wins", "B wins", "tie")
CLASS_COLORS = (SIDE_A, SIDE_B, TIE)

# A cell of a heat map, and a letter of the names beside and above it, CSS pixels.
_HEAT_CELL, _HEAT_LETTER, _HEAT_WIDTH = 54.0, 6.6, 200.0
_HEAT_NAME = 16

# A share has room for its number from here on.
_ROOM_FOR_NUMBER = 0.1


def label_bars(sources: Sequence[LabelShares], *, name: str) -> Drawing:
    """Draw one bar a source, divided by its label shares."""
    shown = [s for s in sources if s.shares is not None]
    ties = any(s.shares[TIE_PLACE] > 0 for s in shown if s.shares is not None)
    names = CLASS_NAMES[: number_of_classes(ties=ties)]

    def paint(figure: Figure) -> None:
        notes = [f"{s.labeled:,} labeled" for s in shown]
        axes = row_axes(figure, len(shown), "share of labels", notes=notes, heading=HEADING)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
        _class_legend(axes, names)
        for position, source in enumerate(shown):
            write_name(axes, position, f"{source.source} ({source.role})")
            _label_bar(axes, position + MARK, source.shares or ())

    words = "; ".join(f"{s.source}: {_shares_in_words(s, names)}" for s in shown)
    height = height_of(len(shown), HEADING)
    return Drawing(paint, WIDTH, height, name, f"Label shares. {words}")


def _class_legend(axes: Axes, names: Sequence[str]) -> None:
    places = ((0.0, "left"), (0.5, "center"), (1.0, "right"))
    for (place, side), text, color in zip(places, names, CLASS_COLORS, strict=False):
        words = f"\N{BLACK SQUARE} {text}"
        axes.text(place, -0.18, words, color=color, ha=side, fontweight="bold")


def _shares_in_words(source: LabelShares, names: Sequence[str]) -> str:
    shares = zip(names, source.shares or (), strict=False)
    return ", ".join(f"{name} {share:.1%}" for name, share in shares)


def _label_bar(axes: Axes, place: float, shares: Sequence[float]) -> None:
    left = 0.0
    for share, color in zip(shares, CLASS_COLORS, strict=True):
        axes.barh(place, share, 0.42, left=left, color=color, linewidth=0)
        if share > _ROOM_FOR_NUMBER:
            middle = left + share / 2
            words = axes.text(middle, place, f"{share:.1%}", color="#ffffff", fontsize=11)
            words.set(ha="center", va="center_baseline")
        left += share


def reliability_curve(curve: Reliability, class_index: int, *, name: str, title: str) -> Drawing:
    """Draw observed against predicted shares of one class."""
    size = 230.0
    color = CLASS_COLORS[class_index]

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.22, 0.17, 0.71, 0.79))
        axes.patch.set_visible(False)
        ends = [v for b in curve.bins for v in (b.predicted, b.observed, b.high) if np.isfinite(v)]
        top = min(1.0, 1.08 * max(ends))
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted", ylabel="observed")
        axes.locator_params(nbins=4)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        _curve(axes, curve.bins, color)

    label = (
        f"{title}, {CLASS_NAMES[class_index]}: mean predicted {curve.predicted:.1%}, "
        f"observed {curve.observed:.1%}, mean gap {curve.gap:.1%}"
    )
    return Drawing(paint, size, size, name, label)


def _curve(axes: Axes, bins: Sequence[Bin], color: str) -> None:
    predicted = [b.predicted for b in bins]
    ends = [b.low for b in bins], [b.high for b in bins]
    axes.vlines(predicted, *ends, color=color, linewidth=1.4, alpha=0.6)
    axes.plot(predicted, [b.observed for b in bins], "-o", color=color, markersize=4.5)


def heat_map(names: Sequence[str], matrix: FloatArray, *, name: str, label: str) -> Drawing:
    """Draw a number for each pair of names, the darker the greater; below 0 is white."""
    count, shown = len(names), [shorten(visible(one), _HEAT_NAME) for one in names]
    longest = _HEAT_LETTER * max(map(len, shown), default=0)
    side, top, right = 14 + longest, 22 + 0.6 * longest, 8 + 0.8 * longest
    width = max(side + _HEAT_CELL * count + right, _HEAT_WIDTH)
    height = top + _HEAT_CELL * count + 6

    def paint(figure: Figure) -> None:
        place = (side / width, 6 / height)
        size = (_HEAT_CELL * count / width, _HEAT_CELL * count / height)
        axes = figure.add_axes((*place, *size))
        axes.patch.set_visible(False)
        axes.grid(visible=False)
        axes.set(xlim=(0, count), ylim=(count, 0))
        axes.set_xticks([i + 0.5 for i in range(count)], shown, rotation=35, ha="left")
        axes.set_yticks([i + 0.5 for i in range(count)], shown)
        axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
        axes.spines["bottom"].set_visible(False)
        _heat_cells(axes, matrix)

    return Drawing(paint, width, height, name, label)


def _heat_cells(axes: Axes, matrix: FloatArray) -> None:
    from matplotlib.patches import Rectangle

    for (row, column), value in np.ndenumerate(matrix):
        measured = bool(np.isfinite(value))
        alpha = 0.55 * max(float(value), 0.0) if measured else 0.0
        cell = Rectangle((column + 0.02, row + 0.02), 0.96, 0.96, linewidth=0)
        cell.set(facecolor=SIDE_A, alpha=alpha)
        axes.add_patch(cell)
        words = f"{value:z.2f}".replace("-", MINUS) if measured else "\N{EN DASH}"
        axes.text(
            column + 0.5,
            row + 0.5,
            words,
            color=INK,
            fontsize=12,
            ha="center",
            va="center_baseline",
        )


def bars(values: Mapping[str, float], *, axis: str, name: str, label: str) -> Drawing:
    """Draw one horizontal bar a name, in the order given."""
    largest = max((abs(value) for value in values.values()), default=0.0)
    digits = 3 if largest < 10 else 1 if largest < 1000 else 0

    def paint(figure: Figure) -> None:
        notes = [f"{value:z,.{digits}f}".replace("-", MINUS) for value in values.values()]
        axes = row_axes(figure, len(values), axis, notes=notes)
        for position, (text, value) in enumerate(values.items()):
            axes.barh(position + MARK, value, 0.34, color=PLAIN, linewidth=0)
            write_name(axes, position, text)
        axes.axvline(0, color=GRID, linewidth=1)

    return Drawing(paint, WIDTH, height_of(len(values)), name, label)
