"""Results of the gradient instrument in one network. Imports no torch."""

import math
from typing import Any

import numpy as np
from msgspec import Struct, field, json

from chargen.probes.statistics.intervals import Estimate
from chargen.render.report import estimate

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
        return [*self.curves.values()][-1]

    @property
    def distance(self) -> str:
        """The distances of the cues in characters, ``128`` or ``64–127``."""
        low, high = self.span_chars_low, self.span_chars_high
        return f"{low}" if low == high else f"{low}–{high}"

    @property
    def at_cue(self) -> Estimate:
        return self.whole.estimate(-self.first_offset_chars)


class GateUse(Struct, frozen=True):
    """How often the gate that preserves the state is open, over positions, steps and units."""

    name: str
    open_share: float
    open_above: float = OPEN


class LayerGradient(Struct, frozen=True):
    layer: int  # 1 reads the characters
    units: int
    positions: int  # positions whose loss depends on the layer's last state
    last_state: float = field(name="last_state_gradient_median_nats_per_unit")  # g(0)
    curves: dict[str, Curve]  # by part of the state, h, c or both; the whole state last
    peak: float = field(name="peak_log10_ratio")  # of the whole state at any position, k > 0
    peak_chars: int = field(name="peak_at_chars")
    exploded: float = field(name="exploded_share")  # positions: g(span) > 10 g(0), 2 g(span / 2)
    gate: GateUse | None  # None if the cell has no such gate
    targets: tuple[TargetGradient, ...] = ()

    @property
    def whole(self) -> Curve:
        return [*self.curves.values()][-1]

    @property
    def explodes(self) -> bool:
        """Return True if the gradient explodes at half of the positions or more."""
        return self.exploded >= 0.5


class GradientResult(Struct, frozen=True, tag="gradient", tag_field="instrument"):
    cell: str  # as in --cell
    span: int  # the longest distance, characters
    seed: int  # of the positions
    trained_timesteps: int | None  # BPTT length in training, characters
    layers: tuple[LayerGradient, ...]  # from the input to the output

    @property
    def farthest(self) -> LayerGradient:
        return max(self.layers, key=lambda one: one.whole.median[-1])

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
        layer = self.farthest
        name = f"layer {layer.layer}: " if len(self.layers) > 1 else ""
        if layer.explodes:
            most = f"maximum 10^{layer.peak:.1f}"
            return f"{name}the gradient explodes at {layer.exploded:.0%} of positions, {most}"
        if layer.targets:
            group = layer.targets[-1]
            there = layer.whole.estimate(min(group.span_chars_high, self.span))
            cue = f"10^{estimate(group.at_cue, 1)} of the gradient arrives at a cue"
            return f"{name}{cue} {group.distance} back, 10^{estimate(there, 1)} at random positions"
        half, hundredth = layer.whole.reach(HALF), layer.whole.reach(HUNDREDTH)
        reach = f"{name}the gradient halves in {half} characters, is 1/100 in {hundredth}"
        return f"{reach} (the reach of the gradient, not of memory)"


def reached(values: np.ndarray, level: float) -> float | None:
    """Return the characters after which values stay at or under ``level``; None: more than all."""
    (above,) = np.nonzero(values > level)
    if not len(above):
        return 0.0
    k = int(above[-1])
    if k + 1 == len(values):
        return None
    return k + float((values[k] - level) / (values[k] - values[k + 1]))
