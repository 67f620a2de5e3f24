"""span50, the span at which accuracy is half-way to chance, from a psychometric curve.

Accuracy is modelled as a function of the logarithm of the span s, in characters:

    acc(s) = 1/K + (1 - 1/K - lapse) * sigmoid(-slope * (log2 s - log2 span50))

with known chance 1/K and one lapse rate for errors at any span, 0 to 0.1. Maximum-likelihood fit,
bootstrap and goodness-of-fit test follow F. A. Wichmann and N. J. Hill, "The psychometric
function", I and II, Perception & Psychophysics 63, 2001.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec import convert

from chargen.probes.statistics.curves import Counted, Search

DRAWS = 2000  # of the bootstrap
FIT_DRAWS = 1000  # simulations of the goodness-of-fit test
# A curve is rejected below this p-value, if it is also this far off the accuracies: with enough
# sentences the test rejects every curve.
POOR, POOR_POINTS = 0.01, 0.05
FEWEST_SPANS = 3  # number of the curve's parameters


@dataclass(frozen=True)
class Span50:
    """The span at which accuracy is half-way between its ceiling, 1 - lapse, and chance."""

    chars: float  # infinite beyond the longest measured span, 0 below the shortest
    low: float  # 95% interval, likewise
    high: float
    first: int  # the shortest measured span
    last: int  # the longest one
    chance: float
    lapse: float
    fit_p: float  # p-value of the goodness-of-fit test
    misfit: float  # largest distance of an accuracy from the curve
    drawn: tuple[float, ...] = field(default=(), repr=False)  # `chars` of each bootstrap sample

    @property
    def fits(self) -> bool:
        """Return whether the curve describes the accuracies; if not, the result is not reported."""
        return self.fit_p >= POOR or self.misfit <= POOR_POINTS

    @property
    def on_grid(self) -> bool:
        """Return whether the curve fits and span50 lies within the measured spans."""
        return self.fits and self.first <= self.chars <= self.last

    @property
    def half_way(self) -> float:
        """The accuracy at span50."""
        return (1 - self.lapse + self.chance) / 2

    def text(self) -> str:
        """Return ``700 (620–810)`` in characters, ``>1024``, ``<4``, or ``no fit``."""
        if not self.fits:
            return "no fit"
        return span_text(self.chars, self.low, self.high, self.first, self.last)

    def to_json(self) -> dict[str, Any]:
        """Return the text and the numbers; None for a number off the measured spans."""
        bounds = {"": self.chars, "_low": self.low, "_high": self.high}
        numbers = {
            f"span50_chars{end}": round(x, 1)
            if self.fits and self.first <= x <= self.last
            else None
            for end, x in bounds.items()
        }
        fit = {"lapse": self.lapse, "fit_p": self.fit_p, "misfit": self.misfit}
        quality = {f"span50_{name}": round(value, 4) for name, value in fit.items()}
        return {"span50": self.text(), **numbers, **quality}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], first: int, last: int, chance: float) -> Span50:
        """Decode what `to_json` returned for spans ``first`` to ``last``.

        The text says in which direction a missing number lies.
        """
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
        lapse, fit_p, misfit = (
            convert(values[f"span50_{name}"], float) for name in ("lapse", "fit_p", "misfit")
        )
        return cls(chars, low, high, first, last, chance, lapse, fit_p, misfit)


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
    draws: int = DRAWS,
) -> Span50:
    """Fit the curve to the credits of single sentences.

    The interval is from a bootstrap of the sentences at each span. Where accuracy falls so
    suddenly between two spans that any place between them is equally likely, span50 is their
    geometric mean and the interval contains all of them.

    Args:
        spans: M ascending spans, in characters.
        credits: credit of each sentence, 0 to 1, by span.
        chance: accuracy of guessing.
        seed: random seed of the bootstrap.
        draws: number of bootstrap samples.

    Raises:
        ValueError: spans are fewer than `FEWEST_SPANS`, out of order, or without sentences.
    """
    if len(spans) < FEWEST_SPANS or list(spans) != sorted(set(spans)):
        raise ValueError(f"spans {list(spans)}: must be ascending, {FEWEST_SPANS} or more")
    if len(credits) != len(spans) or not all(map(len, credits)):
        raise ValueError("each span needs at least 1 sentence")
    rng = np.random.default_rng([seed, 0])
    trials = np.array([len(won) for won in credits])
    counts = np.array([sum(won) for won in credits], dtype=float).clip(0, trials)
    samples = np.stack([_resample(won, draws, rng) for won in credits], axis=1).clip(0, trials)
    data = Counted(np.log2(spans), trials, chance)
    search = Search(data, data.coarse()).narrowed(samples)
    own, drawn = search.fit(counts[None]), search.fit(samples)
    curve = own.curve(data)
    simulated = search.fit(rng.binomial(trials, curve, (FIT_DRAWS, len(spans))))
    worse = int((simulated.deviance >= own.deviance - 1e-9).sum())
    low, high = np.quantile(drawn.low, 0.025), np.quantile(drawn.high, 0.975)
    places = ((own.low + own.high)[0] / 2, low, high)
    chars, lowest, highest = _on_grid(2 ** np.array(places), spans).tolist()
    return Span50(
        chars=chars,
        low=lowest,
        high=highest,
        first=spans[0],
        last=spans[-1],
        chance=chance,
        lapse=float(own.lapse[0]),
        fit_p=(1 + worse) / (1 + FIT_DRAWS),
        misfit=float(np.abs(curve - counts / trials).max()),
        drawn=tuple(_on_grid(2 ** ((drawn.low + drawn.high) / 2), spans).tolist()),
    )


def _resample(won: Sequence[float], draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return the total credit of sentences drawn with replacement, ``(draws,)``."""
    values, counts = np.unique(np.asarray(won, dtype=float), return_counts=True)
    drawn: np.ndarray = rng.multinomial(len(won), counts / len(won), draws) @ values
    return drawn


def _on_grid(chars: np.ndarray, spans: Sequence[int]) -> np.ndarray:
    """Replace spans beyond the longest by infinity, and below the shortest by 0."""
    chars = np.where(chars > spans[-1], np.inf, chars)
    return np.where(chars < spans[0], 0.0, chars)
