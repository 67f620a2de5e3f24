"""What instrument (c) found, as a section of a page."""

from __future__ import annotations

from chargen.probes import TITLES
from chargen.probes.gradient.plot import gradient_figure
from chargen.probes.gradient.result import Curve, GradientResult, LayerGradient
from chargen.probes.gradient.table import shown_distances
from chargen.render import html
from chargen.render import page_parts as parts
from chargen.render.figures import PAGE
from chargen.render.page_parts import Glance

NAME = "gradient"
MEANING = (
    "How far back training can feel a single error. This explains the rest and does not replace "
    "it: a large gradient is not memory."
)
ASKED = (
    "A network learns from errors, and an error is felt in the states before it by its gradient. "
    "At each step back it is multiplied once more, so that it fades (vanishes) or grows "
    "(explodes). Where nothing of it arrives, training has nothing to go by. It is shown for the "
    "network as its training began and as it ended."
)
METHOD = (
    "g(k) is the length of the gradient of one single character’s loss by the state k characters "
    "before; never of a sum over time, in which near errors would hide that far ones fade.",
    "Held-out text, double precision, median and quartiles over positions. Clipping has no part in "
    "it.",
    "For an LSTM the way through h, the output, and through c, the memory cell, are told apart, "
    "all over the g(0) of both; h alone would miss the way through the cell.",
)
LIMITS = (
    "That much is felt says that the past can change the prediction, not that it makes it right. A "
    "trained network may have a smaller gradient than an untrained one and remember more: it has "
    "learned what to let go."
)


def gradient_glance(result: GradientResult) -> Glance:
    """What was found, in a sentence and in plain words."""
    return Glance(NAME, TITLES[NAME], result.finding(), MEANING)


def gradient_section(result: GradientResult, initial: GradientResult) -> str:
    """The result beside that of the network at initialisation, measured alike."""
    caption = (
        "How much of the gradient is left k characters back, on a scale of powers of ten: medians, "
        "with a band from quartile to quartile. Grey: as training began. Dotted: a half. The "
        "upright line: how far back errors were passed in training."
    )
    label = f"What is left of the gradient by distance: {result.finding()}"
    drawn = gradient_figure(result, initial, size=PAGE)
    pairs = list(zip(result.layers, initial.layers, strict=True))
    return parts.section(
        NAME,
        TITLES[NAME],
        parts.finding(result.finding()),
        parts.paragraph(ASKED),
        parts.figure(drawn, NAME, label, caption),
        _summary(result, pairs),
        parts.details("Distance by distance", *(_by_distance(result, *pair) for pair in pairs)),
        explained(result),
    )


def explained(result: GradientResult) -> str:
    """How the gradient is measured, and what that does not say."""
    return parts.explained(METHOD, LIMITS, f"Positions of seed {result.seed}.")


def _summary(result: GradientResult, pairs: list[tuple[LayerGradient, LayerGradient]]) -> str:
    header = [
        "layer",
        "half in",
        "1/100 in",
        "at most",
        "explodes at",
        "positions",
        "gate",
        "",
    ]
    rows = [
        _figures(result, layer, when)
        for pair in pairs
        for layer, when in zip(reversed(pair), ("at initialisation", "trained"), strict=True)
    ]
    caption = (
        "Characters until half and a hundredth of the gradient are left; the largest it was at any "
        "position, over g(0); at how many positions it explodes; how often the gate that keeps "
        "the state is open."
    )
    return html.table(header, rows, caption)


def _figures(result: GradientResult, layer: LayerGradient, when: str) -> list[str]:
    return [
        f"{layer.layer}, {when}",
        result.distance(layer.half_life),
        result.distance(layer.hundredth),
        f"10^{layer.peak:.1f} (k = {layer.peak_chars})",
        f"{layer.exploded:.0%}",
        str(layer.positions),
        layer.gate_said() or "–",
        "",
    ]


def _by_distance(result: GradientResult, layer: LayerGradient, initial: LayerGradient) -> str:
    curves = [(f"{curve.part}, trained", curve) for curve in layer.curves]
    curves += [(f"{curve.part}, at initialisation", curve) for curve in initial.curves]
    rows = [
        [str(k), *(_quartiles(curve, k) for _, curve in curves), _note(result, k)]
        for k in shown_distances(result.span)
    ]
    caption = (
        f"Layer {layer.layer}: log10 of g(k)/g(0), median and quartiles. 0 is as much as at the "
        "last state, −2 a hundredth of it."
    )
    return html.table(["k", *(name for name, _ in curves), ""], rows, caption)


def _quartiles(curve: Curve, k: int) -> str:
    numbers = (curve.median[k], curve.lower[k], curve.upper[k])
    median, lower, upper = (_logarithm(float(number)) for number in numbers)
    return median if median == upper == lower else f"{median} ({lower} to {upper})"


def _logarithm(value: float) -> str:
    return "none" if value == float("-inf") else parts.fixed(value, 2)


def _note(result: GradientResult, k: int) -> str:
    limit = result.trained_timesteps
    return f"beyond --timesteps {limit}" if limit is not None and k > limit else ""
