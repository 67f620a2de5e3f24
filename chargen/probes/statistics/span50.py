"""span50, the span at which accuracy is half-way from its ceiling to chance.

Accuracy is fitted by a monotone function of the span (isotonic regression: R. E. Barlow et al.,
"Statistical inference under order restrictions", 1972), which assumes no shape of the curve.
Between two measured spans, the logit of the remaining share of the fall is interpolated linearly in
log2(span).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import convert

from chargen.probes.statistics.intervals import BOOTSTRAP_DRAWS

# Accuracies that rise with the span beyond their 99% intervals have no fit, if the monotone curve
# is also this far off: with enough sentences the intervals exclude every monotone curve.
RISING, MISFIT = (0.005, 0.995), 0.05
LOWEST_CEILING = 0.9  # errors at any span are at most 10%
CLIFF = 0.8  # share of the fall between two spans beyond which its place there is not determined
SHARPEST = 0.002  # smallest share of the fall before and after a span, so that logits are finite
FEWEST_SPANS = 3


@dataclass(frozen=True)
class Span50:
    """The span at which accuracy is half-way between its ceiling, 1 - lapse, and chance."""

    chars: float  # infinite beyond the longest measured span, 0 below the shortest
    low: float  # 95% interval, likewise
    high: float
    first: int  # the shortest measured span
    last: int  # the longest one
    chance: float
    lapse: float  # share of errors at the shortest span, at most 0.1
    misfit: float  # largest distance of an accuracy from the monotone curve
    fits: bool = True  # whether accuracy falls with the span; if not, span50 is not reported

    @property
    def on_grid(self) -> bool:
        """Return whether the curve fits and span50 lies within the measured spans."""
        return self.fits and self.first <= self.chars <= self.last

    @property
    def half_way(self) -> float:
        return (1 - self.lapse + self.chance) / 2

    def text(self) -> str:
        """Return ``700 (620–810)`` in characters, ``>1024``, ``<4``, or ``no fit``."""
        if not self.fits:
            return "no fit"
        return span_text(self.chars, self.low, self.high, self.first, self.last)

    def to_json(self) -> dict[str, Any]:
        """Return the text and the numbers; None for a number off the measured spans."""
        found: dict[str, Any] = {"span50": self.text()}
        for end, x in {"": self.chars, "_low": self.low, "_high": self.high}.items():
            there = self.fits and self.first <= x <= self.last
            found[f"span50_chars{end}"] = round(x, 1) if there else None
        return found | {
            f"span50_{name}": round(getattr(self, name), 4) for name in ("lapse", "misfit")
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], first: int, last: int, chance: float) -> "Span50":
        """Decode what `to_json` returned; the text says where a missing number lies."""
        here, _, rest = str(values["span50"]).partition(" (")
        lower, _, upper = (rest.rstrip(")") or f"{here}–{here}").partition("–")
        chars, low, high = (
            math.inf if text[:1] in (">", "n") else 0.0 if value is None else convert(value, float)
            for text, value in (
                (here, values["span50_chars"]),
                (lower, values["span50_chars_low"]),
                (upper, values["span50_chars_high"]),
            )
        )
        lapse, misfit = (convert(values[f"span50_{name}"], float) for name in ("lapse", "misfit"))
        return cls(chars, low, high, first, last, chance, lapse, misfit, here != "no fit")


def span_text(chars: float, low: float, high: float, first: int, last: int) -> str:
    """Return a span and its interval as text, with ``>`` and ``<`` off the measured spans."""

    def one(bound: float) -> str:
        if bound > last:
            return f">{last}"
        return f"<{first}" if bound < first else f"{bound:.0f}"

    here, lower, upper = map(one, (chars, low, high))
    return here if here == lower == upper else f"{here} ({lower}–{upper})"


def fit(
    spans: Sequence[int],
    credits: Sequence[Sequence[float]],
    chance: float,
    seed: int,
    draws: int = BOOTSTRAP_DRAWS,
) -> Span50:
    """Return span50 with an interval from a bootstrap of the credits of units, by span."""
    rng = np.random.default_rng([seed, 0])
    drawn = []
    for won in credits:
        values, counts = np.unique(np.asarray(won, dtype=float), return_counts=True)
        drawn.append(rng.multinomial(len(won), counts / len(won), draws) @ values / len(won))
    means = [float(np.mean(won)) for won in credits]
    return fit_drawn(spans, means, np.stack(drawn, axis=1), chance)


def fit_drawn(
    spans: Sequence[int], accuracies: Sequence[float], drawn: np.ndarray, chance: float
) -> Span50:
    """Return span50 with an interval from bootstrap samples of the accuracies.

    Where nearly the whole fall lies between two spans, the interval reaches to both. ``drawn`` is
    ``(D, M)`` for M ascending spans, at least `FEWEST_SPANS`.
    """
    measured = np.array(accuracies, dtype=float)
    curve = _monotone(measured[None])
    own = _places(spans, curve, chance)[:, 0]
    _, lows, highs = _places(spans, _monotone(drawn), chance)
    low, high = (
        float(np.quantile(bounds, share, method="inverted_cdf"))
        for bounds, share in ((lows, 0.025), (highs, 0.975))
    )
    least, most = np.quantile(drawn, RISING, axis=0)
    rises = (least[1:] > np.minimum.accumulate(most)[:-1]).any()
    misfit = float(np.abs(curve - measured).max())
    return Span50(
        chars=float(own[0]),
        low=min(low, float(own[1])),
        high=max(high, float(own[2])),
        first=spans[0],
        last=spans[-1],
        chance=chance,
        lapse=1 - max(float(curve[0, 0]), LOWEST_CEILING),
        misfit=misfit,
        fits=not (rises and misfit > MISFIT),
    )


def _monotone(accuracies: np.ndarray) -> np.ndarray:
    """Return the falling least-squares fit of each row of ``(D, M)``, by the min-max formula."""
    D, M = accuracies.shape
    sums = np.concatenate([np.zeros((D, 1)), accuracies.cumsum(axis=1)], axis=1)
    fitted = np.full((D, M), np.inf)
    for start in range(M):
        ends = np.arange(start + 1, M + 1)
        means = (sums[:, ends] - sums[:, [start]]) / (ends - start)
        highest = np.maximum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
        fitted[:, start:] = np.minimum(fitted[:, start:], highest)
    return fitted


def _places(spans: Sequence[int], curves: np.ndarray, chance: float) -> np.ndarray:
    """Return span50 of falling curves ``(D, M)`` and its lowest and highest places, ``(3, D)``."""
    octaves, rows = np.log2(spans), np.arange(len(curves))
    ceiling = curves[:, :1].clip(LOWEST_CEILING)
    left = (curves - chance) / (ceiling - chance)  # share of the ceiling above chance
    crossed = (np.append(left, np.zeros((len(left), 1)), axis=1) <= 0.5).argmax(axis=1)
    after = crossed.clip(1, len(spans) - 1)
    start, end = (left[rows, column].clip(SHARPEST, 1 - SHARPEST) for column in (after - 1, after))
    up, down = (np.log(share / (1 - share)) for share in (start, end))
    share = (up / np.maximum(up - down, 1e-9)).clip(0, 1)
    loose = ((start - end - CLIFF) / (1 - 2 * SHARPEST - CLIFF)).clip(0, 1)
    shares = np.stack([share, share * (1 - loose), share + (1 - share) * loose])
    places = 2 ** (octaves[after - 1] + shares * (octaves[after] - octaves[after - 1]))
    places = np.where(crossed == len(spans), np.inf, places)
    return np.where(crossed == 0, 0.0, places)
