"""What instrument (a) found, as a picture. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from chargen.errors import ChargenError
from chargen.probes.outcomes import Tally
from chargen.probes.statistics import Estimate
from chargen.probes.templates_result import TemplatesResult
from chargen.reports import drawing
from chargen.reports.drawing import GREY, INK, LEAD, OTHER, PICTURE, Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "sv^DPX"  # of the controls, which share one colour


def save_templates_plot(result: TemplatesResult, path: str | Path, title: str = "") -> None:
    """Write accuracy against span to ``path``, a PNG of 1440 × 900 pixels.

    Bars are 95 % intervals, a diamond stands at span50, and lines mark chance, the length that
    gradients travelled in training and the longest trained span. A result without rows and a
    path that cannot be written are refused.
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
    _dress(axes, result, size)
    drawing.finish(figure, size, title or "How far back does it remember?")
    return figure


def _draw_curves(axes: Axes, result: TemplatesResult) -> None:
    rows, spans = result.rows, [row.span for row in result.rows]
    for marker, name in zip(cycle(MARKERS), rows[0].controls, strict=False):
        found = _shares([row.controls[name] for row in rows])
        style = {"color": GREY, "marker": marker, "linestyle": ":", "markersize": 4}
        drawing.curve(axes, spans, found, name, **style)
    style = {"color": OTHER, "marker": "o", "linestyle": "--", "markersize": 4}
    decoys = _shares([row.decoy for row in rows])
    drawing.curve(axes, spans, decoys, "model, with a decoy cue", **style)
    everything = _shares([row.all for row in rows])
    drawing.curve(axes, spans, everything, "model, all frames", **LEAD)
    _draw_span50(axes, result)


def _shares(tallies: Sequence[Tally]) -> list[Estimate]:
    return [Estimate(tally.choice.share, *tally.choice.interval) for tally in tallies]


def _draw_limits(axes: Axes, result: TemplatesResult, size: Size) -> None:
    first, last = result.rows[0], result.rows[-1]
    candidates = f"1/{1 / first.chance:.0f}"
    axes.axhline(first.chance, color=INK, linewidth=1, label=f"chance, {candidates}")
    for limit, text in result.limits:
        if first.span <= limit <= last.span:
            drawing.mark(axes, limit, text, size, at="middle", right=limit == first.span)


def _draw_span50(axes: Axes, result: TemplatesResult) -> None:
    """Where the curve is half-way, with its interval as far as the spans go; in words off them."""
    half = result.span50
    if half is None:
        return
    if not half.on_grid:
        axes.plot([], [], linestyle="none", label=f"span50 {half.text()}")
        return
    low, high = max(half.low, half.first), min(half.high, half.last)
    axes.errorbar(
        [half.chars], [half.half_way], xerr=[[half.chars - low], [high - half.chars]],
        color=INK, marker="D", markersize=6, capsize=4, linestyle="none", zorder=4,
        label=f"span50 {half.text()}",
    )  # fmt: skip


def _dress(axes: Axes, result: TemplatesResult, size: Size) -> None:
    spans = [row.span for row in result.rows]
    drawing.powers_of_two(axes, spans)
    axes.set_xlim(spans[0] / 1.25, spans[-1] * 1.25)
    axes.set_ylim(-0.02, 1.04)
    axes.set_yticks(
        [tenth / 10 for tenth in range(0, 11, 2)], [f"{t} %" for t in range(0, 101, 20)]
    )
    far = "span: characters from the end of the cue to the start of the target"
    x = far if size.wide else "span: characters from cue to target"
    drawing.dress(axes, size, x, "right answers, with 95 % intervals")
