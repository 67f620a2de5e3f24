"""Shared style of the figures: axes, marks, and output as PNG or inline SVG.

matplotlib is imported when a figure is made.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from chargen.errors import ChargenError
from chargen.render.text import visible, visible_line

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PAPER, GRID, GREY = "#000000", "#ffffff", "#e4e4e4", "#6b6b6b"
MODEL, OTHER, THIRD, FOURTH = "#1f5fa8", "#c2571a", "#2b8a57", "#8a4fa3"
COLORS, MARKERS = (MODEL, OTHER, THIRD, FOURTH, GREY, INK), "osv^DPX"
VARIABLES = {  # CSS variables of a page, which change in dark mode
    INK: "ink", PAPER: "paper", GRID: "rule", GREY: "grey",
    MODEL: "model", OTHER: "other", THIRD: "third", FOURTH: "fourth",
}  # fmt: skip
LEAD: dict[str, Any] = {"color": MODEL, "marker": "o", "linewidth": 2.2, "markersize": 6}
LIMIT: dict[str, Any] = {"color": GREY, "linewidth": 1, "linestyle": (0, (6, 3))}
CHAR_WIDTH = 0.58  # mean width of a character, as a fraction of its height


@dataclass(frozen=True)
class Size:
    """Layout of a figure: its size in inches, its type sizes in points."""

    width: float
    height: float
    text: float
    small: float  # type size of the legend and of labels along lines
    columns: int  # columns of the legend, at most
    panels_across: int
    wide: bool  # has room for a title and for long axis labels


class Interval(Protocol):
    """A value with the bounds of its 95% interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


PICTURE = Size(9.6, 6.0, text=10, small=9, columns=3, panels_across=3, wide=True)
PAGE = Size(4.8, 4.7, text=10.5, small=10, columns=2, panels_across=1, wide=False)
"""For the width of a phone, where a point is a pixel. The page supplies the title."""


def new_figure(size: Size, rows: int = 1) -> Figure:
    """Return an empty figure without a display; a narrow one grows with its rows of panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = size.height if size.wide else size.height * (1 + 0.6 * (rows - 1))
    figure = Figure(figsize=(size.width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG, 1440 × 900 pixels for `PICTURE`.

    Raises:
        ChargenError: if the file cannot be written.
    """
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
    """Draw values with their 95% intervals against distances in characters; None is skipped."""
    there = [(x, one) for x, one in zip(chars, found, strict=True) if one]
    below = [one.value - one.low for _, one in there]
    above = [one.high - one.value for _, one in there]
    values = [one.value for _, one in there]
    axes.errorbar(
        [x for x, _ in there], values, yerr=[below, above], capsize=3, label=name, **style
    )


def label(
    axes: Axes,
    place: tuple[float, float],
    text: str,
    color: str,
    side: Literal["right", "above", "below"],
) -> None:
    """Write a direct label beside a point; ``above`` and ``below`` end at the point."""
    offset = {"right": (8, 4), "above": (4, 6), "below": (4, -6)}[side]
    axes.annotate(
        visible_line(text), place, offset, textcoords="offset points", color=color, fontsize=10,
        ha="left" if side == "right" else "right",
        va={"right": "center", "above": "bottom", "below": "top"}[side],
        parse_math=False,
    )  # fmt: skip


def limits(
    axes: Axes, chars: Sequence[float], marks: Sequence[tuple[float, str]], size: Size
) -> None:
    """Mark each limit of ``marks``, (place, label), with a line that is labelled above the axes.

    Limits at one place share a line; every label has its own row. A limit off the axis from
    ``chars[0]`` to ``chars[-1]`` has a label and no line.
    """
    labels: dict[float, list[str]] = {}
    for place, text in sorted(marks, key=lambda mark: mark[0]):
        labels.setdefault(place, []).append(text)
    for row, (place, texts) in enumerate(labels.items()):
        text, inside = " = ".join(texts), chars[0] <= place <= chars[-1]
        if inside:
            axes.axvline(place, **LIMIT)
        near_left = place < math.sqrt(chars[0] * max(chars[-1], 1))
        axes.annotate(
            visible_line(text if inside else f"{text}, off the axis"),
            (min(max(place, chars[0]), chars[-1]), 1), (0, 3 + 1.3 * size.small * row),
            xycoords=axes.get_xaxis_transform(), textcoords="offset points",
            ha="left" if near_left else "right", va="bottom", color=GREY, fontsize=size.small,
            parse_math=False,
        )  # fmt: skip


