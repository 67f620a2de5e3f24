"""From a distribution over characters to one of them."""

from __future__ import annotations

import numpy as np

from chargen.settings import SamplingSettings


def distribution(log_probs: np.ndarray, settings: SamplingSettings) -> np.ndarray:
    """``(N, V)`` log-probabilities to the ``(N, V)`` probabilities that are drawn from, float64.

    The temperature comes first: probabilities are taken to the power 1/temperature, and 0 leaves
    the likeliest alone. Then exactly ``top_k`` characters stay (Fan et al. 2018), then the fewest
    whose shares reach ``top_p`` (Holtzman et al. 2020). Of equally likely characters the one with
    the lower id counts as the likelier, so ties change no count.
    """
    ranked = np.argsort(-log_probs, axis=1, kind="stable")
    weights = np.take_along_axis(log_probs, ranked, axis=1).astype(np.float64)
    greedy = settings.temperature == 0
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the likeliest to -inf
        weights = np.exp((weights - weights[:, :1]) / (1 if greedy else settings.temperature))
    most = 1 if greedy else settings.top_k
    if most is not None:
        weights[:, most:] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    if settings.top_p is not None:
        before = weights.cumsum(axis=1) - weights
        weights[(before >= settings.top_p) & (before > 0)] = 0
        weights /= weights.sum(axis=1, keepdims=True)
    probabilities = np.empty_like(weights)
    np.put_along_axis(probabilities, ranked, weights, axis=1)
    return probabilities


def choose(
    log_probs: np.ndarray, settings: SamplingSettings, generator: np.random.Generator
) -> np.ndarray:
    """Draw one id a row from ``(N, V)`` log-probabilities: ``(N,)`` int64.

    One uniform number a row is drawn whatever the settings, and inverts the cumulative
    distribution.
    """
    cumulative = distribution(log_probs, settings).cumsum(axis=1)
    points = generator.random(len(log_probs)) * cumulative[:, -1]
    # The count of cumulative sums at or below the point is the id whose share holds the point.
    return (cumulative <= points[:, None]).sum(axis=1)
