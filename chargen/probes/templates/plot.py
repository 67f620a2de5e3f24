"""What instrument (a) found, as a picture. matplotlib is imported when one is drawn."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from chargen.errors import ChargenError
from chargen.probes.templates import span_axes
from chargen.probes.templates.result import TemplatesResult
from chargen.render import figures as drawing
from chargen.render.figures import GREY, INK, LEAD, OTHER, PICTURE, Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "sv^DPX"  # of the controls, which share one colour


def save_templates_plot(result: TemplatesResult, path: str | Path, title: str = "") -> None:
    """Write accuracy against span to ``path``, a PNG of 1440 × 900 pixels.

    Bars are 95 % intervals, a diamond stands at span50, and lines mark chance, the length that
    gradients travelled in training and the longest trained span; one that lies off the spans is
    named in the legend. A result without rows and a path that cannot be written are refused.
    """
    if not result.rows:
        raise ChargenError(f"{path}: there is nothing to draw: {result.finding()}")
    drawing.save(templates_figure(result, title), path)


def templates_figure(result: TemplatesResult, title: str = "", size: Size = PICTURE) -> Figure:
    """The picture as a matplotlib figure, drawn without any display."""
    figure = drawing.new_figure(size)
    axes = figure.add_subplot()
    _draw_limits(axes, result, size)
    _draw_curves(axes, result)
    span_axes.dress(axes, result.rows, size)
    drawing.finish(figure, size, title or "How far back does it remember?")
    return figure


def _draw_curves(axes: Axes, result: TemplatesResult) -> None:
    rows, spans = result.rows, [row.span for row in result.rows]
    for marker, name in zip(cycle(MARKERS), rows[0].controls, strict=False):
        found = span_axes.shares(row.controls[name] for row in rows)
        style = {"color": GREY, "marker": marker, "linestyle": ":", "markersize": 4}
        drawing.curve(axes, spans, found, name, **style)
    style = {"color": OTHER, "marker": "o", "linestyle": "--", "markersize": 4}
    decoys = span_axes.shares(row.decoy for row in rows)
    drawing.curve(axes, spans, decoys, "model, with a decoy cue", **style)
    everything = span_axes.shares(row.all for row in rows)
    drawing.curve(axes, spans, everything, "model, all frames", **LEAD)
    _draw_span50(axes, result)


def _draw_limits(axes: Axes, result: TemplatesResult, size: Size) -> None:
    span_axes.draw_chance(axes, result.rows)
    spans = [row.span for row in result.rows]
    drawing.limits(axes, spans, result.limits, size)


def _draw_span50(axes: Axes, result: TemplatesResult) -> None:
    """In words where it lies off the spans."""
    half = result.span50
    if half is None:
        return
    text = f"span50 {half.text()}"
    if half.on_grid:
        span_axes.draw_span50(axes, half, color=INK, markersize=6, label=text)
    else:
        drawing.named(axes, text)