def named(axes: Axes, text: str) -> None:
    """Add ``text`` to the legend without drawing anything."""
    axes.plot([], [], linestyle="none", label=text)


def curve_styles() -> Iterator[dict[str, Any]]:
    """Yield a color and marker for each of several curves without end."""
    for color, marker in zip(cycle(COLORS), cycle(MARKERS), strict=False):
        yield {"color": color, "marker": marker, "linewidth": 2, "markersize": 5}


def powers_of_two(axes: Axes, chars: Sequence[int]) -> None:
    """Make the x axis logarithmic with a tick at each of ``chars``."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(chars, [str(n) for n in chars])
    axes.minorticks_off()


def dress(axes: Axes, size: Size, x: str, y: str) -> None:
    """Label the axes and remove the frame lines that carry no scale."""
    axes.set_xlabel(x, fontsize=size.text)
    axes.set_ylabel(y, fontsize=size.text)
    axes.tick_params(labelsize=size.text if size.wide else size.small)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def finish(figure: Figure, size: Size, title: str, legend: bool = True) -> None:
    """Add the title, if there is room for it, and the legend of the first panel below.

    The curve that is drawn last comes first in the legend. Labels are plain text, never
    mathematics, and wrap at the width of the figure.
    """
    if size.wide:
        figure.suptitle(visible_line(title), x=0.01, ha="left", fontsize=13, parse_math=False)
    if not legend:
        return
    handles, labels = figure.axes[0].get_legend_handles_labels()
    labels = [visible_line(label) for label in labels]
    across = 72 * size.width / (CHAR_WIDTH * size.small)  # characters per line
    columns = min(size.columns, int(across / (max(map(len, labels)) + 6))) or 1
    labels = [textwrap.fill(label, int(across) - 6) for label in labels]
    box = figure.legend(
        handles[::-1], labels[::-1], loc="outside lower center", ncol=columns, frameon=False,
        fontsize=size.small, columnspacing=1.2,
    )  # fmt: skip
    for text in box.get_texts():
        text.set_parse_math(False)


def svg(figure: Figure, name: str, label: str) -> Markup:
    """Return the figure as inline ``<svg>``, the same bytes every time.

    It fills the width of its parent and takes font and colors from the page's style.

    Args:
        figure: the figure to draw.
        name: unique in its page; prefixes the SVG's definitions.
        label: the text alternative.
    """
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
        'style="fill: var(--ink); stroke-linejoin: round; stroke-linecap: butt">'
        f"{_inline(inside)}</svg>"
    )


def _inline(drawn: str) -> str:
    """Remove what only a standalone file needs: metadata, global styles, comments."""
    drawn = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawn, flags=re.S)
    used = set(re.findall(r'(?:href="#|url\(#)([\w-]+)', drawn))
    drawn = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], used), drawn)
    return re.sub(r"\n\s*", "\n", drawn)


def _tag(tag: str, used: set[str]) -> str:
    """Remove fonts and unused ids from a tag, and replace colors by CSS variables."""
    tag = re.sub(r" font-family: [^;\"]*;?", "", tag).replace("xlink:", "")
    tag = re.sub(r' id="([^"]*)"', lambda had: had[0] if had[1] in used else "", tag)
    return re.sub("#[0-9a-f]{6}", lambda had: _variable(had[0]), tag)


def _variable(color: str) -> str:
    return f"var(--{VARIABLES[color]})" if color in VARIABLES else color
