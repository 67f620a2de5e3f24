"""Report of the gradient instrument: gradient at targets, reach by layer, by distance, figures."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chargen.probes.gradient.result import HALF, HUNDREDTH, OPEN, GradientResult, LayerGradient
from chargen.render import figures
from chargen.render import report as kit
from chargen.render.by_distance import finding
from chargen.render.figures import COLORS, GREY, INK, MODEL, OTHER, THIRD, Axes, Size
from chargen.render.text import counted

NAME, TITLE = "gradient", "Gradient flow"
Found = Mapping[str, tuple[GradientResult, GradientResult]]
"""Results of the trained network and of the network at initialization, by run."""
Layer = tuple[str, GradientResult, LayerGradient, LayerGradient]
"""A run, its result, and one layer of it trained and at initialization."""

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
    "log10 of g(k)/g(0), median with its 95% interval, at targets whose cue is known: when the cue "
    "was just read, and before. Random: as far back at random positions. Initial: untrained."
)
BY_DISTANCE = (
    "Gradient by distance k at random positions, medians with a band between quartiles; h and c "
    "alone relative to g(0) of both. The JSON has every value."
)
REACH = (
    "At random positions. Half, 1/100: characters after which the median gradient stays at or "
    "under this fraction of g(0), with a 95% interval. Maximum: the largest g(k)/g(0) at any "
    f"position and its k. Gate: how often the gate that preserves the state is above {OPEN}."
)
METHOD = (
    "g(k) is the norm of the gradient of a single character's loss with respect to the state k "
    "characters before, on held-out text, in float64, without clipping. A sum over timesteps would "
    "hide that far errors vanish. Medians have the interval of the sign test over positions.",
    "Targets are the first characters of answers to cloze sentences and of words that return after "
    "one earlier use, aligned to their cue. At a random position little depends on the far past.",
    "A trained network can have a smaller gradient than an untrained one and remember more.",
)


def section(found: Found) -> kit.Section:
    trained = {run: result for run, (result, _) in found.items()}
    layers = [
        (run, result, *pair)
        for run, (result, initial) in found.items()
        for pair in zip(result.layers, initial.layers, strict=True)
    ]
    text = finding(trained, GradientResult.finding, _halves)
    drawn = [one for one in layers if one[2] is one[1].farthest]
    blocks: list[kit.Block] = []
    if any(layer.targets for _, _, layer, _ in layers):
        blocks += [_at_targets(n, one) for n, one in enumerate(drawn) if one[2].targets]
        blocks.append(_targets(layers))
    blocks += [_by_distance(n, one) for n, one in enumerate(drawn)]
    limits = "; ".join(label for _, label in kit.training_limits(trained))
    blocks.append(_reach(layers, f"{REACH}{limits and f' In training: {limits}.'}"))
    seed = next(iter(trained.values())).seed
    blocks.append(kit.method([*METHOD, f"Positions of seed {seed}."]))
    return kit.Section(NAME, TITLE, text, MEANING, blocks)


def _halves(result: GradientResult) -> str:
    reach = " and ".join(layer.whole.reach(HALF) for layer in result.layers)
    return f"the gradient halves in {reach} characters"


def _targets(layers: Sequence[Layer]) -> kit.Table:
    header = ["run", "layer", "targets, cue back", "cases", "at cue", "before", "random", "initial"]
    rows = []
    for run, result, trained, initial in layers:
        for group, start in zip(trained.targets, initial.targets, strict=True):
            random = trained.whole.estimate(min(group.span_chars_high, result.span))
            before, start_at = (f"{x:.1f}" for x in (group.whole.median[-1], start.at_cue.value))
            numbers = [kit.estimate(group.at_cue, 1), before, kit.estimate(random, 1), start_at]
            label = f"{group.source}, {group.distance}"
            rows.append([run, str(trained.layer), label, str(group.positions), *numbers, ""])
    return kit.Table([*header, ""], rows, TARGETS)


def _reach(layers: Sequence[Layer], caption: str) -> kit.Table:
    header = ["run", "layer", "network", "half", "1/100", "maximum", f"gate > {OPEN}"]
    rows = []
    for run, _, trained, initial in layers:
        for network, layer in (("initial", initial), ("trained", trained)):
            gate = layer.gate and f"{layer.gate.name.split()[0]} {layer.gate.open_share:.1%}"
            reach = [layer.whole.reach(level) for level in (HALF, HUNDREDTH)]
            peak = f"10^{layer.peak:.1f} at {layer.peak_chars}"
            rows.append([run, str(layer.layer), network, *reach, peak, gate or ""])
    return kit.Table(header, rows, caption)


def _figure(
    name: str, number: int, found: Layer, caption: str, fill: Callable[[Axes, Size], None], x: str
) -> kit.Figure:
    run, _, layer, _ = found
    label = f"{run}, layer {layer.layer}, {counted(layer.units, 'unit')}"
    drawn = figures.panel(fill, x, "g(k)/g(0)")
    return kit.Figure(f"{name}-{number}" if number else name, drawn, label, f"{label}. {caption}")


def _by_distance(number: int, found: Layer) -> kit.Figure:
    """Draw the gradient at random positions; rho^k is straight, zero is not drawn."""
    _, result, layer, initial = found
    ks = np.arange(result.span + 1)

    def fill(axes: Axes, size: Size) -> None:
        axes.set_yscale("log")
        axes.axhline(0.5, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="one half")
        for part in [*layer.curves][:-1]:
            line, color = PART_STYLES[part]
            values = _powers(layer.curves[part].median)
            axes.plot(ks, values, line, color=color, label=f"trained, {part} alone")
        state = "h and c together" if len(layer.curves) > 1 else "h"
        looks = ((initial, "at initialization", GREY), (layer, f"trained, {state}", MODEL))
        for one, name, color in looks:
            bands = one.whole.median, one.whole.lower, one.whole.upper
            _draw_band(axes, ks, bands, f"{name}, with quartiles", color)
        axes.set_xlim(0, result.span)
        limits = [one for one in kit.training_limits({"": result}) if one[0] <= result.span]
        figures.limits(axes, (1, result.span), limits, size)

    x = "k: characters from the state to the loss"
    return _figure(NAME, number, found, BY_DISTANCE, fill, x)


def _at_targets(number: int, found: Layer) -> kit.Figure:
    """Draw the curves of all targets by offset from the cue, and that of random positions."""
    _, _, layer, initial = found
    far = max(group.span_chars_high for group in layer.targets)
    before = max(len(group.whole.median) + group.first_offset_chars for group in layer.targets)

    def fill(axes: Axes, size: Size) -> None:
        axes.set_yscale("log")
        axes.axvline(0, color=INK, linewidth=1)
        for group, start, color in zip(layer.targets, initial.targets, COLORS, strict=False):
            whole = group.whole
            offsets = group.first_offset_chars + np.arange(len(whole.median))
            name = f"{group.source}, cue {group.distance} back"
            _draw_band(axes, offsets, (whole.median, whole.low, whole.high), name, color)
            axes.plot(offsets, _powers(start.whole.median), "--", color=color, linewidth=1)
        random = _powers(layer.whole.median)[: far + before]
        axes.plot(np.arange(len(random)) - far, random, color=GREY, label="random positions")

    x = "characters before the end of the cue"
    return _figure(f"{NAME}-targets", number, found, AT_TARGETS, fill, x)


def _draw_band(axes: Axes, x: np.ndarray, y: Sequence[np.ndarray], label: str, color: str) -> None:
    middle, low, high = map(_powers, y)
    axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(x, middle, linewidth=2, color=color, label=label)


def _powers(logarithms: np.ndarray) -> np.ndarray:
    """Return 10 to each, or nan where matplotlib's logarithmic scale has no place for it."""
    finite = np.where(np.abs(logarithms) < 300, logarithms, np.nan)
    return np.asarray(10**finite)
