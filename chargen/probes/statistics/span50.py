"""The span at which memory has half gone, from a psychometric curve fitted to counts.

Accuracy is taken to fall with the logarithm of the span s, in characters, as

    acc(s) = 1/K + (1 - 1/K - lapse) * sigmoid(-slope * (log2 s - log2 span50))

with chance 1/K given, and one lapse rate for the errors made at any span, 0 to 0.1. The fit is by
maximum likelihood. Source: F. A. Wichmann and N. J. Hill, "The psychometric function", I and II,
Perception & Psychophysics 63, 2001, whose fit, bootstrap and test of the deviance these are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chargen.probes.plain import number
from chargen.probes.statistics.curves import Counted, Search

DRAWS = 2000  # of the bootstrap
FIT_DRAWS = 1000  # simulated to judge the deviance
POOR = 0.01  # the share of them that would fit so badly: under it, the curve is not the truth,
POOR_POINTS = 0.05  # but with enough frames no curve is: no fit only where it is so far off too
FEWEST_SPANS = 3  # as many as the curve has parameters


@dataclass(frozen=True)
class Span50:
    """Where accuracy is half-way between its ceiling, 1 - lapse, and chance."""

    chars: float  # infinite beyond the longest span asked, 0 below the shortest
    low: float  # the 95 % interval, infinite and 0 likewise
    high: float
    first: int  # the shortest span asked
    last: int  # and the longest
    chance: float
    lapse: float
    fit_p: float  # the share of samples from the fitted curve that deviate from theirs as much
    misfit: float  # the most that a span's accuracy lies off the curve, of 1
    drawn: tuple[float, ...] = field(default=(), repr=False)  # `chars` of each bootstrap sample

    @property
    def fits(self) -> bool:
        """Whether the curve describes what was counted. Where not, no number means anything."""
        return self.fit_p >= POOR or self.misfit <= POOR_POINTS

    @property
    def on_grid(self) -> bool:
        """Whether there is a number to tell: the curve fits, and is half-way at a span asked."""
        return self.fits and self.first <= self.chars <= self.last

    @property
    def half_way(self) -> float:
        """The accuracy at span50, of 1."""
        return (1 - self.lapse + self.chance) / 2

    def text(self) -> str:
        """``700 (620–810)`` in characters, ``>1024`` or ``<4`` off the grid, or ``no fit``."""
        if not self.fits:
            return "no fit"
        return said(self.chars, self.low, self.high, self.first, self.last)

    def to_json(self) -> dict[str, Any]:
        """As text, and in characters; None for each number that lies off the grid or has no fit."""
        bounds = {"": self.chars, "_low": self.low, "_high": self.high}
        told = {
            f"span50_chars{end}": round(x, 1)
            if self.fits and self.first <= x <= self.last
            else None
            for end, x in bounds.items()
        }
        fit = {"lapse": self.lapse, "fit_p": self.fit_p, "misfit": self.misfit}
        judged = {f"span50_{name}": round(value, 4) for name, value in fit.items()}
        return {"span50": self.text(), **told, **judged}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], first: int, last: int, chance: float) -> Span50:
        """What `to_json` wrote of spans ``first`` to ``last``: its text says what lies off them."""
        here, _, rest = str(values["span50"]).partition(" (")
        lower, _, upper = (rest.rstrip(")") or f"{here}–{here}").partition("–")
        chars, low, high = (
            math.inf if text[:1] in (">", "n") else 0.0 if told is None else number(told)
            for text, told in (
                (here, values["span50_chars"]),
                (lower, values["span50_chars_low"]),
                (upper, values["span50_chars_high"]),
            )
        )
        lapse, fit_p, misfit = (
            number(values[f"span50_{name}"]) for name in ("lapse", "fit_p", "misfit")
        )
        return cls(chars, low, high, first, last, chance, lapse, fit_p, misfit)


def said(chars: float, low: float, high: float, first: int, last: int) -> str:
    """A span and its interval, as `Span50.text` has them, asked from ``first`` to ``last``."""

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
    """Fit the curve to M spans, ascending, and what each frame at them won, 0 .. 1.

    The interval is from ``draws`` bootstrap samples of the frames, each span's apart, and of the
    same ``seed`` the same. Where accuracy falls so suddenly between two spans that any place
    between them is as likely, the place is the middle (of the logarithms) and the interval holds
    them all. Under `FEWEST_SPANS` spans, spans out of order and a span without frames are a
    ``ValueError``.
    """
    if len(spans) < FEWEST_SPANS or list(spans) != sorted(set(spans)):
        raise ValueError(f"spans {list(spans)}: must be ascending, {FEWEST_SPANS} or more")
    if len(credits) != len(spans) or not all(map(len, credits)):
        raise ValueError("each span needs a frame or more")
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
    """What frames drawn with replacement win in all: ``(draws,)``."""
    values, counts = np.unique(np.asarray(won, dtype=float), return_counts=True)
    drawn: np.ndarray = rng.multinomial(len(won), counts / len(won), draws) @ values
    return drawn


def _on_grid(chars: np.ndarray, spans: Sequence[int]) -> np.ndarray:
    """Infinite beyond the longest of ``spans``, 0 below the shortest."""
    chars = np.where(chars > spans[-1], np.inf, chars)
    return np.where(chars < spans[0], 0.0, chars)
