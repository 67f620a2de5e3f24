"""Results of the gradient instrument in one network. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chargen.render.text import counted

WARM_UP_CHARS = 256  # burn-in text before the span
OPEN = 0.9  # a gate above this counts as open
HALF, HUNDREDTH = math.log10(1 / 2), -2.0
JSON_DIGITS = 6


@dataclass(frozen=True)
class Curve:
    """Quartiles over positions of log10 g(k)/g(0) at k = 0 .. span, each ``(span + 1,)``.

    Each quartile is an observed value, -inf for a gradient of zero. g(0) is that of the whole
    state for each of its parts, which makes the parts comparable.
    """

    part: str  # h, c, or both
    lower: np.ndarray
    median: np.ndarray
    upper: np.ndarray

    def reaches(self, level: float) -> float | None:
        """Return the characters after which the median stays at or under ``level``, a log10.

        The value is interpolated between two states; None if the median is above at the end.
        """
        (above,) = np.nonzero(self.median > level)
        if not len(above):
            return 0.0
        k = int(above[-1])
        if k + 1 == len(self.median):
            return None
        return k + float((self.median[k] - level) / (self.median[k] - self.median[k + 1]))

    def to_json(self) -> dict[str, list[float | None]]:
        """Return three lists by k, without a unit; null is the logarithm of zero."""
        quartiles = {"lower_quartile": self.lower, "median": self.median}
        quartiles["upper_quartile"] = self.upper
        return {
            f"log10_ratio_{name}": [_rounded(value) for value in values.tolist()]
            for name, values in quartiles.items()
        }


@dataclass(frozen=True)
class LayerGradient:
    """Result in one layer."""

    layer: int  # 1 reads the characters
    units: int
    positions: int  # positions whose loss depends on the layer's last state
    last_state: float  # median of g(0), in nats per unit of state
    curves: tuple[Curve, ...]  # the parts of the state, and the whole state last
    peak: float  # the largest log10 g(k)/g(0), k > 0, of the whole state at any position
    peak_chars: int  # its k
    exploded: float  # fraction of positions with g(span) over 10 g(0) and 2 g(span / 2)
    gate: str | None  # the gate that preserves the state; None if the cell has none
    gate_open: float | None  # fraction of it above `OPEN`, over positions, steps and units

    @property
    def whole(self) -> Curve:
        """The curve of the whole state."""
        return self.curves[-1]

    @property
    def half_life(self) -> float | None:
        """Characters after which the median stays at or under g(0) / 2; None: beyond the span.

        For g(k) = rho^k it is ln 2 / ln(1/rho).
        """
        return self.whole.reaches(HALF)

    @property
    def hundredth(self) -> float | None:
        """Characters after which the median stays at or under g(0) / 100."""
        return self.whole.reaches(HUNDREDTH)

    @property
    def explodes(self) -> bool:
        """Return whether the gradient explodes at half of the positions or more.

        A large gradient does not suffice: in a lower layer it first grows, because the layers
        above carry it too, and then fades.
        """
        return self.exploded >= 0.5

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; distances in characters, fractions of 1."""
        gate = {"name": self.gate, "open_above": OPEN, "open_share": _rounded(self.gate_open)}
        return {
            "layer": self.layer,
            "units": self.units,
            "positions": self.positions,
            "last_state_gradient_median_nats_per_unit": _rounded(self.last_state),
            "half_life_chars": _rounded(self.half_life),
            "hundredth_chars": _rounded(self.hundredth),
            "peak_log10_ratio": _rounded(self.peak),
            "peak_at_chars": self.peak_chars,
            "exploded_share": _rounded(self.exploded),
            "explodes": self.explodes,
            "gate": gate if self.gate else None,
            "curves": {curve.part: curve.to_json() for curve in self.curves},
        }


@dataclass(frozen=True)
class GradientResult:
    """Result in one network."""

    cell: str  # as in --cell
    span: int  # the longest distance, characters
    seed: int  # seed of the positions
    trained_timesteps: int | None  # BPTT length in training, characters
    layers: tuple[LayerGradient, ...]  # from the input to the output

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, the same for the same model and seed."""
        return {
            "instrument": "gradient",
            "cell": self.cell,
            "seed": self.seed,
            "trained_timesteps": self.trained_timesteps,
            "warm_up_chars": WARM_UP_CHARS,
            "finding": self.finding(),
            "distance_chars": list(range(self.span + 1)),
            "layers": [layer.to_json() for layer in self.layers],
        }

    def finding(self) -> str:
        """Return the reach of the gradient in each layer."""
        steps = self.trained_timesteps
        parts = [self._layer_finding(layer) for layer in self.layers]
        parts += [f"trained with {counted(steps, 'timestep')}"] if steps else []
        return f"{'; '.join(parts)} (the reach of the gradient, not of memory)"

    def distance(self, chars: float | None) -> str:
        """Return a distance as text, one beyond the span as ``>256``."""
        return f">{self.span}" if chars is None else f"{chars:.1f}"

    def _layer_finding(self, layer: LayerGradient) -> str:
        if layer.explodes:
            peak = f"at {layer.exploded:.0%} of positions, maximum 10^{layer.peak:.1f}"
            return f"layer {layer.layer}: the gradient explodes {peak}"
        half, rest = self.distance(layer.half_life), self.distance(layer.hundredth)
        noun = "character" if half == "1.0" else "characters"
        return f"layer {layer.layer}: the gradient halves in {half} {noun}, is 1/100 in {rest}"


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, JSON_DIGITS)
