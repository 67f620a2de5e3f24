"""How far gradients go, as pictures. matplotlib is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chargen.probes.gradient.result import Curve, GradientResult, LayerGradient
from chargen.probes.gradient.table import check_pair
from chargen.render import figures as drawing
from chargen.render.figures import GREY, INK, MODEL, OTHER, PICTURE, THIRD, Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

X = "k: characters from the state to the loss"
RATIO = "g(k)/g(0)"
PART_STYLES = {"h": ("--", THIRD), "c": (":", OTHER)}  # beside the whole state


def save_gradient_plot(
    result: GradientResult,
    path: str | Path,
    initial: GradientResult | None = None,
    title: str = "",
) -> None:
    """Write g(k)/g(0) against k to ``path``, a PNG of 1440 × 900 pixels.

    `ChargenError` where the path cannot be written.
    """
    drawing.save(gradient_figure(result, initial, title), path)


def gradient_figure(
    result: GradientResult,
    initial: GradientResult | None = None,
    title: str = "",
    size: Size = PICTURE,
) -> Figure:
    """The picture as a matplotlib figure, drawn without any display: a panel a layer.

    Lines are medians over positions, bands go from quartile to quartile. ``initial``, the same
    model at initialisation, is drawn in grey. Lines mark a half and the length that gradients
    travelled in training. The scale is logarithmic, so that rho^k is straight; what is zero is
    not drawn.
    """
    check_pair(result, initial)
    across = min(size.panels_across, len(result.layers))
    down = -(-len(result.layers) // across)
    figure = drawing.new_figure(size, down)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for place, (layer, axes) in enumerate(zip(result.layers, panels, strict=False)):
        axes.axhline(0.5, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="a half")
        _draw_layer(axes, layer, initial.layers[place] if initial else None)
        below = place + across < len(result.layers)  # whether there is a panel
        _dress(axes, result, layer, size, "" if below else X)
        axes.tick_params(labelbottom=not below)
    for axes in panels[len(result.layers) :]:
        axes.set_visible(False)
    if size.wide:
        figure.supylabel(f"{RATIO}: how far a change is felt, not what is remembered", fontsize=10)
    drawing.finish(figure, size, title or "How far back does the gradient go?")
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


def _dress(axes: Axes, result: GradientResult, layer: LayerGradient, size: Size, x: str) -> None:
    axes.set_yscale("log")
    axes.set_xlim(0, result.span)
    limit = result.trained_timesteps
    if limit is not None and limit <= result.span:
        drawing.mark(axes, limit, f"--timesteps {limit}", size, at="bottom")
    axes.set_title(f"layer {layer.layer}, {layer.units} units", loc="left", fontsize=size.text)
    drawing.dress(axes, size, x, "" if size.wide else RATIO)
