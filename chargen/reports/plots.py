"""Results as pictures. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chargen.errors import ChargenError
from chargen.probes.outcomes import Tally
from chargen.probes.templates import TemplatesResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL, DECOY, GREY = "#1f5fa8", "#c2571a", "#6b6b6b"
MARKERS = "sv^DPX"  # of the controls, which share one colour


def save_templates_plot(result: TemplatesResult, path: str | Path, title: str = "") -> None:
    """Write accuracy against span to ``path``, a PNG of 1440 × 900 pixels.

    Bars are 95 % intervals, a diamond stands at span50, and lines mark chance, the length that
    gradients travelled in training and the longest trained span. A result without rows and a
    path that cannot be written are refused.
    """
    if not result.rows:
        raise ChargenError(f"{path}: there is nothing to draw: {result.finding()}")
    figure = templates_figure(result, title)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise ChargenError(f"{path}: cannot be written ({error.strerror})") from error


def templates_figure(result: TemplatesResult, title: str = "") -> Figure:
    """The picture as a matplotlib figure, drawn without any display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 6.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_limits(axes, result)
    _draw_curves(axes, result)
    _dress(axes, result, title)
    return figure


def _draw_curves(axes: Axes, result: TemplatesResult) -> None:
    rows = result.rows
    for marker, name in zip(cycle(MARKERS), rows[0].controls, strict=False):
        style = {"color": GREY, "marker": marker, "linestyle": ":", "markersize": 4}
        _curve(axes, result, [row.controls[name] for row in rows], name, style)
    style = {"color": DECOY, "marker": "o", "linestyle": "--", "markersize": 4}
    _curve(axes, result, [row.decoy for row in rows], "model, with a decoy cue", style)
    style = {"color": MODEL, "marker": "o", "linewidth": 2.2, "markersize": 6}
    _curve(axes, result, [row.all for row in rows], "model, all frames", style)
    _draw_span50(axes, result)


def _curve(
    axes: Axes, result: TemplatesResult, tallies: Sequence[Tally], name: str, style: dict[str, Any]
) -> None:
    choices = [tally.choice for tally in tallies]
    shares = [choice.share for choice in choices]
    below = [choice.share - choice.interval[0] for choice in choices]
    above = [choice.interval[1] - choice.share for choice in choices]
    spans = [row.span for row in result.rows]
    axes.errorbar(spans, shares, yerr=[below, above], capsize=3, label=name, **style)


def _draw_limits(axes: Axes, result: TemplatesResult) -> None:
    first, last = result.rows[0], result.rows[-1]
    candidates = f"1/{1 / first.chance:.0f}"
    axes.axhline(first.chance, color="black", linewidth=1, label=f"chance, {candidates}")
    for limit, text in result.limits:
        if first.span <= limit <= last.span:
            axes.axvline(limit, color=GREY, linewidth=1, linestyle=(0, (6, 3)))
            axes.annotate(
                text, (limit, 0.5), (-4, 0), textcoords="offset points", rotation=90,
                ha="right", va="center", color=GREY, fontsize=9,
            )  # fmt: skip


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
        color="black", marker="D", markersize=6, capsize=4, linestyle="none", zorder=4,
        label=f"span50 {half.text()}",
    )  # fmt: skip


def _dress(axes: Axes, result: TemplatesResult, title: str) -> None:
    spans = [row.span for row in result.rows]
    axes.set_xscale("log", base=2)
    axes.set_xticks(spans, [str(span) for span in spans])
    axes.minorticks_off()
    axes.set_xlim(spans[0] / 1.25, spans[-1] * 1.25)
    axes.set_ylim(-0.02, 1.04)
    axes.set_yticks(
        [tenth / 10 for tenth in range(0, 11, 2)], [f"{t} %" for t in range(0, 101, 20)]
    )
    axes.set_xlabel("span: characters from the end of the cue to the start of the target")
    axes.set_ylabel("right answers, with 95 % intervals")
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.set_title(title or "How far back does it remember?", loc="left", fontsize=13)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncol=3, frameon=False, fontsize=9)
