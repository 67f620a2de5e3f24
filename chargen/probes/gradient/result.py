"""What instrument (c), `chargen.probes.gradient.measure`, found in one model. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chargen.render.text import counted

WARM_UP_CHARS = 256  # read before the span, so that the state is where text brings it
OPEN = 0.9  # a gate above this counts as open
HALF, HUNDREDTH = math.log10(1 / 2), -2.0
JSON_DIGITS = 6


@dataclass(frozen=True)
class Curve:
    """log10 g(k)/g(0) of a part of the state at k = 0 .. span, each ``(span + 1,)``.

    Quartiles over positions, each a value that was seen; -inf where nothing arrives. g(0) is that
    of the whole state for each of its parts, so that they can be compared.
    """

    part: str  # h, c, or both
    lower: np.ndarray
    median: np.ndarray
    upper: np.ndarray

    def reaches(self, level: float) -> float | None:
        """The characters after which the median stays at or under ``level``, a log10.

        Interpolated between two states; None where it is still above at the end of the span.
        """
        (above,) = np.nonzero(self.median > level)
        if not len(above):
            return 0.0
        k = int(above[-1])
        if k + 1 == len(self.median):
            return None
        return k + float((self.median[k] - level) / (self.median[k] - self.median[k + 1]))

    def to_json(self) -> dict[str, list[float | None]]:
        """Three lists by k, without a unit; null stands for zero, which has no logarithm."""
        quartiles = {"lower_quartile": self.lower, "median": self.median}
        quartiles["upper_quartile"] = self.upper
        return {f"log10_ratio_{name}": _plain(values) for name, values in quartiles.items()}


@dataclass(frozen=True)
class LayerGradient:
    """What was found at one layer."""

    layer: int  # 1 reads the characters
    units: int
    positions: int  # that count: those whose last state the loss depends on at all
    last_state: float  # median of g(0), in nats by one unit of state
    curves: tuple[Curve, ...]  # the parts of the state, and the whole of it last
    peak: float  # the largest log10 g(k)/g(0), k > 0, of the whole state at any position
    peak_chars: int  # the k where it was
    exploded: float  # the share of positions where g(span) is over 10 g(0) and 2 g(span / 2)
    gate: str | None  # what keeps the state from step to step; None where nothing does
    gate_open: float | None  # its share above 0.9, over positions, steps and units

    @property
    def whole(self) -> Curve:
        """The curve of the whole state."""
        return self.curves[-1]

    @property
    def half_life(self) -> float | None:
        """Characters after which the median stays at half of g(0) or less; None: not in the span.

        For g(k) = rho^k that is ln 2 / ln(1/rho).
        """
        return self.whole.reaches(HALF)

    @property
    def hundredth(self) -> float | None:
        """The same for a hundredth of g(0)."""
        return self.whole.reaches(HUNDREDTH)

    @property
    def explodes(self) -> bool:
        """Whether at half of the positions or more the gradient grows, and to over tenfold.

        That it is large is not enough: below other layers it grows at first, since all of them
        carry it, and then fades.
        """
        return self.exploded >= 0.5

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; distances in characters, shares of 1."""
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

    def gate_said(self) -> str:
        """How often the gate that keeps the state is open; empty where there is none."""
        return f"{self.gate} over {OPEN} in {self.gate_open:.1%}" if self.gate else ""


@dataclass(frozen=True)
class GradientResult:
    """What the instrument found in one model."""

    cell: str  # as in --cell
    span: int  # the longest distance, characters
    seed: int  # of the positions
    trained_timesteps: int | None  # how far back gradients travelled in training, characters
    layers: tuple[LayerGradient, ...]  # from the input to the output

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, the same for the same model and seed."""
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
        """One sentence: how far the gradient goes, and that this is not yet memory."""
        trained = self.trained_timesteps
        said = [self._said(layer) for layer in self.layers]
        said += [f"trained on {counted(trained, 'timestep')}"] if trained else []
        return f"{'; '.join(said)} (how far a change is felt, not what is remembered)"

    def distance(self, chars: float | None) -> str:
        """A half-life for a person to read; one that lies beyond the span as ``>256``."""
        return f">{self.span}" if chars is None else f"{chars:.1f}"

    def _said(self, layer: LayerGradient) -> str:
        if layer.explodes:
            often = f"at {layer.exploded:.0%} of positions, 10^{layer.peak:.1f} at most"
            return f"layer {layer.layer}: the gradient explodes {often}"
        half, rest = self.distance(layer.half_life), self.distance(layer.hundredth)
        noun = "character" if half == "1.0" else "characters"
        return f"layer {layer.layer}: the gradient halves in {half} {noun}, is 1/100 in {rest}"


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, JSON_DIGITS)


def _plain(values: np.ndarray) -> list[float | None]:
    return [_rounded(value) for value in values.tolist()]
