"""Style of the figures: axes, marks, and inline SVG. A figure that is made imports matplotlib."""

import io
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from chargen.render.text import visible, visible_line

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    from markupsafe import Markup

INK, PAPER, GRID, GREY = "#000000", "#ffffff", "#e4e4e4", "#6b6b6b"
MODEL, OTHER, THIRD, FOURTH = "#1f5fa8", "#b34d14", "#23784a", "#8a4fa3"
COLORS, MARKERS = (MODEL, OTHER, THIRD, FOURTH, GREY, INK), "osv^DPX"
VARIABLES = {  # CSS variables of a page, which change in dark mode
    INK: "ink", PAPER: "paper", GRID: "rule", GREY: "grey",
    MODEL: "model", OTHER: "other", THIRD: "third", FOURTH: "fourth",
}  # fmt: skip
LEAD: dict[str, Any] = {"color": MODEL, "marker": "o", "linewidth": 2.2, "markersize": 6}
SECOND: dict[str, Any] = {"color": OTHER, "marker": "s", "linestyle": "--", "markersize": 4}
CONTROL: dict[str, Any] = {"color": GREY, "marker": "v", "linestyle": ":", "markersize": 4}
LIMIT: dict[str, Any] = {"color": GREY, "linewidth": 1, "linestyle": (0, (6, 3))}

Axes: TypeAlias = "matplotlib.axes.Axes"
Drawing: TypeAlias = "matplotlib.figure.Figure"
Interval = Any
"""A record with a ``value`` and the bounds ``low`` and ``high`` of its 95% interval."""


class Size(NamedTuple):
    """Layout of a figure: its size in inches, its type sizes in points."""

    width: float
    height: float
    text: float
    small: float  # type size of labels along lines
    label_chars: int  # maximum characters per line of a label beside the axes
    wide: bool  # has room for a title and for long axis labels


PICTURE = Size(9.6, 6.0, text=10, small=9, label_chars=24, wide=True)
PAGE = Size(4.6, 4.4, text=12, small=11.5, label_chars=13, wide=False)
"""For the width of a phone, where a point is a pixel. The page supplies the title."""


def panel(
    fill: Callable[[Axes, Size], object], x: str, y: str, height: float | None = None
) -> Callable[[Size, str], Drawing]:
    """Return a function that draws a figure for a size and a title.

    ``fill`` draws in its axes, which are labelled ``x`` and ``y``. A wide figure has room for the
    title. ``height`` is in inches, by default that of the size.
    """

    def draw(size: Size, title: str) -> Drawing:
        from matplotlib.figure import Figure

        shape = size.width, height or size.height
        figure = Figure(figsize=shape, dpi=150, layout="constrained")
        axes = figure.add_subplot()
        fill(axes, size)
        axes.set_xlabel(x, fontsize=size.text)
        axes.set_ylabel(y, fontsize=size.text)
        axes.tick_params(labelsize=size.text if size.wide else size.small)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        if size.wide:
            figure.suptitle(visible_line(title), x=0.01, ha="left", fontsize=13, parse_math=False)
        _label_ends(axes, size, 72 * shape[1])
        return figure

    return draw


def curve(
    axes: Axes, chars: Sequence[float], found: Sequence[Interval | None], name: str, **style: Any
) -> None:
    """Draw values with their 95% intervals against distances in characters; None is skipped."""
    there = [(x, y.value, y.value - y.low, y.high - y.value)
             for x, y in zip(chars, found, strict=True) if y]  # fmt: skip
    x, values, *errors = zip(*there, strict=True)
    axes.errorbar(x, values, yerr=errors, capsize=3, label=name, **style)


def limits(axes: Axes, x: Sequence[float], marks: Sequence[tuple[float, str]], size: Size) -> None:
    """Mark each (place, label) with a labelled line; one off the axis of ``x`` has no line."""
    row = 0
    for place in sorted({place for place, _ in marks}):
        text = " = ".join(text for at, text in marks if at == place)
        if x[0] <= place <= x[-1]:
            axes.axvline(place, **LIMIT)
        else:
            text += ", off the axis"
        text = textwrap.fill(visible_line(text), 80 if size.wide else 28)
        # On the right of the axes there is room, beside the labels of the curves.
        near_left = place <= x[0] * (max(x[-1], 1) / x[0]) ** 0.6
        axes.annotate(
            text, (min(max(place, x[0]), x[-1]), 1), (0, 3 + 1.3 * size.small * row),
            xycoords=axes.get_xaxis_transform(), textcoords="offset points",
            ha="left" if near_left else "right", va="bottom", color=GREY, fontsize=size.small,
            parse_math=False,
        )  # fmt: skip
        row += 1 + text.count("\n")


