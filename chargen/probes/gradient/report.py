"""Report of the gradient instrument: gradient at targets, reach by layer, by distance, figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chargen.probes.gradient.result import (
    HALF,
    HUNDREDTH,
    OPEN,
    Curve,
    GradientResult,
    LayerGradient,
    power,
)
from chargen.render import figures
from chargen.render.figures import COLORS, GREY, INK, MODEL, OTHER, THIRD, Size
from chargen.render.report import (
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
    "At each step back in time the gradient of the loss is multiplied once more, so it vanishes or "
    "explodes. Where it vanishes, training cannot adjust what the network stores."
)
TARGETS = (
    "log10 of g(k)/g(0) at targets whose cue is known, median with its 95% interval: at the cue, "
    "where the state has just read it, and before it. Random: as far back at random positions. "
    "Initial: at the cue, at initialization."
)
REACH = (
    "At random positions. Half, 1/100: characters after which the median gradient stays at or "
    "under this fraction of g(0), with a 95% interval. Maximum: the largest g(k)/g(0) at any "
    "position and its k. Explodes: fraction of positions. Gate: how often the gate that preserves "
    f"the state is above {OPEN}."
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
    "Held-out text, float64, median and quartiles over positions, without gradient clipping. "
    "Intervals of medians are those of the sign test, with positions as independent units.",
    "At a random position little depends on what is far back. Targets are the first characters of "
    "answers to cloze sentences, where the model knows their characters, and of words that return "
    "after one earlier use; the curve of each is shifted by the distance of its cue.",
    "For an LSTM, h alone would miss the path through the memory cell c.",
)
LIMITS = (
    "A trained network can have a smaller gradient than an untrained one and remember more: it has "
    "learned what to forget."
)


def section(found: Found) -> Section:
    """Report one run or several; ``found`` is keyed by the run's short name."""
    tables: list[Block] = [_by_distance(found, *layer) for layer in _layers(found)]
    caption = (
        "Gradient by distance k at random positions, relative to that of the last state, on a "
        "logarithmic scale: medians with a band between the quartiles. Grey: at initialization. "
        "Dotted: one half. Vertical line: truncated BPTT length in training."
    )
    finding = _finding(found)
    blocks: list[Block] = [Text(QUESTION)]
    if any(layer.targets for _, layer, _ in _layers(found)):
        aligned = (
            "Gradient at targets, aligned to the end of their cue (vertical line; left of it is "
            "the text between cue and target), medians with their 95% intervals. Dashed: at "
            "initialization. Grey: random positions, for the farthest cue."
        )
        draw = partial(_draw_panels, found, _draw_targets)
        blocks.append(Figure(f"{NAME}-targets", draw, f"Gradient at targets: {finding}", aligned))
        blocks.append(_targets(found))
    draw = partial(_draw_panels, found, _draw_layer)
    blocks += [
        Figure(NAME, draw, f"Gradient by distance: {finding}", caption),
        _reach(found),
        *(tables if len(found) == 1 else [Details("Gradient by distance", tables)]),
    ]
    seed = next(iter(found.values()))[0].seed
    blocks.append(method([*METHOD, f"Positions of seed {seed}."], Text(LIMITS)))
    return Section(NAME, TITLE, finding, MEANING, blocks)


def _layers(found: Found) -> Iterator[tuple[str, LayerGradient, LayerGradient]]:
    """Yield each run's layers, trained and at initialization."""
    for run, (trained, initial) in found.items():
        for layer, start in zip(trained.layers, initial.layers, strict=True):
            yield run, layer, start


def _finding(found: Found) -> str:
    if len(found) == 1:
        return next(iter(found.values()))[0].finding()
    halves = (
        f"{run} {' and '.join(layer.whole.reach(HALF) for layer in trained.layers)}"
        for run, (trained, _) in found.items()
    )
    return f"characters after which half of the gradient is left: {'; '.join(halves)}"


def _targets(found: Found) -> Table:
    """Return one row for each group of targets in each layer."""
    header = ["run", "layer", "targets, cue back", "cases", "at cue", "before", "random", "initial"]
    rows = []
    for run, trained, initial in _layers(found):
        for group, start in zip(trained.targets, initial.targets, strict=True):
            far = min(group.span_chars_high, found[run][0].span)
            random = trained.whole.estimate(far)
            at_cue, at_random = (power(one).removeprefix("10^") for one in (group.at_cue, random))
            before, initial_at = (f"{x:.1f}" for x in (group.curve.median[-1], start.at_cue.value))
            label = f"{group.source}, {group.distance}"
            cells = [label, str(group.positions), at_cue, before, at_random, initial_at, ""]
            rows.append([run, str(trained.layer), *cells])
    table = Table([*header, ""], rows, TARGETS)
    return table if len(found) > 1 else _without_run(table)


def _reach(found: Found) -> Table:
    header = ["run", "layer", "network", "half", "1/100", "maximum", "explodes", f"gate > {OPEN}"]
    rows = []
    for run, trained, initial in _layers(found):
        for network, layer in (("initial", initial), ("trained", trained)):
            gate = (
                layer.gate
                and f"{layer.gate.name.removesuffix(' gate')} {layer.gate.open_share:.1%}"
            )
            reach = [layer.whole.reach(level) for level in (HALF, HUNDREDTH)]
            peak, exploded = f"10^{layer.peak:.1f} at {layer.peak_chars}", f"{layer.exploded:.0%}"
            cells = [run, str(layer.layer), network, *reach, peak, exploded]
            rows.append([*cells, gate or ""])
    lengths = "; ".join(label for _, label in training_limits({r: f[0] for r, f in found.items()}))
    table = Table(header, rows, f"{REACH}{lengths and f' In training: {lengths}.'}")
    return table if len(found) > 1 else _without_run(table)


