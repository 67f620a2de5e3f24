"""Gradient: the result in one network, and the report of runs. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct, field, json

from chargen.probes.statistics.intervals import Estimate
from chargen.render import figures
from chargen.render.by_distance import finding
from chargen.render.figures import COLORS, GREY, INK, MODEL, OTHER, THIRD, Size
from chargen.render.report import (
    Block,
    Figure,
    Section,
    Table,
    estimate,
    method,
    training_limits,
)
from chargen.render.text import counted, visible_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

WARM_UP_CHARS = 256  # burn-in text before the span
OPEN = 0.9  # a gate above this counts as open
HALF, HUNDREDTH = math.log10(1 / 2), -2.0
JSON_DIGITS = 6


class Curve(Struct, frozen=True):
    """Observed log10 g(k)/g(0), -inf for 0, by k ``(S,)``; g(0) is always of the whole state."""

    lower: np.ndarray = field(name="log10_ratio_lower_quartile")
    median: np.ndarray = field(name="log10_ratio_median")
    upper: np.ndarray = field(name="log10_ratio_upper_quartile")
    # 95% interval of the median over positions, that of the sign test
    low: np.ndarray = field(name="log10_ratio_median_low")
    high: np.ndarray = field(name="log10_ratio_median_high")

    def estimate(self, k: int) -> Estimate:
        """Return the median at index ``k`` with its interval."""
        return Estimate(float(self.median[k]), float(self.low[k]), float(self.high[k]))

    def reach(self, level: float) -> str:
        """Return `reached` with its interval as text, ``6.3 (5.9–6.8)``, ``>256`` beyond."""
        found = [reached(values, level) for values in (self.median, self.low, self.high)]
        beyond = f">{len(self.median) - 1}"
        here, low, high = (beyond if chars is None else f"{chars:.1f}" for chars in found)
        return here if here == low == high else f"{here} ({low}–{high})"


class TargetGradient(Struct, frozen=True):
    """Result in one layer at targets whose cue is known."""

    source: str
    span_chars_low: int  # from the end of the cue to the target
    span_chars_high: int
    positions: int
    first_offset_chars: int  # k - span: 0 is the state at the end of the cue
    curves: dict[str, Curve]  # by part of the state, as in `LayerGradient`, by offset

    @property
    def whole(self) -> Curve:
        """The curve of the whole state."""
        return [*self.curves.values()][-1]

    @property
    def distance(self) -> str:
        """The distances of the cues in characters, ``128`` or ``64–127``."""
        low, high = self.span_chars_low, self.span_chars_high
        return f"{low}" if low == high else f"{low}–{high}"

    @property
    def at_cue(self) -> Estimate:
        """The gradient of the state that has just read the cue."""
        return self.whole.estimate(-self.first_offset_chars)


class GateUse(Struct, frozen=True):
    """How often the gate that preserves the state is open, over positions, steps and units."""

    name: str
    open_share: float
    open_above: float = OPEN


class LayerGradient(Struct, frozen=True):
    """Result in one layer."""

    layer: int  # 1 reads the characters
    units: int
    positions: int  # positions whose loss depends on the layer's last state
    # Median of g(0).
    last_state: float = field(name="last_state_gradient_median_nats_per_unit")
    curves: dict[str, Curve]  # by part of the state, h, c or both; the whole state last
    # The largest log10 g(k)/g(0), k > 0, of the whole state at any position, and its k.
    peak: float = field(name="peak_log10_ratio")
    peak_chars: int = field(name="peak_at_chars")
    # Fraction of positions with g(span) over 10 g(0) and 2 g(span / 2).
    exploded: float = field(name="exploded_share")
    gate: GateUse | None  # None if the cell has no such gate
    targets: tuple[TargetGradient, ...] = ()

    @property
    def whole(self) -> Curve:
        """The curve of the whole state."""
        return [*self.curves.values()][-1]

    @property
    def explodes(self) -> bool:
        """Return whether the gradient explodes at half of the positions or more."""
        return self.exploded >= 0.5


class GradientResult(Struct, frozen=True, tag="gradient", tag_field="instrument"):
    """Result in one network."""

    cell: str  # as in --cell
    span: int  # the longest distance, characters
    seed: int  # of the positions
    trained_timesteps: int | None  # BPTT length in training, characters
    layers: tuple[LayerGradient, ...]  # from the input to the output

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; distances in characters, fractions of 1, null for log10 of 0."""
        encoded = json.encode(self, enc_hook=lambda values: values.round(JSON_DIGITS).tolist())
        found: dict[str, Any] = json.decode(encoded)
        for values, layer in zip(found["layers"], self.layers, strict=True):
            values["half_life_chars"] = reached(layer.whole.median, HALF)
            values["hundredth_chars"] = reached(layer.whole.median, HUNDREDTH)
            values["explodes"] = layer.explodes
        distances = [*range(found.pop("span") + 1)]
        added = {"warm_up_chars": WARM_UP_CHARS, "finding": self.finding()}
        return found | added | {"distance_chars": distances}

    def finding(self) -> str:
        """Return how much of the gradient arrives at the cue, or else how soon it halves."""
        layer = max(self.layers, key=lambda one: one.whole.median[-1])
        name = f"layer {layer.layer}: " if len(self.layers) > 1 else ""
        if layer.explodes:
            most = f"maximum 10^{layer.peak:.1f}"
            told = f"the gradient explodes at {layer.exploded:.0%} of positions, {most}"
        elif layer.targets:
            group = layer.targets[-1]
            there = layer.whole.estimate(min(group.span_chars_high, self.span))
            return (
                f"{name}10^{estimate(group.at_cue, 1)} of the gradient arrives at a cue "
                f"{group.distance} back, 10^{estimate(there, 1)} at random positions"
            )
        else:
            half, hundredth = layer.whole.reach(HALF), layer.whole.reach(HUNDREDTH)
            told = f"the gradient halves in {half} characters, is 1/100 in {hundredth}"
        return f"{name}{told} (the reach of the gradient, not of memory)"


