"""What all figures share: how they are made, dressed and written, as PNG or inside a page.

matplotlib is imported when a figure is made.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chargen.errors import ChargenError
from chargen.render.html import escape
from chargen.render.tables import Interval
from chargen.render.text import visible_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PAPER, GRID, GREY = "#000000", "#ffffff", "#e4e4e4", "#6b6b6b"
MODEL, OTHER, THIRD, FOURTH = "#1f5fa8", "#c2571a", "#2b8a57", "#8a4fa3"
VARIABLES = {  # of a page's style, which has other values in the dark
    INK: "ink", PAPER: "paper", GRID: "rule", GREY: "grey",
    MODEL: "model", OTHER: "other", THIRD: "third", FOURTH: "fourth",
}  # fmt: skip
LEAD: dict[str, Any] = {"color": MODEL, "marker": "o", "linewidth": 2.2, "markersize": 6}
LIMIT: dict[str, Any] = {"color": GREY, "linewidth": 1, "linestyle": (0, (6, 3))}
MARKED_AT = {"top": (0.97, "right"), "middle": (0.5, "center"), "bottom": (0.03, "left")}
CHAR_WIDTH = 0.58  # of a character as a share of its height, on average


@dataclass(frozen=True)
class Size:
    """How much room a figure has. Letters are in points, the figure in inches."""

    width: float
    height: float
    text: float
    small: float  # of the legend and of words along lines
    columns: int  # of the legend, at most
    panels_across: int
    wide: bool  # room for a title and for long words along the axes


PICTURE = Size(9.6, 6.0, text=10, small=9, columns=3, panels_across=3, wide=True)
PAGE = Size(4.8, 4.7, text=10.5, small=10, columns=2, panels_across=1, wide=False)
"""Made for the width of a phone, where a point is a pixel. A page has headings of its own."""


def new_figure(size: Size, rows: int = 1) -> Figure:
    """An empty figure without any display; a narrow one is taller for each more row of panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = size.height if size.wide else size.height * (1 + 0.6 * (rows - 1))
    figure = Figure(figsize=(size.width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG, 1440 × 900 pixels for a `PICTURE`; `ChargenError` where it cannot be."""
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise ChargenError(f"{path}: cannot be written ({error.strerror})") from error


def curve(
    axes: Axes,
    chars: Sequence[float],
    found: Sequence[Interval | None],
    name: str,
    **style: Any,
) -> None:
    """Points with their 95 % intervals over distances in characters; None is not drawn."""
    there = [(x, one) for x, one in zip(chars, found, strict=True) if one]
    below = [one.value - one.low for _, one in there]
    above = [one.high - one.value for _, one in there]
    values = [one.value for _, one in there]
    axes.errorbar(
        [x for x, _ in there], values, yerr=[below, above], capsize=3, label=name, **style
    )


def mark(
    axes: Axes,
    place: float,
    text: str,
    size: Size,
    at: Literal["top", "middle", "bottom"] = "top",
    right: bool = False,
) -> None:
    """An upright line at ``place`` characters with words along it, left or right of it."""
    height, align = MARKED_AT[at]
    axes.axvline(place, **LIMIT)
    axes.annotate(
        visible_line(text), (place, height), (4 if right else -4, 0),
        xycoords=axes.get_xaxis_transform(), textcoords="offset points",
        rotation=90, rotation_mode="anchor", ha=align, va="top" if right else "bottom",
        color=GREY, fontsize=size.small, zorder=1, parse_math=False,
    )  # fmt: skip


def limit(
    axes: Axes,
    chars: Sequence[float],
    place: float,
    text: str,
    size: Size,
    at: Literal["top", "middle", "bottom"] = "top",
) -> None:
    """`mark` where ``place`` lies on the axis from ``chars[0]`` on; else the legend names it."""
    if chars[0] <= place <= chars[-1]:  # left of the first stand the axis's own words
        mark(axes, place, text, size, at, right=place == chars[0])
    else:
        named(axes, f"{text}, off the axis")


def named(axes: Axes, text: str) -> None:
    """``text`` in the legend, with nothing drawn."""
    axes.plot([], [], linestyle="none", label=text)


def powers_of_two(axes: Axes, chars: Sequence[int]) -> None:
    """A logarithmic axis of distances with a tick at each of ``chars``."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(chars, [str(n) for n in chars])
    axes.minorticks_off()


def dress(axes: Axes, size: Size, x: str, y: str) -> None:
    """Name the axes and leave of their frame what is needed."""
    axes.set_xlabel(x, fontsize=size.text)
    axes.set_ylabel(y, fontsize=size.text)
    axes.tick_params(labelsize=size.text if size.wide else size.small)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def finish(figure: Figure, size: Size, title: str) -> None:
    """Put the title above, where there is room for it, and the first panel's legend below.

    What is drawn last, over the rest, is named first. Names may hold any character: none of them
    is taken for mathematics. One that is wider than the figure goes on in another line.
    """
    if size.wide:
        figure.suptitle(visible_line(title), x=0.01, ha="left", fontsize=13, parse_math=False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    labels = [visible_line(label) for label in labels]
    across = 72 * size.width / (CHAR_WIDTH * size.small)  # characters side by side
    columns = min(size.columns, int(across / (max(map(len, labels)) + 6))) or 1
    labels = [textwrap.fill(label, int(across) - 6) for label in labels]
    legend = figure.legend(
        handles[::-1], labels[::-1], loc="outside lower center", ncol=columns, frameon=False,
        fontsize=size.small, columnspacing=1.2,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an ``<svg>`` that may stand in a page, of the same bytes every time.

    It is as wide as what is round it, takes its font and its colours from there
    (`chargen.render.html.STYLE`), and is read out as ``label``. ``name`` must be another for
    each figure of a page: what is defined in one is called after it.
    """
    import matplotlib

    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg")
    drawn = written.getvalue()
    (box,) = re.findall(r'<svg [^>]*viewBox="([^"]+)"', drawn)
    inside = drawn[drawn.index(">", drawn.index("<svg")) + 1 : drawn.rindex("</svg>")]
    return (
        f'<svg viewBox="{box}" role="img" aria-label="{escape(label)}" style="fill: var(--ink); '
        f'stroke-linejoin: round; stroke-linecap: butt">{_for_a_page(inside)}</svg>'
    )


def _for_a_page(drawn: str) -> str:
    """Without what is for a file of its own: metadata, a style for all, comments."""
    drawn = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawn, flags=re.S)
    used = set(re.findall(r'(?:href="#|url\(#)([\w-]+)', drawn))
    drawn = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], used), drawn)
    return re.sub(r"\n\s*", "\n", drawn)


def _tag(tag: str, used: set[str]) -> str:
    """One tag without a font of its own or a name that is not ``used``, and with variables."""
    tag = re.sub(r" font-family: [^;\"]*;?", "", tag).replace("xlink:", "")
    tag = re.sub(r' id="([^"]*)"', lambda had: had[0] if had[1] in used else "", tag)
    return re.sub("#[0-9a-f]{6}", lambda had: _variable(had[0]), tag)


def _variable(colour: str) -> str:
    return f"var(--{VARIABLES[colour]})" if colour in VARIABLES else colour
