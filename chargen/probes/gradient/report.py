"""Report of the gradient instrument: reach by layer, gradient by distance, figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chargen.probes.gradient.result import OPEN, Curve, GradientResult, LayerGradient
from chargen.render import figures
from chargen.render.figures import GREY, INK, MODEL, OTHER, THIRD, Size
from chargen.render.report import (
    NO_NUMBER,
    Block,
    Details,
    Figure,
    Section,
    Table,
    Text,
    method,
    rules_at,
    training_limits,
)
from chargen.render.text import counted, visible_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

NAME, TITLE = "gradient", "Gradient flow"
Found = Mapping[str, tuple[GradientResult, GradientResult]]
"""Results of the trained network and of the network at initialization, by run."""

RATIO = "g(k)/g(0)"
PART_STYLES = {"h": ("--", THIRD), "c": (":", OTHER)}
MEANING = (
    "The reach of a single error in training. It helps to explain the other results and does not "
    "replace them: a large gradient is not memory."
)
QUESTION = (
    "Training adjusts the network along the gradient of the loss. At each step back in time the "
    "gradient is multiplied once more, so it vanishes or explodes. Where it vanishes, training "
    "cannot adjust what the network stores. The trained network is compared with the network at "
    "initialization."
)
REACH = (
    "Half, 1/100: characters after which the median gradient stays at or under this fraction of "
    "g(0). Maximum: the largest g(k)/g(0) at any position and its k. Explodes: fraction of "
    f"positions. Gate: how often the gate that preserves the state is above {OPEN}."
)
RATIOS = (
    "log10 of g(k)/g(0), median and quartiles over positions; g(k) is the norm of the gradient of "
    "one character's loss with respect to the state k characters before, and −2 is 1/100 of g(0)."
)
PARTS = (
    " h, c, both: with respect to the output, the memory cell and the two together, relative to "
    "g(0) of both. c begins at k = 1, because the last c affects only the next state."
)
METHOD = (
    "g(k) is the norm of the gradient of a single character's loss. A sum over timesteps would "
    "hide behind near errors that far ones vanish.",
    "Held-out text, float64, median and quartiles over positions; gradient clipping plays no part.",
    "For an LSTM the gradients with respect to h, the output, and c, the memory cell, are both "
    "measured: h alone would miss the path through the cell.",
)
LIMITS = (
    "A large gradient says that the past can change the prediction, not that it improves it. A "
    "trained network can have a smaller gradient than an untrained one and remember more, because "
    "it has learned what to forget."
)


def section(found: Found) -> Section:
    """Report one run or several; ``found`` is keyed by the run's short name."""
    tables: list[Block] = [_by_distance(found, *layer) for layer in _layers(found)]
    caption = (
        "Gradient by distance k, relative to that of the last state, on a logarithmic scale: "
        "medians with a band between the quartiles. Vertical line: truncated BPTT length in "
        "training."
    )
    blocks: list[Block] = [
        Text(QUESTION),
        Figure(NAME, partial(_draw, found), f"Gradient by distance: {_finding(found)}", caption),
        _reach(found),
        *(tables if len(found) == 1 else [Details("Gradient by distance", tables)]),
    ]
    seed = next(iter(found.values()))[0].seed
    blocks.append(method([*METHOD, f"Positions of seed {seed}."], Text(LIMITS)))
    return Section(NAME, TITLE, _finding(found), MEANING, blocks)


def _layers(found: Found) -> Iterator[tuple[str, LayerGradient, LayerGradient]]:
    """Yield each run's layers, trained and at initialization."""
    for run, (trained, initial) in found.items():
        for layer, start in zip(trained.layers, initial.layers, strict=True):
            yield run, layer, start


def _finding(found: Found) -> str:
    if len(found) == 1:
        return next(iter(found.values()))[0].finding()
    halves = (
        f"{run} {' and '.join(trained.distance(layer.half_life) for layer in trained.layers)}"
        for run, (trained, _) in found.items()
    )
    return f"characters after which half of the gradient is left: {'; '.join(halves)}"


def _reach(found: Found) -> Table:
    header = ["run", "layer", "network", "half", "1/100", "maximum", "explodes", "--timesteps"]
    rows = []
    for run, trained, initial in _layers(found):
        for network, layer in (("initial", initial), ("trained", trained)):
            result = found[run][0]
            gate = f"{layer.gate} {layer.gate_open:.1%}" if layer.gate else ""
            reach = [result.distance(chars) for chars in (layer.half_life, layer.hundredth)]
            peak, exploded = f"10^{layer.peak:.1f} at {layer.peak_chars}", f"{layer.exploded:.0%}"
            steps = str(result.trained_timesteps or NO_NUMBER)
            rows.append([run, str(layer.layer), network, *reach, peak, exploded, steps, gate])
    return Table([*header, f"gate > {OPEN}"], rows, REACH)