def reached(values: np.ndarray, level: float) -> float | None:
    """Return the characters after which values stay at or under ``level``; None: more than all."""
    (above,) = np.nonzero(values > level)
    if not len(above):
        return 0.0
    k = int(above[-1])
    if k + 1 == len(values):
        return None
    return k + float((values[k] - level) / (values[k] - values[k + 1]))


NAME, TITLE = "gradient", "Gradient flow"
Found = Mapping[str, tuple[GradientResult, GradientResult]]
"""Results of the trained network and of the network at initialization, by run."""
Layer = tuple[str, GradientResult, LayerGradient, LayerGradient]
"""A run, its result, and one layer of it trained and at initialization."""

RATIO = "g(k)/g(0)"
PART_STYLES = {"h": ("--", THIRD), "c": (":", OTHER)}
MEANING = (
    "The reach of a single error in training. Where the gradient vanishes, training cannot adjust "
    "what the network stores; a large gradient is not memory."
)
AT_TARGETS = (
    "Gradient at targets, aligned to the end of their cue (vertical line; left of it is the text "
    "between cue and target), medians with their 95% intervals. Dashed: at initialization."
)
TARGETS = (
    "log10 of g(k)/g(0) at targets whose cue is known, median with its 95% interval: at the cue, "
    "where the state has just read it, and before it. Random: as far back at random positions. "
    "Initial: at the cue, at initialization."
)
BY_DISTANCE = (
    "Gradient by distance k at random positions, medians with a band between quartiles; h and c "
    "alone relative to g(0) of both. The JSON has every value."
)
REACH = (
    "At random positions. Half, 1/100: characters after which the median gradient stays at or "
    "under this fraction of g(0), with a 95% interval. Maximum: the largest g(k)/g(0) at any "
    "position and its k. Explodes: fraction of positions. Gate: how often the gate that preserves "
    f"the state is above {OPEN}."
)
METHOD = (
    "g(k) is the norm of the gradient of a single character's loss with respect to the state k "
    "characters before. A sum over timesteps would hide behind near errors that far ones vanish.",
    "Held-out text, float64, without gradient clipping. Intervals of medians are those of the sign "
    "test, with positions as independent units.",
    "Targets are the first characters of answers to cloze sentences, where the model knows their "
    "characters, and of words that return after one earlier use; the curve of each is shifted by "
    "the distance of its cue. At a random position little depends on what is far back.",
    "A trained network can have a smaller gradient than an untrained one and remember more: it has "
    "learned what to forget.",
)


def section(found: Found) -> Section:
    """Report one run or several; ``found`` is keyed by the run's short name."""
    trained = {run: result for run, (result, _) in found.items()}
    layers = [
        (run, result, *pair)
        for run, (result, initial) in found.items()
        for pair in zip(result.layers, initial.layers, strict=True)
    ]
    told = finding(trained, GradientResult.finding, _halves)
    blocks: list[Block] = []
    if any(layer.targets for _, _, layer, _ in layers):
        draw = partial(_draw_panels, layers, _draw_targets)
        blocks.append(Figure(f"{NAME}-targets", draw, f"Gradient at targets: {told}", AT_TARGETS))
        blocks.append(_targets(layers))
    draw = partial(_draw_panels, layers, _draw_layer)
    blocks.append(Figure(NAME, draw, f"Gradient by distance: {told}", BY_DISTANCE))
    limits = "; ".join(label for _, label in training_limits(trained))
    blocks.append(_reach(layers, f"{REACH}{limits and f' In training: {limits}.'}"))
    seed = next(iter(trained.values())).seed
    blocks.append(method([*METHOD, f"Positions of seed {seed}."]))
    return Section(NAME, TITLE, told, MEANING, blocks)


def _halves(result: GradientResult) -> str:
    reach = " and ".join(layer.whole.reach(HALF) for layer in result.layers)
    return f"the gradient halves in {reach} characters"


