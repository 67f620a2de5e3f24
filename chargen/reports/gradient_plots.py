"""How far gradients go, as pictures. matplotlib is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chargen.errors import ChargenError
from chargen.probes.gradient_result import Curve, GradientResult, LayerGradient
from chargen.reports.gradient_tables import check_pair
from chargen.reports.plots import DECOY, GREY, MODEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_ACROSS = 3
PART_STYLES = {"h": ("--", "#2b8a57"), "c": (":", DECOY)}  # beside the whole state


def save_gradient_plot(
    result: GradientResult,
    path: str | Path,
    initial: GradientResult | None = None,
    title: str = "",
) -> None:
    """Write g(k)/g(0) against k to ``path``, a PNG of 1440 × 900 pixels.

    `ChargenError` where the path cannot be written.
    """
    figure = gradient_figure(result, initial, title)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise ChargenError(f"{path}: cannot be written ({error.strerror})") from error


def gradient_figure(
    result: GradientResult, initial: GradientResult | None = None, title: str = ""
) -> Figure:
    """The picture as a matplotlib figure, drawn without any display: a panel a layer.

    Lines are medians over positions, bands go from quartile to quartile. ``initial``, the same
    model at initialisation, is drawn in grey. Lines mark a half and the length that gradients
    travelled in training. The scale is logarithmic, so that rho^k is straight; what is zero is
    not drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_pair(result, initial)
    figure = Figure(figsize=(9.6, 6.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    across = min(PANELS_ACROSS, len(result.layers))
    down = -(-len(result.layers) // across)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for place, (layer, axes) in enumerate(zip(result.layers, panels, strict=False)):
        _draw_layer(axes, layer, initial.layers[place] if initial else None)
        _dress(axes, result, f"layer {layer.layer}, {layer.units} units")
        if place + across >= len(result.layers):  # no panel below
            axes.set_xlabel("k: characters from the state to the loss")
            axes.tick_params(labelbottom=True)
    for axes in panels[len(result.layers) :]:
        axes.set_visible(False)
    figure.suptitle(title or "How far back does the gradient go?", x=0.01, ha="left", fontsize=13)
    figure.supylabel("g(k)/g(0): how far a change is felt, not what is remembered", fontsize=10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncol=3, frameon=False, fontsize=9)
    return figure


def _draw_layer(axes: Axes, layer: LayerGradient, initial: LayerGradient | None) -> None:
    if initial:
        style = {"color": GREY, "linewidth": 1.6}
        _draw_band(axes, initial.whole, "at initialisation, with quartiles", style)
    for curve in layer.curves[:-1]:
        line, colour = PART_STYLES[curve.part]
        label = f"model, {curve.part} alone"
        axes.plot(_powers(curve.median), label=label, color=colour, linestyle=line, linewidth=1.4)
    name = "h and c together" if len(layer.curves) > 1 else "h"
    style = {"color": MODEL, "linewidth": 2.2}
    _draw_band(axes, layer.whole, f"model, {name}, with quartiles", style)


def _draw_band(axes: Axes, curve: Curve, name: str, style: dict[str, Any]) -> None:
    lower, upper = _powers(curve.lower), _powers(curve.upper)
    distances = range(len(lower))
    axes.fill_between(distances, lower, upper, color=style["color"], alpha=0.18, linewidth=0)
    axes.plot(_powers(curve.median), label=name, **style)


def _powers(logarithms: np.ndarray) -> np.ndarray:
    """10 to each; nan, which is not drawn, where a logarithmic scale has no place for it."""
    finite = np.where(np.abs(logarithms) < 300, logarithms, np.nan)
    return np.asarray(10**finite)


def _dress(axes: Axes, result: GradientResult, title: str) -> None:
    axes.set_yscale("log")
    axes.set_xlim(0, result.span)
    axes.axhline(0.5, color="black", linewidth=1, linestyle=(0, (1, 2)), label="a half")
    limit = result.trained_timesteps
    if limit is not None and limit <= result.span:
        axes.axvline(limit, color=GREY, linewidth=1, linestyle=(0, (6, 3)))
        axes.annotate(
            f"--timesteps {limit}", (limit, 0.03), (-4, 0), ("data", "axes fraction"),
            textcoords="offset points", rotation=90, ha="right", color=GREY, fontsize=9,
        )  # fmt: skip
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
