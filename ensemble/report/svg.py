"""From a matplotlib figure to SVG that lives inside an HTML page.

Colors are named by their role and become CSS variables, so that one figure serves light and dark
screens; text stays text in the reader's font; ids are made unique to their figure. The same
figure gives the same characters every time.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

from ensemble.report.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.figure import Figure

INK, MUTED, GRID = "#010101", "#020202", "#030303"
SIDE_A, SIDE_B, TIE = "#040404", "#050505", "#060606"
PLAIN, CHOSEN, CARD = "#070707", "#080808", "#090909"
"""Stand-ins for colors: matplotlib wants hex digits, the page wants variables."""

_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    SIDE_A: "var(--side-a)",
    SIDE_B: "var(--side-b)",
    TIE: "var(--tie)",
    PLAIN: "var(--plain)",
    CHOSEN: "var(--chosen)",
    CARD: "var(--card)",
}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ensemble",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 13,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
}

# A figure grows with its column, so far that its text still looks like the page's.
_LARGEST = 1.2

_REFERENCE = re.compile(r"#([\w.-]+)")
_COLOR = re.compile("|".join(_VARIABLES))
_FONT = re.compile(r"font-family: [^;]*;?\s*")


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure that is not painted yet: an ``<svg>`` on the page, a matplotlib figure elsewhere.

    Parameters
    ----------
    paint
        Draws on an empty figure.
    width, height
        Natural size, CSS pixels; the page may show it smaller.
    name
        Unique on the page, letters and hyphens; it keeps the ids of figures apart.
    label
        What the figure shows, in words, for readers who do not see it.
    """

    paint: Callable[[Figure], None]
    width: float
    height: float
    name: str
    label: str

    def __html__(self) -> Markup:
        """Give the figure as a template prints it: an ``<svg>`` element."""
        source = _painted(self.paint, self.width, self.height)
        return _for_page(source, width=self.width, name=self.name, label=self.label)


def style(colors: Mapping[str, str] | None = None) -> dict[Any, Any]:
    """Give the settings of matplotlib that figures are painted with.

    Parameters
    ----------
    colors
        What stands in the place of the stand-ins; None leaves them for the page.
    """
    named = colors or {}
    return {
        key: named.get(value, value) if isinstance(value, str) else value
        for key, value in _STYLE.items()
    }


def _painted(paint: Callable[[Figure], None], width: float, height: float) -> str:
    """Paint a figure and give it as an SVG document."""
    # Here, since a report that is kept paints nothing, and matplotlib is slow to import.
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # A pixel is a point here, so that font sizes mean what they say.
    with mpl.rc_context(style()), warnings.catch_warnings():
        # Names may be in any script: the browser has fonts for it, matplotlib only measures.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        paint(figure)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    return buffer.getvalue()


def _for_page(source: str, *, width: float, name: str, label: str) -> Markup:
    """Turn a stand-alone SVG document into an element of the page."""
    # The document is matplotlib's own, written a moment ago.
    root = ElementTree.fromstring(source)  # noqa: S314
    referenced = _referenced(root)
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag.endswith(("}style", "}metadata"))]:
            parent.remove(child)
    for element in root.iter():
        _localize(element, referenced, name)
    view = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": view,
            "role": "img",
            "aria-label": visible(label),
            "style": f"max-width: {_LARGEST * width:.0f}px",
        }
    )
    # Our own serialization: every text and attribute in it is escaped by ElementTree.
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704


def _referenced(root: ElementTree.Element) -> set[str]:
    """Collect the ids that some attribute points at."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    return {found for value in values for found in _REFERENCE.findall(value)}


def _localize(element: ElementTree.Element, referenced: set[str], name: str) -> None:
    """Drop namespaces and unused ids, keep ids apart, name colors and fonts as the page does."""
    element.tag = element.tag.rpartition("}")[2]
    # White space between elements says nothing; inside a text it does.
    element.tail = None
    if element.tag != "text":
        element.text = None
    attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    if attributes.get("id") not in referenced:
        attributes.pop("id", None)
    element.attrib.clear()
    for key, value in attributes.items():
        element.attrib[key] = _attribute(key, value, name)


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "d":
        return " ".join(value.split())
    if key == "style":
        value = _COLOR.sub(lambda match: _VARIABLES[match[0]], _FONT.sub("", value)).strip()
    return re.sub(r"(^|\()#(?=[\w.-]+\)?)", rf"\g<1>#{name}-", value)
