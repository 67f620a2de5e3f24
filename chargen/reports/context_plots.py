"""What instrument (b) found, as pictures. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chargen.errors import ChargenError
from chargen.probes.context import BAR_BITS, ContextResult
from chargen.probes.mined import MinedResult, MinedRow
from chargen.probes.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL, OTHER, GREY = "#1f5fa8", "#c2571a", "#6b6b6b"
BAND = "effective context, 95 % interval"


def save_context_plot(result: ContextResult, path: str | Path, title: str = "") -> None:
    """Write excess against context to ``path``, a PNG of 1440 × 900 pixels.

    Bars are 95 % intervals; lines mark the bar under which excess counts as none, the effective
    context and the length that gradients travelled in training. A result without rows and a path
    that cannot be written are refused.
    """
    if not result.rows:
        raise ChargenError(f"{path}: there is nothing to draw: {result.finding()}")
    _save(context_figure(result, title), path)


def save_mined_plot(result: MinedResult, path: str | Path, title: str = "") -> None:
    """Write bits gained against distance to ``path``, a PNG of 1440 × 900 pixels.

    A result in which no bin has cases enough and a path that cannot be written are refused.
    """
    if not any(row.gain for row in result.rows):
        raise ChargenError(f"{path}: there is nothing to draw: {result.finding()}")
    _save(mined_figure(result, title), path)


def context_figure(result: ContextResult, title: str = "") -> Figure:
    """Excess against context, drawn without any display."""
    figure = _figure()
    axes = figure.add_subplot()
    rows = result.rows[1:]  # an axis of powers has no place for 0
    contexts = [row.context for row in rows]
    resets = [row.reset for row in rows if row.reset]
    style: dict[str, Any] = {"color": OTHER, "marker": "s", "linestyle": "--", "markersize": 4}
    _curve(axes, contexts, resets, "reset: nothing before", style)
    style = {"color": MODEL, "marker": "o", "linewidth": 2.2, "markersize": 6}
    _curve(axes, contexts, [row.swap for row in rows], "swap: another part of the text", style)
    axes.set_yscale("symlog", linthresh=BAR_BITS)
    axes.yaxis.set_major_formatter("{x:g}")
    bar = f"counts as none: {BAR_BITS} bits, 1 % of perplexity"
    axes.axhline(BAR_BITS, color="black", linewidth=1, linestyle=":", label=bar)
    axes.axhline(0, color="black", linewidth=1)
    _mark(axes, contexts, result.trained_timesteps, f"--timesteps {result.trained_timesteps}")
    _mark(
        axes, contexts, result.effective[0], f"effective context {result.effective[0]}", right=True
    )
    _, low, high = result.effective
    if low and low != high:  # a band that ends with the axis is open there
        axes.axvspan(low, high or contexts[-1], color=MODEL, alpha=0.1, linewidth=0, label=BAND)
    axes.set_xlabel("characters in view")
    axes.set_ylabel("bits a character lost, with 95 % intervals")
    _dress(axes, contexts, title or "How much is lost with so few characters in view?")
    return figure


def mined_figure(result: MinedResult, title: str = "") -> Figure:
    """Bits gained against distance, drawn without any display."""
    figure = _figure()
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(row.kind for row in result.rows if row.gain))
    for kind, marker in zip(kinds, "os", strict=False):
        rows = [row for row in result.of_kind(kind) if row.gain]
        gains, over = [row.gain for row in rows], [row.over_ngram for row in rows]
        style: dict[str, Any] = {"color": MODEL, "marker": marker, "linewidth": 2.2}
        _curve(axes, _middles(rows), gains, f"{kind}, over swap", style)
        if result.ngram:
            style = {"color": OTHER, "marker": marker, "linestyle": "--", "markersize": 4}
            _curve(axes, _middles(rows), over, f"{kind}, over a {result.ngram}", style)
    axes.axhline(0, color="black", linewidth=1, label="no gain")
    measured = sorted({row.distance for row in result.rows if row.gain})
    distances = [*measured, 2 * measured[-1]]
    _mark(axes, distances, result.trained_timesteps, f"--timesteps {result.trained_timesteps}")
    axes.set_xlabel("characters between cue and target; a point stands for one power of two")
    axes.set_ylabel("bits a target gained, with 95 % intervals")
    _dress(axes, distances, title or "What is a cue worth so far back?")
    return figure


def _figure() -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 6.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _middles(rows: Sequence[MinedRow]) -> list[float]:
    return [(row.distance * (row.distance_most + 1)) ** 0.5 for row in rows]


def _curve(
    axes: Axes,
    chars: Sequence[float],
    found: Sequence[Estimate | None],
    name: str,
    style: dict[str, Any],
) -> None:
    there = [(x, one) for x, one in zip(chars, found, strict=True) if one]
    below = [one.value - one.low for _, one in there]
    above = [one.high - one.value for _, one in there]
    values = [one.value for _, one in there]
    axes.errorbar(
        [x for x, _ in there], values, yerr=[below, above], capsize=3, label=name, **style
    )


def _mark(
    axes: Axes, chars: Sequence[int], place: int | None, text: str, right: bool = False
) -> None:
    """An upright line with words along it, left or right, where ``place`` lies within the axis."""
    if place and chars[0] <= place <= chars[-1]:
        axes.axvline(place, color=GREY, linewidth=1, linestyle=(0, (6, 3)))
        at = axes.get_xaxis_transform()
        axes.annotate(
            text, (place, 0.97), (4 if right else -4, 0), xycoords=at,
            textcoords="offset points", rotation=90,
            ha="left" if right else "right", va="top", color=GREY, fontsize=9,
            zorder=1,
        )  # fmt: skip


def _dress(axes: Axes, chars: Sequence[int], title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(chars, [str(n) for n in chars])
    axes.minorticks_off()
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=13)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncol=3, frameon=False, fontsize=9)


def _save(figure: Figure, path: str | Path) -> None:
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise ChargenError(f"{path}: cannot be written ({error.strerror})") from error