def _without_run(table: Table) -> Table:
    return Table(table.header[1:], [row[1:] for row in table.rows], table.caption)


def _by_distance(found: Found, run: str, layer: LayerGradient, initial: LayerGradient) -> Table:
    result = found[run][0]
    header = [*layer.curves, *(f"initial {part}" for part in initial.curves)]
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
    for curve in layer.curves.values():
        median, lower, upper = (
            "none" if x[k] == float("-inf") else f"{round(float(x[k]), 2) + 0.0:.2f}"
            for x in (curve.median, curve.lower, curve.upper)
        )
        yield f"{median} ({lower} to {upper})" if curve is layer.whole else median


def _draw_panels(
    found: Found,
    draw: Callable[[Axes, GradientResult, LayerGradient, LayerGradient, Size], None],
    size: Size,
    title: str,
) -> Drawing:
    """Draw one panel per layer; rho^k is straight, zero is not drawn."""
    layers = list(_layers(found))
    across = min(size.panels_across, len(layers))
    down = -(-len(layers) // across)
    figure = figures.new_figure(size, down)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for place, ((run, layer, initial), axes) in enumerate(zip(layers, panels, strict=False)):
        axes.set_yscale("log")
        draw(axes, found[run][0], layer, initial, size)
        whose = f"{run}, " if len(found) > 1 else ""
        name = f"{whose}layer {layer.layer}, {counted(layer.units, 'unit')}"
        axes.set_title(visible_line(name), loc="left", pad=18, fontsize=size.text, parse_math=False)
        lowest = place + across >= len(layers)
        figures.dress(axes, size, axes.get_xlabel() if lowest else "", "" if size.wide else RATIO)
        axes.tick_params(labelbottom=lowest)
    for axes in panels[len(layers) :]:
        axes.set_visible(False)
    if size.wide:
        figure.supylabel(f"{RATIO}: reach of the gradient, not of memory", fontsize=10)
    figures.finish(figure, size, title)
    return figure


def _draw_layer(
    axes: Axes, result: GradientResult, layer: LayerGradient, initial: LayerGradient, size: Size
) -> None:
    axes.axhline(0.5, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="one half")
    style = {"color": GREY, "linewidth": 1.6}
    _draw_band(axes, initial.whole, "at initialization, with quartiles", style)
    for part, curve in [*layer.curves.items()][:-1]:
        line, color = PART_STYLES[part]
        label = f"trained, {part} alone"
        axes.plot(_powers(curve.median), label=label, color=color, linestyle=line, linewidth=1.4)
    name = "h and c together" if len(layer.curves) > 1 else "h"
    style = {"color": MODEL, "linewidth": 2.2}
    _draw_band(axes, layer.whole, f"trained, {name}, with quartiles", style)
    axes.set_xlim(0, result.span)
    if result.trained_timesteps is not None and result.trained_timesteps <= result.span:
        figures.limits(axes, (1, result.span), training_limits({"": result}), size)
    axes.set_xlabel("k: characters from the state to the loss")


def _draw_targets(
    axes: Axes, result: GradientResult, layer: LayerGradient, initial: LayerGradient, size: Size
) -> None:
    """Draw the curves of all targets by offset from the cue, and that of random positions."""
    axes.axvline(0, color=INK, linewidth=1)
    for group, start, color in zip(layer.targets, initial.targets, COLORS, strict=False):
        offsets = group.first_offset_chars + np.arange(len(group.curve.median))
        label = f"{group.source}, cue {group.distance} back"
        low, high = _powers(group.curve.low), _powers(group.curve.high)
        axes.fill_between(offsets, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(offsets, _powers(group.curve.median), color=color, linewidth=2, label=label)
        axes.plot(offsets, _powers(start.curve.median), color=color, linewidth=1, linestyle="--")
    if layer.targets:
        farthest = max(layer.targets, key=lambda group: group.span_chars_high)
        random = _powers(layer.whole.median)[: farthest.span_chars_high + offsets[-1] + 1]
        axes.plot(
            np.arange(len(random)) - farthest.span_chars_high,
            random,
            color=GREY,
            label="random positions",
        )
    axes.set_xlabel("characters before the end of the cue")


def _draw_band(axes: Axes, curve: Curve, name: str, style: dict[str, Any]) -> None:
    lower, upper = _powers(curve.lower), _powers(curve.upper)
    distances = range(len(lower))
    axes.fill_between(distances, lower, upper, color=style["color"], alpha=0.18, linewidth=0)
    axes.plot(_powers(curve.median), label=name, **style)


def _powers(logarithms: np.ndarray) -> np.ndarray:
    """Return 10 to each, or nan where matplotlib's logarithmic scale has no place for it."""
    finite = np.where(np.abs(logarithms) < 300, logarithms, np.nan)
    return np.asarray(10**finite)