def _targets(layers: Sequence[Layer]) -> Table:
    """Return one row for each group of targets in each layer."""
    header = ["run", "layer", "targets, cue back", "cases", "at cue", "before", "random", "initial"]
    rows = []
    for run, result, trained, initial in layers:
        for group, start in zip(trained.targets, initial.targets, strict=True):
            random = trained.whole.estimate(min(group.span_chars_high, result.span))
            before, start_at = (f"{x:.1f}" for x in (group.whole.median[-1], start.at_cue.value))
            numbers = [estimate(group.at_cue, 1), before, estimate(random, 1), start_at]
            label = f"{group.source}, {group.distance}"
            rows.append([run, str(trained.layer), label, str(group.positions), *numbers, ""])
    return Table([*header, ""], rows, TARGETS)


def _reach(layers: Sequence[Layer], caption: str) -> Table:
    header = ["run", "layer", "network", "half", "1/100", "maximum", "explodes", f"gate > {OPEN}"]
    rows = []
    for run, _, trained, initial in layers:
        for network, layer in (("initial", initial), ("trained", trained)):
            gate = layer.gate and f"{layer.gate.name.split()[0]} {layer.gate.open_share:.1%}"
            reach = [layer.whole.reach(level) for level in (HALF, HUNDREDTH)]
            peak, exploded = f"10^{layer.peak:.1f} at {layer.peak_chars}", f"{layer.exploded:.0%}"
            rows.append([run, str(layer.layer), network, *reach, peak, exploded, gate or ""])
    return Table(header, rows, caption)


def _name(found: Layer) -> str:
    run, _, layer, _ = found
    return f"{run}, layer {layer.layer}, {counted(layer.units, 'unit')}"


def _draw_panels(
    layers: Sequence[Layer], draw: Callable[[Axes, Layer, Size], None], size: Size, title: str
) -> Drawing:
    """Draw one panel per layer; rho^k is straight, zero is not drawn."""
    across = min(size.panels_across, len(layers))
    down = -(-len(layers) // across)
    figure = figures.new_figure(size, down)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for place, (layer, axes) in enumerate(zip(layers, panels, strict=False)):
        axes.set_yscale("log")
        draw(axes, layer, size)
        name = visible_line(_name(layer))
        axes.set_title(name, loc="left", pad=18, fontsize=size.text, parse_math=False)
        lowest = place + across >= len(layers)
        figures.dress(axes, size, axes.get_xlabel() if lowest else "", "" if size.wide else RATIO)
        axes.tick_params(labelbottom=lowest)
    for axes in panels[len(layers) :]:
        axes.set_visible(False)
    if size.wide:
        figure.supylabel(f"{RATIO}: reach of the gradient, not of memory", fontsize=10)
    figures.finish(figure, size, title)
    return figure


def _draw_layer(axes: Axes, found: Layer, size: Size) -> None:
    _, result, layer, initial = found
    ks = np.arange(result.span + 1)
    axes.axhline(0.5, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="one half")
    whole = initial.whole
    name = "at initialization, with quartiles"
    _draw_band(axes, ks, whole.median, (whole.lower, whole.upper), label=name, color=GREY)
    for part in [*layer.curves][:-1]:
        line, color = PART_STYLES[part]
        name = f"trained, {part} alone"
        axes.plot(ks, _powers(layer.curves[part].median), line, color=color, label=name)
    name = f"trained, {'h and c together' if len(layer.curves) > 1 else 'h'}, with quartiles"
    whole = layer.whole
    _draw_band(axes, ks, whole.median, (whole.lower, whole.upper), label=name, color=MODEL)
    axes.set_xlim(0, result.span)
    limits = [one for one in training_limits({"": result}) if one[0] <= result.span]
    figures.limits(axes, (1, result.span), limits, size)
    axes.set_xlabel("k: characters from the state to the loss")


def _draw_targets(axes: Axes, found: Layer, size: Size) -> None:
    """Draw the curves of all targets by offset from the cue, and that of random positions."""
    _, _, layer, initial = found
    axes.axvline(0, color=INK, linewidth=1)
    for group, start, color in zip(layer.targets, initial.targets, COLORS, strict=False):
        whole = group.whole
        offsets = group.first_offset_chars + np.arange(len(whole.median))
        name = f"{group.source}, cue {group.distance} back"
        _draw_band(axes, offsets, whole.median, (whole.low, whole.high), label=name, color=color)
        axes.plot(offsets, _powers(start.whole.median), color=color, linewidth=1, linestyle="--")
    if layer.targets:
        far = max(group.span_chars_high for group in layer.targets)
        random = _powers(layer.whole.median)[: far + offsets[-1] + 1]
        axes.plot(np.arange(len(random)) - far, random, color=GREY, label="random positions")
    axes.set_xlabel("characters before the end of the cue")


def _draw_band(
    axes: Axes, x: np.ndarray, middle: np.ndarray, band: tuple[np.ndarray, np.ndarray], **look: Any
) -> None:
    low, high = map(_powers, band)
    axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
    axes.plot(x, _powers(middle), linewidth=2, **look)


def _powers(logarithms: np.ndarray) -> np.ndarray:
    """Return 10 to each, or nan where matplotlib's logarithmic scale has no place for it."""
    finite = np.where(np.abs(logarithms) < 300, logarithms, np.nan)
    return np.asarray(10**finite)
