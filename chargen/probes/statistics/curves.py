"""Maximum-likelihood fits of the psychometric curve of `span50` to many samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

TIED = 0.005  # nats of log-likelihood; smaller differences are ties
MARGIN = 2.0  # octaves beyond the measured spans in which span50 is sought
COARSE, SLOPES = 1 / 8, (0.25, 128.0)  # step of the coarse grid in octaves; slopes per octave
ONE_THREAD = 2**18  # multiplications of a product that BLAS does not spread over threads
TINY = 1e-12  # smallest probability of an error


@dataclass(frozen=True)
class Grid:
    """A grid of curves: all combinations of the parameters."""

    places: np.ndarray  # log2 of span50
    slopes: np.ndarray  # per octave
    lapses: np.ndarray


@dataclass(frozen=True)
class Counted:
    """Spans, numbers of sentences and chance, which all samples share."""

    octaves: np.ndarray  # (M,) log2 of the spans
    trials: np.ndarray  # (M,) sentences at each span
    chance: float

    def coarse(self) -> Grid:
        """Return a coarse grid over all plausible curves."""
        first, last = self.octaves[0] - MARGIN, self.octaves[-1] + MARGIN
        places = np.arange(first, last + COARSE / 2, COARSE)
        return Grid(places, np.geomspace(*SLOPES, 19), np.linspace(0, 0.1, 11))

    def failure(self, place: Any, slope: Any, lapse: Any) -> np.ndarray:
        """Return the probability of an error at each span; arguments broadcast with ``(M,)``."""
        lost = 1 / (1 + np.exp(np.minimum(slope * (place - self.octaves), 700)))
        failure: np.ndarray = lapse + (1 - self.chance - lapse) * lost
        return failure.clip(TINY)


@dataclass(frozen=True)
class Fits:
    """Best curves of D samples, arrays ``(D,)``; places from low to high are tied."""

    low: np.ndarray
    high: np.ndarray
    place: np.ndarray
    slope: np.ndarray
    lapse: np.ndarray
    deviance: np.ndarray  # twice the log-likelihood ratio to the saturated model

    def curve(self, data: Counted) -> np.ndarray:
        """Return the accuracy of the first sample's curve at each span, ``(M,)``."""
        return 1 - data.failure(self.place[0], self.slope[0], self.lapse[0])


class Search:
    """Grid search for the best curves of many samples at once.

    For each place, a matrix product gives the log-likelihoods of all slopes and lapse rates.
    """

    def __init__(self, data: Counted, grid: Grid) -> None:
        self.data = data
        self.grid = grid
        slopes, lapses = (x.ravel() for x in np.meshgrid(grid.slopes, grid.lapses))
        self.slopes, self.lapses = slopes, lapses  # (C,) the curves at each place

    def narrowed(self, samples: np.ndarray) -> Search:
        """Return a search on a finer grid around the best curves of ``samples``."""
        found = self.fit(samples)
        low, high = np.quantile(found.low, 0.005), np.quantile(found.high, 0.995)
        gentle, steep = np.quantile(found.slope, (0.005, 0.995))
        places = np.linspace(low - COARSE, high + COARSE, 97)
        slopes = np.geomspace(gentle / 1.5, steep * 1.5, 21)
        return Search(self.data, Grid(places, slopes, np.linspace(0, 0.1, 21)))

    def fit(self, samples: np.ndarray) -> Fits:
        """Return the best curves of ``samples``, ``(D, M)`` counts of correct answers."""
        # Samples repeat where accuracy is at its ceiling or at chance.
        samples, where = np.unique(samples, axis=0, return_inverse=True)
        where = where.reshape(-1)
        values, curves = self._profile(samples)  # (places, D)
        best = values.argmax(axis=0)
        columns = np.arange(len(samples))
        tied = values >= values[best, columns] - TIED
        places, chosen = self.grid.places, curves[best, columns]
        return Fits(
            low=places[tied.argmax(axis=0)][where],
            high=places[::-1][tied[::-1].argmax(axis=0)][where],
            place=places[best][where],
            slope=self.slopes[chosen][where],
            lapse=self.lapses[chosen][where],
            deviance=2 * (self._best_possible(samples) - values[best, columns])[where],
        )

    def _profile(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-likelihood and the index of the best curve at each place."""
        both = np.concatenate([samples, self.data.trials - samples], axis=1)  # (D, 2M)
        values = np.empty((len(self.grid.places), len(samples)))
        curves = np.empty(values.shape, dtype=int)
        rows = max(1, ONE_THREAD // (both.shape[1] * len(self.slopes)))
        for place, at in enumerate(self.grid.places):
            failure = self.data.failure(at, self.slopes[:, None], self.lapses[:, None])
            logs = np.concatenate([np.log1p(-failure), np.log(failure)], axis=1).T  # (2M, C)
            for start in range(0, len(samples), rows):
                part = slice(start, start + rows)
                likelihoods = both[part] @ logs
                best = likelihoods.argmax(axis=1)
                curves[place, part] = best
                values[place, part] = likelihoods[np.arange(len(best)), best]
        return values, curves

    def _best_possible(self, samples: np.ndarray) -> np.ndarray:
        wrong = self.data.trials - samples
        nats = [x * np.log(np.where(x > 0, x, 1) / self.data.trials) for x in (samples, wrong)]
        total: np.ndarray = sum(nats).sum(axis=1)
        return total