def _by_distance(found: Found, run: str, layer: LayerGradient, initial: LayerGradient) -> Table:
    result = found[run][0]
    header = [curve.part for curve in layer.curves]
    header += [f"initial {curve.part}" for curve in initial.curves]
    distances = shown_distances(result.span)
    rows = [
        [str(k), *(cell for one in (layer, initial) for cell in _cells(one, k)), ""]
        for k in distances
    ]
    title = f"{run}, layer {layer.layer}, {counted(layer.units, 'unit')}, "
    title += f"{counted(layer.positions, 'position')}: {RATIOS}"
    caption = title + (PARTS if len(layer.curves) > 1 else "")
    limits = training_limits({run: result})
    return Table(["k", *header, ""], rows, caption, rules_at(distances, limits))


def shown_distances(span: int) -> list[int]:
    """Return 0, the powers of two up to ``span``, and ``span`` itself."""
    powers = [2**power for power in range(span.bit_length())]
    return [0, *powers] if powers[-1] == span else [0, *powers, span]


def _cells(layer: LayerGradient, k: int) -> Iterator[str]:
    """Yield the median of each curve, with the quartiles for the whole state."""
    for curve in layer.curves:
        median, lower, upper = (
            "none" if x[k] == float("-inf") else f"{round(float(x[k]), 2) + 0.0:.2f}"
            for x in (curve.median, curve.lower, curve.upper)
        )
        yield f"{median} ({lower} to {upper})" if curve is layer.whole else median


def _draw(found: Found, size: Size, title: str) -> Drawing:
    """Draw one panel per layer; rho^k is straight, zero is not drawn."""
    layers = list(_layers(found))
    across = min(size.panels_across, len(layers))
    down = -(-len(layers) // across)
    figure = figures.new_figure(size, down)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for place, ((run, layer, initial), axes) in enumerate(zip(layers, panels, strict=False)):
        result = found[run][0]
        axes.axhline(0.5, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="one half")
        _draw_layer(axes, layer, initial)
        lowest = place + across >= len(layers)
        axes.set_yscale("log")
        axes.set_xlim(0, result.span)
        if result.trained_timesteps is not None and result.trained_timesteps <= result.span:
            figures.limits(axes, (1, result.span), training_limits({run: result}), size)
        whose = f"{run}, " if len(found) > 1 else ""
        name = f"{whose}layer {layer.layer}, {counted(layer.units, 'unit')}"
        axes.set_title(visible_line(name), loc="left", pad=18, fontsize=size.text, parse_math=False)
        x = "k: characters from the state to the loss" if lowest else ""
        figures.dress(axes, size, x, "" if size.wide else RATIO)
        axes.tick_params(labelbottom=lowest)
    for axes in panels[len(layers) :]:
        axes.set_visible(False)
    if size.wide:
        figure.supylabel(f"{RATIO}: reach of the gradient, not of memory", fontsize=10)
    figures.finish(figure, size, title)
    return figure


def _draw_layer(axes: Axes, layer: LayerGradient, initial: LayerGradient) -> None:
    style = {"color": GREY, "linewidth": 1.6}
    _draw_band(axes, initial.whole, "at initialization, with quartiles", style)
    for curve in layer.curves[:-1]:
        line, color = PART_STYLES[curve.part]
        label = f"trained, {curve.part} alone"
        axes.plot(_powers(curve.median), label=label, color=color, linestyle=line, linewidth=1.4)
    name = "h and c together" if len(layer.curves) > 1 else "h"
    style = {"color": MODEL, "linewidth": 2.2}
    _draw_band(axes, layer.whole, f"trained, {name}, with quartiles", style)


def _draw_band(axes: Axes, curve: Curve, name: str, style: dict[str, Any]) -> None:
    lower, upper = _powers(curve.lower), _powers(curve.upper)
    distances = range(len(lower))
    axes.fill_between(distances, lower, upper, color=style["color"], alpha=0.18, linewidth=0)
    axes.plot(_powers(curve.median), label=name, **style)


def _powers(logarithms: np.ndarray) -> np.ndarray:
    """Return 10 to each, or nan where matplotlib's logarithmic scale has no place for it."""
    finite = np.where(np.abs(logarithms) < 300, logarithms, np.nan)
    return np.asarray(10**finite)
