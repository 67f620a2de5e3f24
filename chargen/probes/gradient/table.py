"""How far gradients go, as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from chargen.probes.gradient.result import Curve, GradientResult, LayerGradient
from chargen.render.tables import ruled, timesteps_limit
from chargen.render.text import counted

LEGEND = (
    "k: characters from the state to the loss of one single character. The columns are powers of",
    "ten of g(k)/g(0), where g(k) is the length of that loss's gradient by the state k characters",
    "before: 0 is as much as at the last state, -2 a hundredth of it. Median over the positions,",
    "in brackets the quartiles. Where next to nothing is felt, training has next to nothing to go",
    "by. That much is felt says that the past can change the prediction, not that it makes it",
    "right: a large gradient is not memory.",
)
PARTS_LEGEND = (
    "h, c and both: by the output, by the memory cell and by the two together; all over the g(0)",
    "of both. c begins at k = 1, since the last c changes nothing but the state after it.",
)


def gradient_table(result: GradientResult, initial: GradientResult | None = None) -> str:
    """A block a layer: log10 g(k)/g(0) by distance, then half-life, maximum and gate.

    ``initial`` is the same model at initialisation, measured on the same text with the same span,
    and stands beside it. A rule marks the length that gradients travelled in training.
    """
    check_pair(result, initial)
    lines = [result.finding()]
    for place, layer in enumerate(result.layers):
        lines += ["", *_block(result, layer, initial.layers[place] if initial else None)]
    several = len(result.layers[0].curves) > 1
    return "\n".join([*lines, "", *LEGEND, *(PARTS_LEGEND if several else ())]) + "\n"


def check_pair(result: GradientResult, initial: GradientResult | None) -> None:
    """Refuse, with `ValueError`, to show side by side what was not measured alike."""
    if initial is not None and _shape(result) != _shape(initial):
        raise ValueError("a model and its initialisation are measured with one span and one shape")


def _shape(result: GradientResult) -> tuple[str, int, int, list[int]]:
    return result.cell, result.span, result.seed, [layer.units for layer in result.layers]


def shown_distances(span: int) -> list[int]:
    """0, then powers of two up to ``span``, and ``span`` itself."""
    powers = [2**power for power in range(span.bit_length())]
    return [0, *powers] if powers[-1] == span else [0, *powers, span]


def _block(
    result: GradientResult, layer: LayerGradient, initial: LayerGradient | None
) -> list[str]:
    columns = _columns(layer, "", result.span)
    columns += _columns(initial, " at start", result.span) if initial else []
    distances = ["k", *map(str, shown_distances(result.span))]
    table = ["  ".join(cells) for cells in zip(_justified(distances), *columns, strict=True)]
    limits = timesteps_limit(result.trained_timesteps)
    lines = [f"layer {layer.layer}, {counted(layer.units, 'unit')}, {_positions(layer)}"]
    lines += ruled(table, shown_distances(result.span), limits)
    lines += _figures(result, layer, "")
    return lines + _figures(result, initial, "at start: ") if initial else lines


def _positions(layer: LayerGradient) -> str:
    return counted(layer.positions, "position")


def _columns(layer: LayerGradient, when: str, span: int) -> list[list[str]]:
    """Each curve's name and cells, of one width; quartiles for the whole state alone."""
    return [_column(curve, curve is layer.whole, when, span) for curve in layer.curves]


def _column(curve: Curve, whole: bool, when: str, span: int) -> list[str]:
    part = curve.part + when
    cell = _with_quartiles if whole else _median
    return _justified([part, *(cell(curve, k) for k in shown_distances(span))])


def _with_quartiles(curve: Curve, k: int) -> str:
    numbers = (curve.median[k], curve.lower[k], curve.upper[k])
    return "{} [{}, {}]".format(*map(_number, numbers))


def _median(curve: Curve, k: int) -> str:
    return _number(curve.median[k])


def _number(value: float) -> str:
    return "none" if value == float("-inf") else f"{round(float(value), 2) + 0.0:.2f}"


def _justified(cells: Sequence[str]) -> list[str]:
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]


def _figures(result: GradientResult, layer: LayerGradient, when: str) -> list[str]:
    half, rest = result.distance(layer.half_life), result.distance(layer.hundredth)
    told = [
        f"explodes at {layer.exploded:.0%} of positions",
        f"at most 10^{layer.peak:.1f}, k = {layer.peak_chars}",
        *filter(None, [layer.gate_said()]),
    ]
    return [f"{when}half in {half} characters, a hundredth in {rest}", "  " + "; ".join(told)]
