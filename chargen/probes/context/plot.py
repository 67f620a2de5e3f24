"""What instrument (b) found, as pictures. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chargen.errors import ChargenError
from chargen.probes.context.measure import BAR_BITS, ContextResult
from chargen.probes.mined.result import MinedResult, MinedRow
from chargen.render import figures as drawing
from chargen.render.figures import GREY, INK, LEAD, MODEL, OTHER, PICTURE, Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONTROL: dict[str, Any] = {"color": GREY, "marker": "v", "linestyle": ":", "markersize": 4}
BAND = "effective context, 95 % interval"


def save_context_plot(
    result: ContextResult,
    path: str | Path,
    title: str = "",
    untrained: ContextResult | None = None,
) -> None:
    """Write excess against context to ``path``, a PNG of 1440 × 900 pixels.

    Bars are 95 % intervals; lines mark the bar under which excess counts as none, the effective
    context and the length that gradients travelled in training. A result without rows and a path
    that cannot be written are refused.
    """
    if not result.rows:
        raise ChargenError(f"{path}: there is nothing to draw: {result.finding()}")
    drawing.save(context_figure(result, title, untrained), path)


def save_mined_plot(result: MinedResult, path: str | Path, title: str = "") -> None:
    """Write bits gained against distance to ``path``, a PNG of 1440 × 900 pixels.

    A result in which no bin has cases enough and a path that cannot be written are refused.
    """
    if not any(row.gain for row in result.rows):
        raise ChargenError(f"{path}: there is nothing to draw: {result.finding()}")
    drawing.save(mined_figure(result, title), path)


def context_figure(
    result: ContextResult,
    title: str = "",
    untrained: ContextResult | None = None,
    size: Size = PICTURE,
) -> Figure:
    """Excess against context, drawn without any display; an ``untrained`` network's in grey."""
    figure = drawing.new_figure(size)
    axes = figure.add_subplot()
    rows = result.rows[1:]  # an axis of powers has no place for 0
    contexts = [row.context for row in rows]
    if untrained:
        swaps = [row.swap for row in untrained.rows[1:]]
        drawing.curve(axes, contexts, swaps, "untrained, swap", **CONTROL)
    style = {"color": OTHER, "marker": "s", "linestyle": "--", "markersize": 4}
    drawing.curve(axes, contexts, [row.reset for row in rows], "reset: nothing before", **style)
    swaps = [row.swap for row in rows]
    drawing.curve(axes, contexts, swaps, "swap: another part of the text", **LEAD)
    axes.set_yscale("symlog", linthresh=BAR_BITS)
    axes.yaxis.set_major_formatter("{x:g}")
    bar = f"counts as none: {BAR_BITS} bits, 1 % of perplexity"
    axes.axhline(BAR_BITS, color=INK, linewidth=1, linestyle=":", label=bar)
    axes.axhline(0, color=INK, linewidth=1)
    value, low, high = result.effective
    _mark_timesteps(axes, contexts, result.trained_timesteps, size)
    if value:
        drawing.mark(axes, value, f"effective context {value}", size, right=True)
    if low and low != high:  # a band that ends with the axis is open there
        axes.axvspan(low, high or contexts[-1], color=MODEL, alpha=0.1, linewidth=0, label=BAND)
    drawing.powers_of_two(axes, contexts)
    lost = "bits a character lost, with 95 % intervals"
    drawing.dress(axes, size, "characters in view", lost)
    drawing.finish(figure, size, title or "How much is lost with so few characters in view?")
    return figure


def mined_figure(result: MinedResult, title: str = "", size: Size = PICTURE) -> Figure:
    """Bits gained against distance, drawn without any display."""
    figure = drawing.new_figure(size)
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(row.kind for row in result.rows if row.gain))
    for kind, marker in zip(kinds, "os", strict=False):
        rows = [row for row in result.of_kind(kind) if row.gain]
        gains, over = [row.gain for row in rows], [row.over_ngram for row in rows]
        if result.ngram:
            style = {"color": OTHER, "marker": marker, "linestyle": "--", "markersize": 4}
            drawing.curve(axes, _middles(rows), over, f"{kind}, over a {result.ngram}", **style)
        if any(row.untrained for row in rows):
            style = CONTROL | {"marker": marker}
            idle = [row.untrained for row in rows]
            drawing.curve(axes, _middles(rows), idle, f"{kind}, untrained", **style)
        style = LEAD | {"marker": marker}
        drawing.curve(axes, _middles(rows), gains, f"{kind}, over swap", **style)
    axes.axhline(0, color=INK, linewidth=1, label="no gain")
    measured = sorted({row.distance for row in result.rows if row.gain})
    distances = [*measured, 2 * measured[-1]]
    _mark_timesteps(axes, distances, result.trained_timesteps, size)
    drawing.powers_of_two(axes, distances)
    x = "characters between cue and target"
    x += "; a point stands for one power of two" if size.wide else ""
    drawing.dress(axes, size, x, "bits a target gained, with 95 % intervals")
    drawing.finish(figure, size, title or "What is a cue worth so far back?")
    return figure


def _middles(rows: Sequence[MinedRow]) -> list[float]:
    return [(row.distance * (row.distance_most + 1)) ** 0.5 for row in rows]


def _mark_timesteps(axes: Axes, chars: Sequence[int], timesteps: int | None, size: Size) -> None:
    if timesteps:
        drawing.limits(axes, chars, [(timesteps, f"--timesteps {timesteps}")], size, "top")