def powers_of_two(axes: Axes, chars: Sequence[int], size: Size) -> None:
    """Make the x axis logarithmic with a tick at each of ``chars``."""
    # A narrow figure has room for the labels of every second tick.
    labelled = chars[::-1][:: 1 if size.wide or len(chars) <= 5 else 2]
    axes.set_xscale("log", base=2)
    axes.set_xticks(chars, [str(n) if n in labelled else "" for n in chars])
    axes.minorticks_off()


def _label_ends(axes: Axes, size: Size, height: float) -> None:
    """Label each curve beside the axes, which share ``height`` points with their labels."""
    from matplotlib.colors import to_hex
    from matplotlib.offsetbox import AnnotationBbox, TextArea

    found = []
    axes.get_ylim()  # transData is out of date until the limits are read
    for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
        line, end, color = getattr(handle, "lines", [handle])[0], 1.0, None
        if hasattr(line, "get_ydata"):  # otherwise a band
            values = [float(y) for y in line.get_ydata() if math.isfinite(y)] or [0.0]
            point = axes.transData.transform((1, values[-1]))
            end, color = float(axes.transAxes.inverted().transform(point)[1]), line.get_color()
        text = textwrap.fill(visible_line(name), size.label_chars, break_long_words=False)
        found.append((end, text, to_hex(color or line.get_facecolor())))
    found.sort(key=lambda one: one[0])
    halves = [(1 + text.count("\n")) * 0.9 * size.small / height for _, text, _ in found]
    places = [end for end, *_ in found]
    for n in range(1, len(places)):  # push up what covers the label below
        places[n] = max(places[n], places[n - 1] + halves[n - 1] + halves[n])
    for n in reversed(range(len(places))):  # push down what does not fit below the top
        top = places[n + 1] - halves[n + 1] if n + 1 < len(places) else 1.02
        places[n] = min(places[n], top - halves[n])
    for (end, text, color), place in zip(found, places, strict=True):
        look = {"color": color, "fontsize": size.small, "linespacing": 1.1, "parse_math": False}
        box = AnnotationBbox(
            TextArea(text, textprops=look), xy=(1, end), xybox=(1.04, place), frameon=False, pad=0,
            xycoords="axes fraction", boxcoords="axes fraction", box_alignment=(0, 0.5),
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.7, "relpos": (0, 0.5)},
        )  # fmt: skip
        axes.add_artist(box)


def svg(figure: Drawing, name: str, label: str) -> "Markup":
    """Return the figure as inline ``<svg>`` in the page's style; ``name`` makes its ids unique."""
    import matplotlib
    from markupsafe import Markup, escape

    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg")
    drawn = written.getvalue()
    (box,) = re.findall(r'<svg [^>]*viewBox="([^"]+)"', drawn)
    inside = drawn[drawn.index(">", drawn.index("<svg")) + 1 : drawn.rindex("</svg>")]
    return Markup(
        f'<svg viewBox="{box}" role="img" aria-label="{escape(visible(label))}" '
        'style="max-width: 30rem; fill: var(--ink); stroke-linejoin: round; stroke-linecap: butt">'
        f"{_inline(inside)}</svg>"
    )


def _inline(drawn: str) -> str:
    """Remove what only a standalone file needs, and replace colors by CSS variables."""
    drawn = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawn, flags=re.S)
    used = set(re.findall(r'(?:href="#|url\(#)([\w-]+)', drawn))

    def tag(match: re.Match[str]) -> str:
        text = re.sub(r" font-family: [^;\"]*;?", "", match[0]).replace("xlink:", "")
        for color, variable in VARIABLES.items():
            text = text.replace(color, f"var(--{variable})")
        return re.sub(r' id="([^"]*)"', lambda had: had[0] if had[1] in used else "", text)

    return re.sub(r"\n\s*", "\n", re.sub(r"<[^>]*>", tag, drawn))
