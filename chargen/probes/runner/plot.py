"""How several runs compare, as pictures. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chargen.errors import ChargenError
from chargen.probes.runner.table import limits, short_names
from chargen.probes.templates import span_axes
from chargen.probes.templates.result import TemplatesResult
from chargen.render import figures as drawing
from chargen.render.figures import FOURTH, GREY, INK, MODEL, OTHER, PAPER, PICTURE, THIRD, Size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS, MARKERS = (MODEL, OTHER, THIRD, FOURTH, GREY, INK), "osv^DPX"


def save_templates_runs_plot(
    results: Mapping[str, TemplatesResult], path: str | Path, title: str = ""
) -> None:
    """Write accuracy against span, a curve a run, to ``path``, a PNG of 1440 × 900 pixels.

    Runs that claim nothing are left out; where none is left and where the path cannot be written
    is a `ChargenError`.
    """
    if all(result.refusal for result in results.values()):
        raise ChargenError(f"{path}: there is nothing to draw: no run has learned the bank")
    drawing.save(templates_runs_figure(results, title), path)


def templates_runs_figure(
    results: Mapping[str, TemplatesResult], title: str = "", size: Size = PICTURE
) -> Figure:
    """Accuracy against span, drawn without any display.

    Bars are 95 % intervals and a diamond of a run's colour stands at its span50. Upright lines
    mark how far training went; every run's ``--timesteps`` is named beside it too, since the line
    may lie off the axis.
    """
    known = {run: result for run, result in results.items() if not result.refusal}
    names = short_names(list(results))
    figure = drawing.new_figure(size)
    axes = figure.add_subplot()
    rows = next(iter(known.values())).rows
    spans = [row.span for row in rows]
    span_axes.draw_chance(axes, rows)
    on_axis = [limit for limit in limits(known, names) if spans[0] <= limit[0] <= spans[-1]]
    drawing.limits(axes, spans, on_axis, size)
    for (run, result), style in zip(known.items(), _styles(), strict=False):
        shares = span_axes.shares(row.all for row in result.rows)
        drawing.curve(axes, spans, shares, _named(names[run], result), **style)
        if result.span50 and result.span50.on_grid:
            look = {"color": style["color"], "markersize": 9, "markerfacecolor": PAPER}
            span_axes.draw_span50(axes, result.span50, **look)
    span_axes.dress(axes, rows, size)
    drawing.finish(figure, size, title or "Which remembers farther?")
    return figure


def _styles() -> Iterator[dict[str, Any]]:
    """A colour and a marker for each run, then the same colours with other markers."""
    for colour, marker in zip(cycle(COLOURS), cycle(MARKERS), strict=False):
        yield {"color": colour, "marker": marker, "linewidth": 2, "markersize": 5}


def _timesteps(result: TemplatesResult) -> str:
    steps = result.trained_timesteps
    return f", --timesteps {steps}" if steps else ""


def _named(name: str, result: TemplatesResult) -> str:
    half = f", span50 {result.span50.text()}" if result.span50 else ""
    return f"{name}{_timesteps(result)}{half}"
